//! The worker process, as its parent sees it: whether it still runs, how it ended, and how to make it end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{self, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::{Error, Reason, Result};
use crate::process::child::process::Child;
use crate::process::child::limits::Limits;
use crate::process::child::output::Captured;
use crate::process::descriptors::Descriptor;
use crate::process::out_of_memory;
use crate::sync::lock;

/// Beyond SIGKILL, how long a close waits for the kernel to be done with the process.
const AFTERLIFE: Duration = Duration::from_secs(10);
/// How long a start that has failed waits for the end of its process, before it leaves that to others.
const SOON: Duration = Duration::from_secs(1);
/// Between two looks at it.
const GLANCE: Duration = Duration::from_millis(1);
/// A timeout beyond what the clock can tell is as good as this.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Looks for something that the kernel is about to make so, for as long as a start that has failed waits. What a debugger
/// keeps does not come.
pub(crate) fn soon<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let at_the_latest = Instant::now() + SOON;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= at_the_latest {
            return found;
        }
        std::thread::sleep(GLANCE);
    }
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Nobody has asked it to end.
    Running,
    /// To be ended: by SIGTERM at this moment, or, after that, by SIGKILL.
    Closing { next: Instant, terminated: bool },
    /// Killed as a last resort; only the kernel can delay it now.
    Killed,
}

#[derive(Debug)]
enum Life {
    Alive {
        stage: Stage,
        /// Everything that concerns the process goes through this.
        process: Child,
        /// Its end of file tells the worker, and whatever it has started and lent it to, that this process is gone. `None` once the program has closed it, or
        /// the watcher's descriptors.
        lifeline: Option<Descriptor>,
        /// Of a [`Command`](process::Command). Never waited for by its number; its standard streams stay open with it.
        command: Option<process::Child>,
    },
    /// Reaped. The status is unknown if somebody else has taken it. Those who wait for it are `told` when all is done that its end brings.
    Ended { status: Option<ExitStatus>, told: bool },
}

impl Life {
    /// The descriptors to watch, of the process and the lifeline: those that the program has not closed.
    fn descriptors(&self) -> [Option<BorrowedFd<'_>>; 2] {
        match self {
            Life::Alive { process, lifeline, .. } => {
                [process.notice(), lifeline.as_ref().filter(|lifeline| lifeline.is_intact()).map(AsFd::as_fd)]
            }
            Life::Ended { .. } => [None, None],
        }
    }
}

#[derive(Debug)]
pub(crate) struct Worker {
    life: Mutex<Life>,
    ended: Condvar,
    close_timeout: Duration,
    limits: Limits,
    pub(crate) captured: Captured,
    /// Before its end it said that an allocation had failed.
    ran_out_of_memory: AtomicBool,
    /// Makes the watcher look at this worker's deadline.
    notify_watcher: fn(),
}

impl Worker {
    pub(crate) fn new(
        command: Option<process::Child>,
        process: Child,
        lifeline: Descriptor,
        close_timeout: Duration,
        limits: Limits,
        captured: Captured,
        notify_watcher: fn(),
    ) -> Worker {
        let life = Life::Alive { stage: Stage::Running, process, lifeline: Some(lifeline), command };
        let close_timeout = close_timeout.min(LONGEST);
        let ran_out_of_memory = AtomicBool::new(false);
        Worker { life: Mutex::new(life), ended: Condvar::new(), close_timeout, limits, captured, ran_out_of_memory, notify_watcher }
    }

    /// Does something with the descriptors to watch, of the process and the lifeline, unless it has been reaped.
    ///
    /// # Errors
    ///
    /// `EBADF` if the program has closed one of them.
    pub(crate) fn with_descriptors<T>(&self, f: impl FnOnce(BorrowedFd<'_>, BorrowedFd<'_>) -> T) -> io::Result<Option<T>> {
        let life = lock(&self.life);
        if let Life::Ended { .. } = &*life {
            return Ok(None);
        }
        let [Some(process), Some(lifeline)] = life.descriptors() else { return Err(io::Error::from_raw_os_error(libc::EBADF)) };
        Ok(Some(f(process, lifeline)))
    }

    /// The same with those, of the process and the lifeline, that the program has not closed.
    pub(crate) fn look_at_descriptors<T>(&self, f: impl FnOnce([Option<BorrowedFd<'_>>; 2]) -> T) -> T {
        f(lock(&self.life).descriptors())
    }

    /// Goes on without descriptors: the program has closed some of them, or of the watcher's. A lifeline that is still there is closed, so that the worker ends.
    pub(crate) fn forgo_descriptors(&self) {
        if let Life::Alive { process, lifeline, command, .. } = &mut *lock(&self.life) {
            let closed = lifeline.take().is_none_or(|lifeline| !lifeline.is_intact());
            process.forgo_notice(closed);
            if closed {
                // Its standard streams have no better fate, and their numbers may be other files' by now.
                std::mem::forget(command.take());
            }
        }
    }

    /// Returns `true` if the worker was not reaped yet, and the program has closed one of its descriptors.
    #[cold]
    pub(crate) fn has_lost_descriptors(&self) -> bool {
        let life = lock(&self.life);
        matches!(&*life, Life::Alive { .. }) && life.descriptors().iter().any(Option::is_none)
    }

    /// Returns `true` if a descriptor of the process itself tells of its end.
    pub(crate) fn is_told_by_kernel(&self) -> bool {
        matches!(&*lock(&self.life), Life::Alive { process, .. } if process.is_told_by_kernel())
    }

    /// From now on the worker has `close_timeout` to end by itself, and again after SIGTERM.
    pub(crate) fn begin_close(&self) {
        if let Life::Alive { stage: stage @ Stage::Running, .. } = &mut *lock(&self.life) {
            *stage = Stage::Closing { next: Instant::now() + self.close_timeout, terminated: false };
        } else {
            return;
        }
        (self.notify_watcher)();
    }

    /// Sends the signal that is due. Returns when the next will be.
    pub(crate) fn escalate(&self) -> Option<Instant> {
        let mut life = lock(&self.life);
        let Life::Alive { stage, process, .. } = &mut *life else { return None };
        let Stage::Closing { next, terminated } = *stage else { return None };
        if Instant::now() < next {
            return Some(next);
        }
        let signal = if terminated { Signal::SIGKILL } else { Signal::SIGTERM };
        // Refused only by a worker that has changed its user: then nothing can be done but wait.
        let _ = process.signal(signal);
        if terminated {
            *stage = Stage::Killed;
            return None;
        }
        let next = Instant::now() + self.close_timeout;
        *stage = Stage::Closing { next, terminated: true };
        Some(next)
    }

    /// Reaps the worker if it has ended. Returns its status then; the inner `None` if something else has taken it.
    /// `leave` sees the descriptors, of the process and the lifeline, before they are closed, unless the program has closed them. Tell those who wait for it afterwards, with [`tell_ended`](Self::tell_ended).
    pub(crate) fn reap(&self, leave: impl FnOnce([Option<BorrowedFd<'_>>; 2])) -> Option<Option<ExitStatus>> {
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
                if self.limits.limits_memory() && lifeline.is_some_and(out_of_memory::was_told) {
                    // Relaxed: read by this thread, after this.
                    self.ran_out_of_memory.store(true, Ordering::Relaxed);
                }
                leave([process, lifeline]);
                status
            }
        };
        // Closes the descriptors, too: what the worker has left behind sees the end of the lifeline.
        *life = Life::Ended { status, told: false };
        Some(status)
    }

    /// How it ended, now that it was reaped. What it has written is taken out of its pipes.
    pub(crate) fn last_things(&self, status: Option<ExitStatus>) -> Reason {
        self.captured.settle();
        let reason = status.map_or(Reason::Unknown, Reason::from_status);
        self.limits.explain(reason, self.ran_out_of_memory.load(Ordering::Relaxed))
    }

    /// Lets those go who wait for its end.
    pub(crate) fn tell_ended(&self) {
        if let Life::Ended { told, .. } = &mut *lock(&self.life) {
            *told = true;
        }
        self.ended.notify_all();
    }

    /// Waits for the end of a worker that has ended, or was killed, and reaps it. Returns its status; the inner `None` if
    /// something else has taken it, the outer one if the kernel takes long: a debugger may keep a process that has ended.
    pub(crate) fn reap_soon(&self) -> Option<Option<ExitStatus>> {
        soon(|| self.reap(|_| {}))
    }

    /// Waits until the worker was reaped by the watcher. Call after [`begin_close`](Self::begin_close).
    pub(crate) fn wait_for_exit(&self) -> Result<Option<ExitStatus>> {
        let at_the_latest = Instant::now() + self.close_timeout * 2 + AFTERLIFE;
        let mut life = lock(&self.life);
        loop {
            if let Life::Ended { status, told: true } = *life {
                return Ok(status);
            }
            let left = at_the_latest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout);
            }
            life = self.ended.wait_timeout(life, left).unwrap_or_else(|p| p.into_inner()).0;
        }
    }

    pub(crate) fn kill(&self) -> Result<()> {
        match &*lock(&self.life) {
            Life::Ended { .. } => Ok(()),
            Life::Alive { process, .. } => {
                process.signal(Signal::SIGKILL).map_err(|source| Error::Os { action: "kill the worker", source })
            }
        }
    }
}
