//! Records which of the peer's calls are answered later, and which of them the peer still waits
//! for.
//!
//! Only calls that were given a [`Reply`](crate::Reply) are here, each for as long as its reply
//! lives. So there are no more of these calls than the program keeps replies. The peer chooses the
//! numbers, so the calls are in a tree: no choice of numbers makes a tree slow. The peer can only
//! cancel its own calls.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::task::Waker;

use crate::sync::lock;
use crate::wire::header::CallId;

/// Records the calls that are answered later.
#[derive(Debug, Default)]
pub(crate) struct ServedLater {
    /// For each call, the task to wake if the caller gives up.
    calls: Mutex<BTreeMap<CallId, Option<Waker>>>,
    pub(crate) counters: CancelCounters,
}

/// Counts cancels.
#[derive(Debug, Default)]
pub(crate) struct CancelCounters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) ignored: AtomicU64,
}

impl ServedLater {
    /// Adds a call that will be answered later.
    pub(crate) fn insert(&self, id: CallId) {
        // A waker that is already there belongs to a call with this number, which no honest peer
        // makes. The waker is dropped under no lock.
        let replaced = lock(&self.calls).insert(id, None);
        drop(replaced);
    }

    /// Removes a call that is about to be answered. Returns `true` if its caller waits for the
    /// answer.
    pub(crate) fn remove(&self, id: CallId) -> bool {
        let closed = lock(&self.calls).remove(&id);
        closed.is_some()
    }

    /// Forgets a call, which its caller has given up. Returns `None` if the call was not open, and
    /// otherwise the waker of the task that answers the call.
    pub(crate) fn give_up(&self, id: CallId) -> Option<Option<Waker>> {
        lock(&self.calls).remove(&id)
    }

    /// Forgets all calls, since the end is over. Returns the wakers of the tasks that answer the
    /// calls.
    pub(crate) fn abandon(&self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut *lock(&self.calls)).into_values().flatten()
    }

    /// Returns `true` if the caller waits for the answer.
    pub(crate) fn is_open(&self, id: CallId) -> bool {
        lock(&self.calls).contains_key(&id)
    }

    /// Registers a task to wake if the caller gives up. Returns `false` if the caller has given up
    /// already.
    #[cfg(feature = "tokio")]
    pub(crate) fn tell(&self, id: CallId, waker: &Waker) -> bool {
        let mut calls = lock(&self.calls);
        let Some(told) = calls.get_mut(&id) else { return false };
        if !told.as_ref().is_some_and(|told| told.will_wake(waker)) {
            let replaced = told.replace(waker.clone());
            drop(calls);
            drop(replaced);
        }
        true
    }
}
