//! What has become of the events of tasks that had no room: whether they are sent, and which task is to be told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

use rustc_hash::FxHashMap;

use crate::calls::ids::PendingEmitId;
use crate::error::{Error, Step};
use crate::sync::lock;
use crate::time::deadline::Deadline;

/// An event that is not sent.
#[derive(Debug)]
enum PendingEmit {
    Unsent { until: Deadline, waker: Option<Waker> },
    Failed(Box<Error>),
}

/// The events of tasks that are kept, and not sent. What is not in here is sent, or nobody wants to know.
#[derive(Debug, Default)]
pub(crate) struct PendingEmits {
    issued: AtomicU64,
    kept: Mutex<FxHashMap<PendingEmitId, PendingEmit>>,
}

impl PendingEmit {
    fn waker(self) -> Option<Waker> {
        match self {
            PendingEmit::Unsent { waker, .. } => waker,
            PendingEmit::Failed(_) => None,
        }
    }
}

impl PendingEmits {
    /// One that is about to be sent. If it has a deadline, it is to be [removed](Self::remove) again, should it not be kept.
    pub(crate) fn issue(&self, until: Deadline) -> PendingEmitId {
        // Relaxed: only that they differ.
        let id = PendingEmitId(self.issued.fetch_add(1, Ordering::Relaxed));
        if until != Deadline::NEVER {
            lock(&self.kept).insert(id, PendingEmit::Unsent { until, waker: None });
        }
        id
    }

    /// It is kept from now on.
    pub(crate) fn keep(&self, id: PendingEmitId) {
        lock(&self.kept)
            .entry(id)
            .or_insert(PendingEmit::Unsent { until: Deadline::NEVER, waker: None });
    }

    pub(crate) fn deadline(&self, id: PendingEmitId) -> Deadline {
        match lock(&self.kept).get(&id) {
            Some(PendingEmit::Unsent { until, .. }) => *until,
            Some(PendingEmit::Failed(_)) | None => Deadline::NEVER,
        }
    }

    /// It is sent, or will not be. Returns who is to be told.
    pub(crate) fn complete(&self, id: PendingEmitId, sent: Step<()>) -> Option<Waker> {
        let mut kept = lock(&self.kept);
        match sent {
            Ok(()) => kept.remove(&id)?.waker(),
            Err(error) => std::mem::replace(kept.get_mut(&id)?, PendingEmit::Failed(error)).waker(),
        }
    }

    /// What has become of it, asked for the last time: `None` if it is not sent.
    pub(crate) fn remove(&self, id: PendingEmitId) -> Option<Step<()>> {
        // Dropped without the lock: a waker is code of the program's.
        let state = lock(&self.kept).remove(&id);
        match state {
            None => Some(Ok(())),
            Some(PendingEmit::Failed(error)) => Some(Err(error)),
            Some(PendingEmit::Unsent { .. }) => None,
        }
    }

    /// Asks what has become of it. Whoever sends it tells `waker`, unless it is ready.
    pub(crate) fn poll(&self, id: PendingEmitId, waker: Waker) -> Poll<Step<()>> {
        let mut kept = lock(&self.kept);
        let former = match kept.get_mut(&id) {
            None => return Poll::Ready(Ok(())),
            Some(PendingEmit::Unsent { waker: former, .. }) => former.replace(waker),
            Some(PendingEmit::Failed(_)) => {
                return match kept.remove(&id) {
                    Some(PendingEmit::Failed(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Ok(())),
                };
            }
        };
        // To drop it runs code of the program's.
        drop(kept);
        drop(former);
        Poll::Pending
    }

    /// Who is to be told that nothing more is sent.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        let mut kept = lock(&self.kept);
        let unsent = kept.values_mut().filter_map(|state| match state {
            PendingEmit::Unsent { waker, .. } => waker.take(),
            PendingEmit::Failed(_) => None,
        });
        unsent.collect()
    }
}
