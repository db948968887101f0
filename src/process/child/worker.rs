//! Holds the state of a worker process: running, closing, killed, or ended with a status.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{self, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::{Error, Reason, Result};
use crate::process::child::limits::Limits;
use crate::process::child::output::Captured;
use crate::process::child::process::Child;
use crate::process::descriptors::Descriptor;
use crate::process::out_of_memory;
use crate::sync::lock;

/// Bounds how long a close waits after SIGKILL for the kernel to end the process.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bounds how long a failed start waits for the end of its process, before the start leaves that to
/// the watcher.
const BRIEF_TIMEOUT: Duration = Duration::from_secs(1);
/// Sets the time between two checks of [`poll_briefly`].
const BRIEF_INTERVAL: Duration = Duration::from_millis(1);
/// Bounds the close timeout. A longer one, which the clock may not be able to express, becomes
/// this one.
const LONGEST_CLOSE_TIMEOUT: Duration = Duration::from_secs(365 * 86_400);

/// Calls `look` until it returns a value, for at most [`BRIEF_TIMEOUT`].
///
/// For a state that the kernel is about to reach. `None` if the kernel does not reach it in time: a
/// debugger may keep a process that has ended.
pub(crate) fn poll_briefly<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + BRIEF_TIMEOUT;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(BRIEF_INTERVAL);
    }
}

/// Says how far the parent has gone to end a worker.
#[derive(Debug, Clone, Copy)]
enum ClosePhase {
    /// The parent has not asked the worker to end.
    Running,
    /// The worker should end by itself. At `next` the parent sends SIGTERM, or SIGKILL if it has
    /// `terminated` the worker already.
    Closing { next: Instant, terminated: bool },
    /// The parent has sent SIGKILL. Only the kernel can delay the end now.
    Killed,
}

/// Says whether the worker was reaped.
#[derive(Debug)]
enum Life {
    Alive {
        phase: ClosePhase,
        /// All system calls for the process go through this value.
        process: Child,
        /// Its end of file tells the worker that this process is gone, and also processes that the
        /// worker has started and lent its end to. `None` once the program has closed the lifeline,
        /// or descriptors of the watcher.
        lifeline: Option<Descriptor>,
        /// The child of a [`Command`](process::Command). Never waited for by its number. Keeps its
        /// standard streams open.
        command: Option<process::Child>,
    },
    /// The worker was reaped. `status` is `None` if other code has taken the exit status. `told`:
    /// everything that follows from the end is done, and waiting threads may return.
    Ended { status: Option<ExitStatus>, told: bool },
}

impl Life {
    /// Returns the descriptors to watch, of the process and the lifeline, each unless the program
    /// has closed it.
    fn descriptors(&self) -> [Option<BorrowedFd<'_>>; 2] {
        match self {
            Life::Alive { process, lifeline, .. } => [
                process.notice(),
                lifeline.as_ref().filter(|lifeline| lifeline.is_intact()).map(AsFd::as_fd),
            ],
            Life::Ended { .. } => [None, None],
        }
    }
}

/// Represents a worker process of this process.
#[derive(Debug)]
pub(crate) struct Worker {
    life: Mutex<Life>,
    ended: Condvar,
    close_timeout: Duration,
    limits: Limits,
    pub(crate) captured: Captured,
    /// Before its end, the worker has reported that an allocation failed.
    ran_out_of_memory: AtomicBool,
    /// Makes the watcher check the deadlines of its workers. Called when this worker gets one.
    notify_watcher: fn(),
}

impl Worker {
    /// Takes over a process that was started. `notify_watcher` makes the watcher check deadlines.
    pub(crate) fn new(
        command: Option<process::Child>,
        process: Child,
        lifeline: Descriptor,
        close_timeout: Duration,
        limits: Limits,
        captured: Captured,
        notify_watcher: fn(),
    ) -> Worker {
        let life =
            Life::Alive { phase: ClosePhase::Running, process, lifeline: Some(lifeline), command };
        let close_timeout = close_timeout.min(LONGEST_CLOSE_TIMEOUT);
        let ran_out_of_memory = AtomicBool::new(false);
        Worker {
            life: Mutex::new(life),
            ended: Condvar::new(),
            close_timeout,
            limits,
            captured,
            ran_out_of_memory,
            notify_watcher,
        }
    }

    /// Calls `f` with the descriptors of the process and the lifeline. Returns `None` if the worker
    /// was reaped.
    ///
    /// # Errors
    ///
    /// `EBADF` if the program has closed one of them.
    pub(crate) fn with_descriptors<T>(
        &self,
        f: impl FnOnce(BorrowedFd<'_>, BorrowedFd<'_>) -> T,
    ) -> io::Result<Option<T>> {
        let life = lock(&self.life);
        if let Life::Ended { .. } = &*life {
            return Ok(None);
        }
        let [Some(process), Some(lifeline)] = life.descriptors() else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        Ok(Some(f(process, lifeline)))
    }

    /// Calls `f` with those descriptors, of the process and the lifeline, that the program has not
    /// closed.
    pub(crate) fn look_at_descriptors<T>(
        &self,
        f: impl FnOnce([Option<BorrowedFd<'_>>; 2]) -> T,
    ) -> T {
        f(lock(&self.life).descriptors())
    }

    /// Goes on without descriptors, since the program has closed some of them, or some of the
    /// watcher's. Closes the lifeline if it is still open, so that the worker ends.
    pub(crate) fn forgo_descriptors(&self) {
        if let Life::Alive { process, lifeline, command, .. } = &mut *lock(&self.life) {
            let closed = lifeline.take().is_none_or(|lifeline| !lifeline.is_intact());
            process.forgo_notice(closed);
            if closed {
                // The program has probably closed the child's standard streams, too. Their numbers
                // may be other files' by now.
                std::mem::forget(command.take());
            }
        }
    }

    /// Returns `true` if the worker was not reaped yet, and the program has closed one of the
    /// worker's descriptors.
    #[cold]
    pub(crate) fn has_lost_descriptors(&self) -> bool {
        let life = lock(&self.life);
        matches!(&*life, Life::Alive { .. }) && life.descriptors().iter().any(Option::is_none)
    }

    /// Returns `true` if a process descriptor tells the end of the worker.
    pub(crate) fn is_told_by_kernel(&self) -> bool {
        matches!(&*lock(&self.life), Life::Alive { process, .. } if process.is_told_by_kernel())
    }

    /// Gives the worker `close_timeout` to end by itself, and again after SIGTERM.
    pub(crate) fn begin_close(&self) {
        if let Life::Alive { phase: phase @ ClosePhase::Running, .. } = &mut *lock(&self.life) {
            *phase = ClosePhase::Closing {
                next: Instant::now() + self.close_timeout,
                terminated: false,
            };
        } else {
            return;
        }
        (self.notify_watcher)();
    }

    /// Sends the signal that is due. Returns the moment of the next signal.
    pub(crate) fn escalate(&self) -> Option<Instant> {
        let mut life = lock(&self.life);
        let Life::Alive { phase, process, .. } = &mut *life else { return None };
        let ClosePhase::Closing { next, terminated } = *phase else { return None };
        if Instant::now() < next {
            return Some(next);
        }
        let signal = if terminated { Signal::SIGKILL } else { Signal::SIGTERM };
        // Refused only if the worker has changed its user. Then the parent can only wait.
        let _ = process.signal(signal);
        if terminated {
            *phase = ClosePhase::Killed;
            return None;
        }
        let next = Instant::now() + self.close_timeout;
        *phase = ClosePhase::Closing { next, terminated: true };
        Some(next)
    }

    /// Reaps the worker. Returns `None` if the worker has not ended, and otherwise its status: the
    /// inner `None` if other code has taken the status.
    ///
    /// `leave` gets the descriptors of the process and the lifeline before they are closed, each
    /// unless the program has closed it. Afterwards, the caller lets waiting threads go, with
    /// [`tell_ended`](Self::tell_ended).
    pub(crate) fn reap(
        &self,
        leave: impl FnOnce([Option<BorrowedFd<'_>>; 2]),
    ) -> Option<Option<ExitStatus>> {
        let mut life = lock(&self.life);
        let status = match &*life {
            Life::Ended { status, .. } => return Some(*status),
            Life::Alive { process, .. } => {
                let status = match process.reap() {
                    Ok(None) => return None,
                    Ok(Some(status)) => Some(status),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => return None,
                    // ECHILD: this program waits for any child, or ignores SIGCHLD.
                    Err(_) => None,
                };
                let [process, lifeline] = life.descriptors();
                if self.limits.limits_memory() && lifeline.is_some_and(out_of_memory::was_reported)
                {
                    // Relaxed: this thread reads the flag later.
                    self.ran_out_of_memory.store(true, Ordering::Relaxed);
                }
                leave([process, lifeline]);
                status
            }
        };
        // Closes the descriptors, too. So processes that the worker has left behind see the end of
        // the lifeline.
        *life = Life::Ended { status, told: false };
        Some(status)
    }

    /// Takes what the worker has written out of its pipes, and returns how the worker ended. Call
    /// after the worker was reaped.
    pub(crate) fn exit_reason(&self, status: Option<ExitStatus>) -> Reason {
        self.captured.drain();
        let reason = status.map_or(Reason::Unknown, Reason::from_status);
        self.limits.explain(reason, self.ran_out_of_memory.load(Ordering::Relaxed))
    }

    /// Lets the threads go that wait for the end of the worker.
    pub(crate) fn tell_ended(&self) {
        if let Life::Ended { told, .. } = &mut *lock(&self.life) {
            *told = true;
        }
        self.ended.notify_all();
    }

    /// Waits briefly for the end of a worker that has ended, or was killed, and reaps the worker.
    ///
    /// Returns `None` if the kernel takes longer: a debugger may keep a process that has ended. The
    /// inner `None` means that other code has taken the status.
    pub(crate) fn reap_briefly(&self) -> Option<Option<ExitStatus>> {
        poll_briefly(|| self.reap(|_| {}))
    }

    /// Waits until the watcher has reaped the worker. Call after
    /// [`begin_close`](Self::begin_close).
    ///
    /// Returns `None` if other code has taken the exit status.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the kernel has not ended the worker in time after SIGKILL.
    pub(crate) fn wait_for_exit(&self) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + self.close_timeout * 2 + KILL_TIMEOUT;
        let mut life = lock(&self.life);
        loop {
            if let Life::Ended { status, told: true } = *life {
                return Ok(status);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout);
            }
            life = self.ended.wait_timeout(life, left).unwrap_or_else(|p| p.into_inner()).0;
        }
    }

    /// Sends SIGKILL to the worker. Succeeds if the worker has ended.
    pub(crate) fn kill(&self) -> Result<()> {
        match &*lock(&self.life) {
            Life::Ended { .. } => Ok(()),
            Life::Alive { process, .. } => process
                .signal(Signal::SIGKILL)
                .map_err(|source| Error::Os { action: "kill the worker", source }),
        }
    }
}
