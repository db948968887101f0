//! The worker process: signals it, reaps it, and notices its end.
//!
//! Where the system has process descriptors, one of them does all three. Where it refuses them, the
//! number of the process does: under old rules of containers, under older valgrinds.
//! Nothing but this library waits for the process, and the number stays its own until it was reaped.
//! So the number is used only before that, under the lock of [`Worker`](super::worker::Worker). A
//! program that waits for any child, or ignores SIGCHLD, lets the number go earlier. Before a signal
//! the kernel is asked whether the number is that of a child.
//!
//! Each of the system calls can be refused alone: what one refuses, the number does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::descriptors::{Descriptor, above_streams, notifier};
use crate::process::pidfd;

/// What the thread that waits for a process needs; the least that the C library allows is more.
const STACK: usize = 64 * 1024;

/// What is readable once the process has ended.
#[derive(Debug)]
enum Notice {
    Process(Descriptor),
    /// A bell, which a thread rings that waits for the process and does not reap it.
    Thread(Descriptor),
    /// The program has closed it.
    Lost,
}

/// A child of this process that was not reaped yet, as far as the library knows.
#[derive(Debug)]
pub(crate) struct Child {
    id: u32,
    notice: Notice,
}

impl Child {
    /// Takes charge of a child that nothing else knows of yet.
    ///
    /// # Errors
    ///
    /// `ESRCH` if it was reaped by something else; otherwise a want of descriptors, memory or threads.
    pub(crate) fn new(id: u32) -> io::Result<Child> {
        let notice = match pidfd::open(id).and_then(above_streams::moved) {
            Ok(pidfd) => Notice::Process(Descriptor::new(pidfd)?),
            Err(error) => match error.raw_os_error() {
                Some(libc::ESRCH | libc::EMFILE | libc::ENFILE | libc::ENOMEM) => return Err(error),
                // Unknown or refused, by whatever number.
                _ => Notice::Thread(end_of(id)?),
            },
        };
        Ok(Child { id, notice })
    }

    /// What is readable once the process has ended, unless the program has closed it.
    pub(crate) fn notice(&self) -> Option<BorrowedFd<'_>> {
        match &self.notice {
            Notice::Process(notice) | Notice::Thread(notice) => notice.is_intact().then(|| notice.as_fd()),
            Notice::Lost => None,
        }
    }

    /// Returns `true` if what is readable once the process has ended is a descriptor of the process.
    pub(crate) fn is_told_by_kernel(&self) -> bool {
        matches!(self.notice, Notice::Process(_))
    }

    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.notice {
            Notice::Process(pidfd) => pidfd.is_intact().then(|| pidfd.as_fd()),
            Notice::Thread(_) | Notice::Lost => None,
        }
    }

    /// Goes on without a notice. With `closed`, the program has closed it for certain, although it may look intact: not every kind can be told.
    pub(crate) fn forgo_notice(&mut self, closed: bool) {
        match std::mem::replace(&mut self.notice, Notice::Lost) {
            Notice::Process(notice) | Notice::Thread(notice) if closed => notice.abandon(),
            kept => drop(kept),
        }
    }

    /// Sends a signal to the process. One that has ended is no error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if let Some(pidfd) = self.pidfd()
            && pidfd::signal(pidfd, signal).is_ok()
        {
            return Ok(());
        }
        // Refused to this system call, or, if the process has changed its user, to any: kill(2) tells.
        if !pidfd::is_child(self.id) {
            return Ok(());
        }
        match kill(Pid::from_raw(self.id.cast_signed()), signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reaps the process: its exit status, or `None` if it has not ended.
    ///
    /// # Errors
    ///
    /// `ECHILD` if something else has reaped it; `EINTR` if a signal came first.
    pub(crate) fn reap(&self) -> io::Result<Option<ExitStatus>> {
        if let Some(pidfd) = self.pidfd() {
            match pidfd::reap(pidfd) {
                Err(error) if !matches!(error.raw_os_error(), Some(libc::ECHILD | libc::EINTR)) => {}
                reaped => return reaped,
            }
        }
        pidfd::reap_by_number(self.id)
    }
}

/// Starts a thread that waits for the process. Returns what is readable once it has ended.
fn end_of(id: u32) -> io::Result<Descriptor> {
    let (listener, ringer) = notifier::bell()?;
    let wait = move || {
        pidfd::wait_for_end(id);
        // Not by closing it alone: a child of a plain fork(2) may hold a copy. If the program has closed the bell, the watcher has found out.
        ringer.ring();
    };
    std::thread::Builder::new().name("coprocess-child".to_owned()).stack_size(STACK).spawn(wait)?;
    Ok(listener.into_descriptor())
}
