//! Remembers the events of tasks that found no space: whether each is sent, and which task to tell.
//!
//! An event that is not in the table is sent, or its task does not want to know. So an event that
//! finds space, and has no deadline, costs no entry.
//!
//! # What a change here must keep
//!
//! - An event without a deadline enters the table under the lock of the outbox, before a thread can
//!   send the event; see `End::send_event`.
//! - The thread that sends an event completes the event under the lock of the outbox, too. A task
//!   that finds the pair over takes that lock before it asks, so it misses no event that was sent.
//! - A waker is code of the program. Dropping a waker or waking a task happens without the lock of
//!   the table.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

use rustc_hash::FxHashMap;

use crate::calls::ids::PendingEmitId;
use crate::error::{Error, Step};
use crate::sync::lock;
use crate::time::deadline::Deadline;

/// Says why an event is not sent.
#[derive(Debug)]
enum PendingEmit {
    /// The event is queued, or about to be sent.
    Waiting { until: Deadline, waker: Option<Waker> },
    /// The event will not be sent, and its task does not know yet.
    Failed(Box<Error>),
}

/// Holds the events of tasks that are not sent. An event that is not in here is sent, or its task
/// does not want to know.
#[derive(Debug, Default)]
pub(crate) struct PendingEmits {
    /// The number of ids that were issued.
    issued: AtomicU64,
    unsent: Mutex<FxHashMap<PendingEmitId, PendingEmit>>,
}

impl PendingEmit {
    fn waker(self) -> Option<Waker> {
        match self {
            PendingEmit::Waiting { waker, .. } => waker,
            PendingEmit::Failed(_) => None,
        }
    }
}

impl PendingEmits {
    /// Issues an id for an event that is about to be sent.
    ///
    /// If the event has a deadline and is not queued, the caller [removes](Self::remove) the event
    /// again.
    pub(crate) fn issue(&self, until: Deadline) -> PendingEmitId {
        // Relaxed: the ids must differ, and order nothing.
        let id = PendingEmitId(self.issued.fetch_add(1, Ordering::Relaxed));
        if until != Deadline::NEVER {
            lock(&self.unsent).insert(id, PendingEmit::Waiting { until, waker: None });
        }
        id
    }

    /// Notes that an event is queued.
    pub(crate) fn keep(&self, id: PendingEmitId) {
        lock(&self.unsent)
            .entry(id)
            .or_insert(PendingEmit::Waiting { until: Deadline::NEVER, waker: None });
    }

    /// Returns the deadline of an event. Returns [`Deadline::NEVER`] if the event has none, or does
    /// not wait any more.
    pub(crate) fn deadline(&self, id: PendingEmitId) -> Deadline {
        match lock(&self.unsent).get(&id) {
            Some(PendingEmit::Waiting { until, .. }) => *until,
            Some(PendingEmit::Failed(_)) | None => Deadline::NEVER,
        }
    }

    /// Notes that an event is sent, or why the event will not be sent. Returns the waker of its
    /// task, which the caller wakes.
    pub(crate) fn complete(&self, id: PendingEmitId, sent: Step<()>) -> Option<Waker> {
        let mut unsent = lock(&self.unsent);
        match sent {
            Ok(()) => unsent.remove(&id)?.waker(),
            Err(error) => {
                std::mem::replace(unsent.get_mut(&id)?, PendingEmit::Failed(error)).waker()
            }
        }
    }

    /// Forgets an event. Returns how the sending ended: `None` if the event still waits.
    pub(crate) fn remove(&self, id: PendingEmitId) -> Option<Step<()>> {
        // The entry is dropped without the lock: its waker is code of the program.
        let state = lock(&self.unsent).remove(&id);
        match state {
            None => Some(Ok(())),
            Some(PendingEmit::Failed(error)) => Some(Err(error)),
            Some(PendingEmit::Waiting { .. }) => None,
        }
    }

    /// Asks how the sending of an event ended. If the event still waits, keeps `waker` for the
    /// thread that sends the event.
    pub(crate) fn poll(&self, id: PendingEmitId, waker: Waker) -> Poll<Step<()>> {
        let mut unsent = lock(&self.unsent);
        let former = match unsent.get_mut(&id) {
            None => return Poll::Ready(Ok(())),
            Some(PendingEmit::Waiting { waker: former, .. }) => former.replace(waker),
            Some(PendingEmit::Failed(_)) => {
                return match unsent.remove(&id) {
                    Some(PendingEmit::Failed(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Ok(())),
                };
            }
        };
        // Dropping a waker runs code of the program, so the lock is freed first.
        drop(unsent);
        drop(former);
        Poll::Pending
    }

    /// Takes the wakers of all events that wait: nothing more is sent. The caller wakes the tasks.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        let mut unsent = lock(&self.unsent);
        let wakers = unsent.values_mut().filter_map(|state| match state {
            PendingEmit::Waiting { waker, .. } => waker.take(),
            PendingEmit::Failed(_) => None,
        });
        wakers.collect()
    }
}
