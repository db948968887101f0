//! Signals a child process, reaps it, and notices its end.
//!
//! Where the system has process descriptors, one of them does all three. Where the system refuses
//! them, the number of the process does: under old rules of containers, and under older valgrinds.
//! Each system call can be refused alone, and then the number serves for that call.
//!
//! A number is safe to use until the process is reaped: nothing but this library waits for the
//! process, so no other process gets the number. [`Worker`](super::worker::Worker) uses the number
//! only before that, under its lock. A program that waits for any child, or ignores SIGCHLD, frees
//! the number earlier. So before each signal, the kernel is asked whether the number is a child's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::descriptors::Descriptor;
use crate::process::descriptors::notifier::notifier;
use crate::process::descriptors::renumber::move_above_streams;
use crate::process::pidfd;

/// Is the stack that a thread that waits for a process needs, in bytes. The C library's minimum is
/// larger.
const STACK: usize = 64 * 1024;

/// Holds a descriptor that is readable once the process has ended.
#[derive(Debug)]
enum EndNotice {
    /// The process descriptor.
    Process(Descriptor),
    /// A notifier's receiver. A thread waits for the process, without reaping it, and notifies.
    Thread(Descriptor),
    /// The program has closed the descriptor.
    Lost,
}

/// Owns a child of this process that the library has not reaped yet.
#[derive(Debug)]
pub(crate) struct Child {
    id: u32,
    notice: EndNotice,
}

impl Child {
    /// Takes charge of a child that no other code knows of yet.
    ///
    /// # Errors
    ///
    /// `ESRCH` if other code has reaped the child. Otherwise a want of descriptors, memory or
    /// threads.
    pub(crate) fn new(id: u32) -> io::Result<Child> {
        let notice = match pidfd::open(id).and_then(move_above_streams) {
            Ok(pidfd) => EndNotice::Process(Descriptor::new(pidfd)?),
            Err(error) => match error.raw_os_error() {
                Some(libc::ESRCH | libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
                    return Err(error);
                }
                // The system call is unknown, or refused with any other error.
                _ => EndNotice::Thread(notify_at_end(id)?),
            },
        };
        Ok(Child { id, notice })
    }

    /// Returns a descriptor that is readable once the process has ended, unless the program has
    /// closed it.
    pub(crate) fn notice(&self) -> Option<BorrowedFd<'_>> {
        match &self.notice {
            EndNotice::Process(notice) | EndNotice::Thread(notice) => {
                notice.is_intact().then(|| notice.as_fd())
            }
            EndNotice::Lost => None,
        }
    }

    /// Returns `true` if that descriptor is the process descriptor.
    pub(crate) fn is_told_by_kernel(&self) -> bool {
        matches!(self.notice, EndNotice::Process(_))
    }

    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.notice {
            EndNotice::Process(pidfd) => pidfd.is_intact().then(|| pidfd.as_fd()),
            EndNotice::Thread(_) | EndNotice::Lost => None,
        }
    }

    /// Goes on without a descriptor that tells the end.
    ///
    /// `closed`: the program has certainly closed the descriptor. The descriptor may look intact
    /// nevertheless, since some kinds of files cannot be told apart.
    pub(crate) fn forgo_notice(&mut self, closed: bool) {
        match std::mem::replace(&mut self.notice, EndNotice::Lost) {
            EndNotice::Process(notice) | EndNotice::Thread(notice) if closed => notice.abandon(),
            kept => drop(kept),
        }
    }

    /// Sends a signal to the process. Succeeds if the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if let Some(pidfd) = self.pidfd()
            && pidfd::signal(pidfd, signal).is_ok()
        {
            return Ok(());
        }
        // The kernel refuses this system call, or, if the process has changed its user, any signal:
        // kill(2) tells which.
        if !pidfd::is_child(self.id) {
            return Ok(());
        }
        match kill(Pid::from_raw(self.id.cast_signed()), signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reaps the process, and returns its exit status, or `None` if the process has not ended.
    ///
    /// # Errors
    ///
    /// `ECHILD` if other code has reaped the process; `EINTR` if a signal came first.
    pub(crate) fn reap(&self) -> io::Result<Option<ExitStatus>> {
        if let Some(pidfd) = self.pidfd() {
            match pidfd::reap(pidfd) {
                Err(error) if !matches!(error.raw_os_error(), Some(libc::ECHILD | libc::EINTR)) => {
                }
                reaped => return reaped,
            }
        }
        pidfd::reap_by_number(self.id)
    }
}

/// Starts a thread that waits for the process. Returns a descriptor that is readable once the
/// process has ended.
fn notify_at_end(id: u32) -> io::Result<Descriptor> {
    let (receiver, notifier) = notifier()?;
    let wait = move || {
        pidfd::wait_for_end(id);
        // Closing the notifier alone would not do: a child of a plain fork(2) may hold a copy. If
        // the program has closed the notifier, the watcher has found out already.
        notifier.notify();
    };
    std::thread::Builder::new().name("coprocess-child".to_owned()).stack_size(STACK).spawn(wait)?;
    Ok(receiver.into_descriptor())
}
