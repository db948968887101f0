//! Ctrl-C ends the run early but in good order: the table is taken down, and the cursor comes back.
//!
//! The signals are blocked and then read from a descriptor, so that no code runs at a moment it cannot choose.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;

/// The signals that ask the parent to end.
#[derive(Debug)]
pub(crate) struct Interrupts(SignalFd);

impl Interrupts {
    /// Call it before any other thread exists: threads, and the worker, inherit what is blocked.
    pub(crate) fn block() -> io::Result<Interrupts> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        signals.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Interrupts(SignalFd::with_flags(&signals, flags)?))
    }

    /// Sleeps until the deadline, or until a signal arrives: then its number.
    pub(crate) fn sleep_until(&self, deadline: Instant) -> io::Result<Option<u8>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        ppoll(&mut fds, Some(TimeSpec::from_duration(left)), None)?;
        let signal = self.0.read_signal()?;
        Ok(signal.and_then(|signal| u8::try_from(signal.ssi_signo).ok()))
    }
}

/// In the worker: Ctrl-C at a terminal goes to both processes, but how the run ends is the parent's to say. SIGTERM
/// goes to one, so it keeps its usual meaning.
pub(crate) fn leave_to_the_parent() {
    // Neither can fail, for these are valid signals; and the worker works without.
    let _ = SigSet::from(Signal::SIGINT).thread_block();
    let _ = SigSet::from(Signal::SIGTERM).thread_unblock();
}
