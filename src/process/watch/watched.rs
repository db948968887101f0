//! Says what the watcher watches, and what the watcher calls.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Reason;
use crate::process::child::Worker;
use crate::process::watch::end_callbacks::UncalledCallbacks;

/// Says what the watcher reports of a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PeerStatus {
    /// Nothing more will come from the peer, although its process may live on.
    Gone(Reason),
    /// The process has ended.
    Ended(Reason),
}

/// Is a function that the watcher calls on its thread, without a lock held, to report on one pair.
///
/// The function must not run callbacks of the user's. It returns callbacks for which the system had
/// no thread, and the watcher tries again.
pub(crate) type OnPeerStatus = Arc<dyn Fn(PeerStatus) -> Option<UncalledCallbacks> + Send + Sync>;

/// Describes a process that is watched.
pub(super) enum Watched {
    /// A worker, on the parent's side of a pair.
    Worker {
        report: OnPeerStatus,
        worker: Arc<Worker>,
        /// Set once the lifeline has hung up: the moment from which the worker counts as living on
        /// without it.
        hung_up: Option<Instant>,
        /// `true` once no descriptor tells the worker's end: the program has closed it, or a
        /// debugger keeps the process that has ended. Then the watcher polls.
        must_poll: bool,
    },
    /// A process that did not become a worker, and could not be killed. Reaped when it ends.
    Leftover { worker: Arc<Worker>, must_poll: bool },
    /// The parent, on the worker's side of a pair.
    Parent {
        report: OnPeerStatus,
        /// Returns how long the worker may go on after an orderly close, and zero without one.
        close_grace: Box<dyn Fn() -> Duration + Send + Sync>,
        lifeline: Arc<OwnedFd>,
        pidfd: Option<OwnedFd>,
        /// Without a process descriptor: the parent's number, which the watcher polls. It is the
        /// number of this process's parent until the parent has died.
        number: Option<u32>,
        /// Set once the parent has ended: the moment at which the watcher ends this process.
        deadline: Option<Instant>,
    },
}

impl Watched {
    /// Calls `add` with the descriptors of the process and the lifeline that the watcher polls.
    /// Does nothing for a worker that was reaped.
    pub(super) fn add_descriptors(
        &self,
        add: impl FnOnce(Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) -> io::Result<()>,
    ) -> io::Result<()> {
        let added = match self {
            Watched::Worker { worker, .. } => {
                worker.with_descriptors(|process, lifeline| add(Some(process), Some(lifeline)))
            }
            Watched::Leftover { worker, .. } => {
                worker.with_descriptors(|process, _| add(Some(process), None))
            }
            Watched::Parent { lifeline, pidfd, .. } => {
                Ok(Some(add(pidfd.as_ref().map(AsFd::as_fd), Some(lifeline.as_fd()))))
            }
        };
        added.and_then(|added| added.unwrap_or(Ok(())))
    }
}
