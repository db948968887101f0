//! The calls of the other end that are answered later: which of them it still waits for.
//!
//! Only calls that were given a [`Reply`](crate::Reply) are here, each for as long as that lives, so there are no more of them than the program keeps.
//! The other end chooses the numbers: in a tree, since no choice of them makes that slow. It can only cancel calls of its own.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::task::Waker;

use crate::sync::lock;
use crate::wire::header::CallId;

#[derive(Debug, Default)]
pub(crate) struct ServedLater {
    /// Who is to be told if the caller gives up.
    calls: Mutex<BTreeMap<CallId, Option<Waker>>>,
    pub(crate) counters: CancelCounters,
}

/// What is counted about cancelling.
#[derive(Debug, Default)]
pub(crate) struct CancelCounters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) ignored: AtomicU64,
}

impl ServedLater {
    pub(crate) fn insert(&self, id: CallId) {
        // A waker in its place would be that of a call with the same number, which no honest end makes. It is dropped under no lock.
        let replaced = lock(&self.calls).insert(id, None);
        drop(replaced);
    }

    /// The call is about to be answered. Returns whether its caller waits for that.
    pub(crate) fn remove(&self, id: CallId) -> bool {
        let closed = lock(&self.calls).remove(&id);
        closed.is_some()
    }

    /// Forgets a call, which its caller has given up. Returns `None` if it was not open, and else the
    /// waker of the task that answers it.
    pub(crate) fn give_up(&self, id: CallId) -> Option<Option<Waker>> {
        lock(&self.calls).remove(&id)
    }

    /// Forgets all calls, since the end is over. Returns the wakers of the tasks that answer them.
    pub(crate) fn abandon(&self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut *lock(&self.calls)).into_values().flatten()
    }

    pub(crate) fn is_open(&self, id: CallId) -> bool {
        lock(&self.calls).contains_key(&id)
    }

    /// Has a task woken if the caller gives up. Returns false if it has.
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
