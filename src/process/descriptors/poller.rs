//! Waits for many descriptors, and for notifications of other threads.
//!
//! The program may close the descriptors that a thread of the library polls, or the poller's own.
//! The hang-up of the [notifier](super::notifier) then wakes the thread, which learns that the
//! poller is lost.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::process::descriptors::descriptor::Descriptor;
use crate::process::descriptors::notifier::{Notifier, NotifyReceiver, notifier};
use crate::process::descriptors::renumber::move_far_up;

/// Identifies a notification. No descriptor has this key.
pub(crate) const NOTIFIED: u64 = 0;

/// Holds an epoll, with a notifier that wakes the thread that waits.
pub(crate) struct Poller {
    epoll: Descriptor<EpollSet>,
    notifier: Notifier,
    receiver: NotifyReceiver,
}

/// Holds the set of polled descriptors. `nix`'s type does not lend its descriptor.
struct EpollSet(Epoll);

impl AsFd for EpollSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// Reports that the program has closed descriptors of the poller, which cannot be used any more.
pub(crate) struct PollerLost;

impl Poller {
    /// Makes a poller that polls nothing but its notifier.
    pub(crate) fn new() -> io::Result<Poller> {
        let (receiver, notifier) = notifier()?;
        let epoll = Epoll(move_far_up(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0)?);
        epoll.add(&receiver, EpollEvent::new(EpollFlags::EPOLLIN, NOTIFIED))?;
        Ok(Poller { epoll: Descriptor::new(EpollSet(epoll))?, notifier, receiver })
    }

    /// Returns `false` if the program has closed a descriptor of the poller.
    ///
    /// The notifier tells more than the epoll, which looks like any other epoll.
    pub(crate) fn is_intact(&self) -> bool {
        self.receiver.is_intact() && self.notifier.is_intact() && self.epoll.is_intact()
    }

    /// Waits for events, and returns how many were written to `events`: zero after a signal or the
    /// timeout. A timeout that is too long for the system becomes the longest possible one.
    ///
    /// # Blocking
    ///
    /// Until:
    ///
    /// - a polled descriptor is ready,
    /// - a thread calls [`notify`](Self::notify),
    /// - the timeout has passed,
    /// - a signal arrives,
    /// - the program closes the notifier.
    pub(crate) fn wait(
        &self,
        events: &mut [EpollEvent],
        timeout: Option<Duration>,
    ) -> Result<usize, PollerLost> {
        if !self.is_intact() {
            return Err(PollerLost);
        }
        let mut fds = [self.receiver.as_fd(), self.epoll.as_fd()]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // `poll`, unlike epoll, keeps what it polls open. So the receiver can report that the
        // program has closed the notifier.
        let polled = poll(
            &mut fds,
            timeout.map_or(PollTimeout::NONE, |time| {
                PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
            }),
        );
        let at_once = match polled {
            Ok(_) => true,
            // The caller looks at its deadlines after a signal, too.
            Err(nix::Error::EINTR) => return Ok(0),
            // A sandbox may allow no descriptors at all. Then `poll` takes none, while those that
            // are open stay in the epoll.
            Err(nix::Error::EINVAL) => false,
            Err(_) => return Err(PollerLost),
        };
        let broken = PollFlags::POLLHUP | PollFlags::POLLNVAL | PollFlags::POLLERR;
        if fds.iter().any(|fd| fd.revents().is_some_and(|happened| happened.intersects(broken)))
            || !self.is_intact()
        {
            return Err(PollerLost);
        }
        let timeout = match timeout {
            _ if at_once => EpollTimeout::ZERO,
            None => EpollTimeout::NONE,
            Some(time) => EpollTimeout::try_from(time).unwrap_or(EpollTimeout::MAX),
        };
        match self.epoll.0.wait(events, timeout) {
            Ok(count) => Ok(count),
            Err(nix::Error::EINTR) => Ok(0),
            Err(_) => Err(PollerLost),
        }
    }

    /// Adds a descriptor. Its events have this key.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, events: EpollFlags, key: u64) -> io::Result<()> {
        Ok(self.epoll.0.add(fd, EpollEvent::new(events, key))?)
    }

    /// Removes a descriptor. Does nothing if the descriptor is not polled any more.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = self.epoll.0.delete(fd);
    }

    /// Makes [`wait`](Self::wait) return. Returns `false` if the program has closed the notifier.
    pub(crate) fn notify(&self) -> bool {
        self.notifier.notify()
    }

    /// Takes all notifications out, so that [`wait`](Self::wait) returns only after the next.
    pub(crate) fn drain_notifications(&self) {
        self.receiver.drain();
    }
}
