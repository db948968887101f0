//! The worker process, as its parent sees it: whether it still runs, how it ended, and how to make it end.

use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::process::watcher;
use crate::sync::lock;

/// Beyond SIGKILL, how long a close waits for the kernel to be done with the process.
const AFTERLIFE: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Life {
    Running,
    /// To be ended: by SIGTERM at the first moment, by SIGKILL at the second.
    Closing {
        next: Instant,
        terminated: bool,
    },
    /// Killed as a last resort; only the kernel can delay it now.
    Killed,
    /// Reaped. The status is unknown if somebody else has taken it.
    Ended(Option<ExitStatus>),
}

#[derive(Debug)]
pub(crate) struct Worker {
    /// Reaping and signalling take this lock, so no signal goes to a reused process id.
    child: Mutex<(Child, Life)>,
    ended: Condvar,
    close_timeout: Duration,
    pub(crate) pidfd: OwnedFd,
    /// Kept open until the worker has ended: its end of file tells the worker that this process is gone.
    pub(crate) lifeline: OwnedFd,
}

impl Worker {
    pub(crate) fn new(child: Child, pidfd: OwnedFd, lifeline: OwnedFd, close_timeout: Duration) -> Worker {
        Worker { child: Mutex::new((child, Life::Running)), ended: Condvar::new(), close_timeout, pidfd, lifeline }
    }

    /// From now on the worker has `close_timeout` to end by itself, and again after SIGTERM.
    pub(crate) fn begin_close(&self) {
        let mut child = lock(&self.child);
        if matches!(child.1, Life::Running) {
            // A timeout beyond what the clock can tell is no timeout: SIGTERM comes in a year.
            let next = Instant::now() + self.close_timeout.min(Duration::from_secs(365 * 86_400));
            child.1 = Life::Closing { next, terminated: false };
            drop(child);
            watcher::look_again();
        }
    }

    /// Sends the signal that is due. Returns when the next will be.
    pub(crate) fn escalate(&self) -> Option<Instant> {
        let mut child = lock(&self.child);
        let Life::Closing { next, terminated } = child.1 else { return None };
        if Instant::now() < next {
            return Some(next);
        }
        if terminated {
            // Fails only if it has ended already, which the watcher is about to notice.
            let _ = child.0.kill();
            child.1 = Life::Killed;
            return None;
        }
        if let Ok(pid) = i32::try_from(child.0.id()) {
            // As above: not reaped yet, so the id is still its own.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let next = Instant::now() + self.close_timeout.min(Duration::from_secs(365 * 86_400));
        child.1 = Life::Closing { next, terminated: true };
        Some(next)
    }

    /// Reaps the worker if it has ended. Returns its status then; the inner `None` if somebody else has taken it.
    pub(crate) fn reap(&self) -> Option<Option<ExitStatus>> {
        let mut child = lock(&self.child);
        let status = match child.0.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => Some(status),
            // ECHILD: this program waits for any child, or ignores SIGCHLD.
            Err(_) => None,
        };
        child.1 = Life::Ended(status);
        self.ended.notify_all();
        Some(status)
    }

    /// Waits until the worker was reaped. Call after [`begin_close`](Self::begin_close).
    pub(crate) fn wait_for_exit(&self) -> Result<Option<ExitStatus>> {
        let at_the_latest = Instant::now().checked_add(self.close_timeout.saturating_mul(2).saturating_add(AFTERLIFE));
        let mut child = lock(&self.child);
        loop {
            if let Life::Ended(status) = child.1 {
                return Ok(status);
            }
            let left = at_the_latest.map_or(AFTERLIFE, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Error::Timeout);
            }
            child = self.ended.wait_timeout(child, left).unwrap_or_else(|p| p.into_inner()).0;
        }
    }

    pub(crate) fn kill(&self) -> Result<()> {
        let mut child = lock(&self.child);
        if matches!(child.1, Life::Ended(_)) {
            return Ok(());
        }
        child.0.kill().map_err(|source| Error::Os { action: "kill the worker", source })
    }
}
