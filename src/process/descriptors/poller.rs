//! How a thread of the library waits for many descriptors, and for being told to look again.
//!
//! The program may close the descriptors that it waits with, or for, as daemons and sandboxes do with
//! all that they do not know. The thread is woken by its [bell](super::notifier) then, and finds that it
//! is deaf.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::process::descriptors::notifier::{Listener, Ringer, bell};
use crate::process::descriptors::{Descriptor, above_streams};

/// The key of the bell: no other descriptor has it.
pub(crate) const BELL: u64 = 0;

/// What a thread waits with.
pub(crate) struct Ears {
    epoll: Descriptor<Set>,
    /// Makes the thread look again.
    ringer: Ringer,
    listener: Listener,
}

/// What the thread waits for.
struct Set(Epoll);

impl AsFd for Set {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// The program has closed descriptors that the thread waits with.
pub(crate) struct Deaf;

impl Ears {
    pub(crate) fn new() -> io::Result<Ears> {
        let (listener, ringer) = bell()?;
        let epoll = Epoll(above_streams::far_above(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0)?);
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        Ok(Ears { epoll: Descriptor::new(Set(epoll))?, ringer, listener })
    }

    /// Returns `false` if the program has closed one of them. The bell tells more than the epoll, which looks like any other.
    pub(crate) fn are_intact(&self) -> bool {
        self.listener.is_intact() && self.ringer.is_intact() && self.epoll.is_intact()
    }

    /// Waits until something happens.
    pub(crate) fn listen(&self, events: &mut [EpollEvent], timeout: Option<Duration>) -> Result<usize, Deaf> {
        if !self.are_intact() {
            return Err(Deaf);
        }
        let mut fds = [self.listener.as_fd(), self.epoll.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // A poll, unlike an epoll, keeps what it waits for open, so that the bell can tell that its other end was closed. Too long a timeout is the longest.
        let polled = poll(&mut fds, timeout.map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)));
        let at_once = match polled {
            Ok(_) => true,
            // A signal, too, is a reason to look at the deadlines.
            Err(nix::Error::EINTR) => return Ok(0),
            // A sandbox may allow no descriptors at all, and then no poll of any: those that are open stay in the epoll.
            Err(nix::Error::EINVAL) => false,
            Err(_) => return Err(Deaf),
        };
        let broken = PollFlags::POLLHUP | PollFlags::POLLNVAL | PollFlags::POLLERR;
        if fds.iter().any(|fd| fd.revents().is_some_and(|happened| happened.intersects(broken))) || !self.are_intact() {
            return Err(Deaf);
        }
        let timeout = match timeout {
            _ if at_once => EpollTimeout::ZERO,
            None => EpollTimeout::NONE,
            Some(time) => EpollTimeout::try_from(time).unwrap_or(EpollTimeout::MAX),
        };
        match self.epoll.0.wait(events, timeout) {
            Ok(count) => Ok(count),
            Err(nix::Error::EINTR) => Ok(0),
            Err(_) => Err(Deaf),
        }
    }

    /// Waits for a descriptor, too. Its events have this key.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, events: EpollFlags, key: u64) -> io::Result<()> {
        Ok(self.epoll.0.add(fd, EpollEvent::new(events, key))?)
    }

    /// Waits for it no more. It may be gone from the set already.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = self.epoll.0.delete(fd);
    }

    /// Makes the thread look again. Returns `false` if the program has closed the bell.
    pub(crate) fn ring(&self) -> bool {
        self.ringer.ring()
    }

    /// Makes the bell silent until it is rung again.
    pub(crate) fn hush(&self) {
        self.listener.hush();
    }
}
