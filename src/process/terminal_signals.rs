//! Decides what a worker does with the signals that a terminal sends.
//!
//! For Ctrl-C, a terminal sends SIGINT to all processes of the job in its foreground: the parent,
//! its workers, and the programs that these have started. The worker survives by a handler that
//! does nothing in the worker. Two other ways were rejected:
//!
//! - A process group for the worker. The worker could not read from the terminal, and Ctrl-Z would
//!   not stop the worker. When Ctrl-C ends the parent, programs that the worker has started would
//!   be left running.
//! - Ignoring the signal. Programs that the worker starts would ignore the signal, too: when the
//!   kernel executes a program, it resets handlers, but not ignored signals.

use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Says what a worker does with SIGINT, SIGQUIT and SIGHUP: Ctrl-C, Ctrl-\ and the end of the
/// terminal.
///
/// A terminal sends these signals to every process of the job in its foreground. So a worker gets
/// them together with its parent.
///
/// # Examples
///
/// ```
/// use coprocess::{Builder, TerminalSignals};
///
/// let builder = Builder::new().terminal_signals(TerminalSignals::EndWorker);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TerminalSignals {
    /// The worker goes on: the parent decides, and can still call the worker. If the signal ends
    /// the parent, the worker ends as after any death of the parent. The default.
    ///
    /// If the worker handles or ignores a signal when it attaches, that setting stays. A handler
    /// that the worker installs later replaces this one. The worker's system calls can end with
    /// `EINTR`.
    #[default]
    LeftToParent,
    /// The signals keep their effect: by default they end the worker.
    EndWorker,
}

/// Holds the process id of the worker. A child that the worker makes by fork(2) has the handler,
/// too.
static WORKER: AtomicU32 = AtomicU32::new(0);

/// Handles a signal: does nothing in the worker, and has the default effect in any other process.
extern "C" fn survive(signal: i32) {
    if WORKER.load(Ordering::Relaxed) == std::process::id() {
        return;
    }
    // SAFETY: no handler is involved.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // The kernel delivers the signal once the handler has returned.
    // SAFETY: takes a number.
    unsafe { libc::raise(signal) };
}

impl TerminalSignals {
    /// Applies the setting to this process, a worker.
    pub(crate) fn apply(self) {
        if self == TerminalSignals::EndWorker {
            return;
        }
        // Relaxed: the handlers are installed after this, by this thread.
        WORKER.store(std::process::id(), Ordering::Relaxed);
        for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
            if !is_default(signal) {
                continue;
            }
            let flags = SaFlags::SA_RESTART | SaFlags::SA_ONSTACK;
            let survives = SigAction::new(SigHandler::Handler(survive), flags, SigSet::empty());
            // Cannot fail: all three signals can be handled.
            // SAFETY: the handler calls only async-signal-safe functions.
            let _ = unsafe { sigaction(signal, &survives) };
        }
    }
}

/// Returns `true` if this process neither handles nor ignores the signal.
fn is_default(signal: Signal) -> bool {
    // SAFETY: all zeros is a valid sigaction: numbers, and the default handler.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: changes nothing; the kernel writes to `now`, which outlives the call.
    unsafe { libc::sigaction(signal as i32, std::ptr::null(), &mut now) };
    now.sa_sigaction == libc::SIG_DFL
}
