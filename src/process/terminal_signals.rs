//! What a worker does with the signals that a terminal sends.
//!
//! A terminal sends SIGINT for Ctrl-C to all processes of the job in its foreground: the parent, its
//! workers, and what these have started. The worker outlives it by a handler that does nothing there:
//!
//! - Not by a process group of its own. Then it could not read from the terminal, Ctrl-Z would not
//!   stop it, and programs that it has started would be left running when Ctrl-C ends the parent.
//! - Not by ignoring the signal. Programs that the worker starts would ignore it, too; the kernel
//!   resets handlers, but not what is ignored, when it executes a program.

use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// What a worker does with SIGINT, SIGQUIT and SIGHUP: Ctrl-C, Ctrl-\ and the end of the terminal.
///
/// A terminal sends them to every process of the job in its foreground, so that a worker gets them
/// together with its parent.
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
    /// The worker goes on: the parent decides, and can still call it. If they end the parent, the
    /// worker ends as after any death of the parent. The default.
    ///
    /// A signal is left as it is if the worker handles or ignores it when it attaches. A handler
    /// that the worker installs later counts. The worker's system calls can end with `EINTR`.
    #[default]
    LeftToParent,
    /// They are left as they are: by default they end the worker.
    EndWorker,
}

/// Which process is the worker: a child that it makes by fork(2) has the handler, too.
static WORKER: AtomicU32 = AtomicU32::new(0);

/// Does nothing in the worker, and what is the default in any other process.
extern "C" fn survive(signal: i32) {
    if WORKER.load(Ordering::Relaxed) == std::process::id() {
        return;
    }
    // SAFETY: no handler is involved.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // It is delivered once this has returned.
    // SAFETY: takes a number.
    unsafe { libc::raise(signal) };
}

impl TerminalSignals {
    /// Does in this process, a worker, what its parent wants.
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
            // Cannot fail: the signal is one that can be handled.
            // SAFETY: the handler does only what a handler may do.
            let _ = unsafe { sigaction(signal, &survives) };
        }
    }
}

/// Returns `true` if the signal is neither handled nor ignored.
fn is_default(signal: Signal) -> bool {
    // SAFETY: all zeros is a valid sigaction: numbers, and the default handler.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: changes nothing; the kernel writes to `now`, which outlives the call.
    unsafe { libc::sigaction(signal as i32, std::ptr::null(), &mut now) };
    now.sa_sigaction == libc::SIG_DFL
}
