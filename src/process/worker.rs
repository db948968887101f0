//! The worker process, as its parent sees it: whether it still runs, how it ended, and how to make it end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::{Error, Reason, Result};
use crate::process::limits::Limits;
use crate::process::output::Captured;
use crate::process::{out_of_memory, pidfd, watcher};
use crate::sync::lock;

/// Beyond SIGKILL, how long a close waits for the kernel to be done with the process.
const AFTERLIFE: Duration = Duration::from_secs(10);
/// A timeout beyond what the clock can tell is as good as this.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

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
        /// Everything that concerns the process goes through this: its number may be another's as soon as somebody reaps it.
        pidfd: OwnedFd,
        /// Its end of file tells the worker, and whatever it has started and lent it to, that this process is gone.
        lifeline: OwnedFd,
        /// Of a [`Command`](std::process::Command). Never waited for by its number; its standard streams stay open with it.
        _child: Option<Child>,
    },
    /// Reaped. The status is unknown if somebody else has taken it. Those who wait for it are `told` when all is done that its end brings.
    Ended { status: Option<ExitStatus>, told: bool },
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
}

impl Worker {
    pub(crate) fn new(
        child: Option<Child>,
        pidfd: OwnedFd,
        lifeline: OwnedFd,
        close_timeout: Duration,
        limits: Limits,
        captured: Captured,
    ) -> Worker {
        let life = Life::Alive { stage: Stage::Running, pidfd, lifeline, _child: child };
        let close_timeout = close_timeout.min(LONGEST);
        let ran_out_of_memory = AtomicBool::new(false);
        Worker { life: Mutex::new(life), ended: Condvar::new(), close_timeout, limits, captured, ran_out_of_memory }
    }

    /// Does something with the descriptors to watch, of the process and the lifeline, unless it has been reaped.
    pub(crate) fn with_descriptors<T>(&self, f: impl FnOnce(BorrowedFd<'_>, BorrowedFd<'_>) -> T) -> Option<T> {
        match &*lock(&self.life) {
            Life::Alive { pidfd, lifeline, .. } => Some(f(pidfd.as_fd(), lifeline.as_fd())),
            Life::Ended { .. } => None,
        }
    }

    /// From now on the worker has `close_timeout` to end by itself, and again after SIGTERM.
    pub(crate) fn begin_close(&self) {
        if let Life::Alive { stage: stage @ Stage::Running, .. } = &mut *lock(&self.life) {
            *stage = Stage::Closing { next: Instant::now() + self.close_timeout, terminated: false };
        } else {
            return;
        }
        watcher::look_again();
    }

    /// Sends the signal that is due. Returns when the next will be.
    pub(crate) fn escalate(&self) -> Option<Instant> {
        let mut life = lock(&self.life);
        let Life::Alive { stage, pidfd, .. } = &mut *life else { return None };
        let Stage::Closing { next, terminated } = *stage else { return None };
        if Instant::now() < next {
            return Some(next);
        }
        let signal = if terminated { Signal::SIGKILL } else { Signal::SIGTERM };
        // Refused only by a worker that has changed its user: then nothing can be done but wait.
        let _ = pidfd::signal(pidfd.as_fd(), signal);
        if terminated {
            *stage = Stage::Killed;
            return None;
        }
        let next = Instant::now() + self.close_timeout;
        *stage = Stage::Closing { next, terminated: true };
        Some(next)
    }

    /// Reaps the worker if it has ended, or, with `wait`, once it has. Returns its status then; the inner `None` if somebody else has taken it.
    /// `leave` sees the descriptors before they are closed. Tell those who wait for it afterwards, with [`tell_ended`](Self::tell_ended).
    pub(crate) fn reap(&self, wait: bool, leave: impl FnOnce(BorrowedFd<'_>, BorrowedFd<'_>)) -> Option<Option<ExitStatus>> {
        let mut life = lock(&self.life);
        let status = match &*life {
            Life::Ended { status, .. } => return Some(*status),
            Life::Alive { pidfd, lifeline, .. } => {
                let status = match pidfd::reap(pidfd.as_fd(), wait) {
                    Ok(None) => return None,
                    Ok(Some(status)) => Some(status),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => return None,
                    // ECHILD: this program waits for any child, or ignores SIGCHLD.
                    Err(_) => None,
                };
                if self.limits.limits_memory() && out_of_memory::was_told(lifeline.as_fd()) {
                    // Relaxed: read by this thread, after this.
                    self.ran_out_of_memory.store(true, Ordering::Relaxed);
                }
                leave(pidfd.as_fd(), lifeline.as_fd());
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

    /// Waits for its end, and reaps it. Returns its status, unless somebody else has taken it.
    pub(crate) fn reap_at_last(&self) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.reap(true, |_, _| {}) {
                return status;
            }
        }
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
            Life::Alive { pidfd, .. } => {
                pidfd::signal(pidfd.as_fd(), Signal::SIGKILL).map_err(|source| Error::Os { action: "kill the worker", source })
            }
        }
    }
}
