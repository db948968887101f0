//! Signals: Ctrl-C ends the run early but in good order. The table disappears, and the cursor comes
//! back.
//!
//! The signals are blocked and then read from a descriptor, so that no signal handler interrupts
//! other code.

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
    /// Blocks the signals for this process.
    ///
    /// Call this before any other thread exists: threads and the worker inherit the blocked
    /// signals.
    pub(crate) fn block() -> io::Result<Interrupts> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        signals.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Interrupts(SignalFd::with_flags(&signals, flags)?))
    }

    /// Sleeps until the deadline, or until a signal arrives. Returns the number of the signal.
    pub(crate) fn sleep_until(&self, deadline: Instant) -> io::Result<Option<u8>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        ppoll(&mut fds, Some(TimeSpec::from_duration(left)), None)?;
        let signal = self.0.read_signal()?;
        Ok(signal.and_then(|signal| u8::try_from(signal.ssi_signo).ok()))
    }
}

/// Blocks SIGINT in the worker, and unblocks SIGTERM.
///
/// Ctrl-C at a terminal goes to both processes, but the parent decides how the run ends. SIGTERM
/// goes to one process, so it keeps its usual meaning.
pub(crate) fn leave_to_the_parent() {
    // Neither call can fail, since the signals are valid; and the worker works without them.
    let _ = SigSet::from(Signal::SIGINT).thread_block();
    let _ = SigSet::from(Signal::SIGTERM).thread_unblock();
}
