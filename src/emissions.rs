//! What has become of the events of tasks that had no room: whether they are sent, and which task is to be told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::error::{Error, Step};
use crate::sync::lock;

/// An event of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EmissionId {
    number: u64,
    /// Its deadline.
    pub(crate) until: Option<Instant>,
}

/// Of an event that is kept.
#[derive(Debug)]
enum State {
    Unsent(Option<Waker>),
    Failed(Box<Error>),
}

/// The events of tasks that are kept, and not sent. What is not in here is sent, or nobody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Emissions {
    issued: AtomicU64,
    kept: Mutex<FxHashMap<EmissionId, State>>,
}

impl Emissions {
    pub(crate) fn issue(&self, until: Option<Instant>) -> EmissionId {
        // Relaxed: only that they differ.
        EmissionId { number: self.issued.fetch_add(1, Ordering::Relaxed), until }
    }

    /// It is kept from now on.
    pub(crate) fn keep(&self, id: EmissionId) {
        lock(&self.kept).insert(id, State::Unsent(None));
    }

    /// It is sent, or nobody wants to know. Returns who is to be told.
    pub(crate) fn remove(&self, id: EmissionId) -> Option<Waker> {
        match lock(&self.kept).remove(&id)? {
            State::Unsent(waker) => waker,
            State::Failed(_) => None,
        }
    }

    /// It will not be sent. Returns who is to be told.
    pub(crate) fn fail(&self, id: EmissionId, error: Box<Error>) -> Option<Waker> {
        match std::mem::replace(lock(&self.kept).get_mut(&id)?, State::Failed(error)) {
            State::Unsent(waker) => waker,
            State::Failed(_) => None,
        }
    }

    /// Asks what has become of it. Whoever sends it tells `waker`, unless it is ready.
    pub(crate) fn poll(&self, id: EmissionId, waker: Waker) -> Poll<Step<()>> {
        let mut kept = lock(&self.kept);
        let former = match kept.get_mut(&id) {
            None => return Poll::Ready(Ok(())),
            Some(State::Unsent(former)) => former.replace(waker),
            Some(State::Failed(_)) => {
                return match kept.remove(&id) {
                    Some(State::Failed(error)) => Poll::Ready(Err(error)),
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
            State::Unsent(waker) => waker.take(),
            State::Failed(_) => None,
        });
        unsent.collect()
    }
}
