//! The calls of the other end that are answered later: which of them it still waits for.
//!
//! Only calls that were given a [`Reply`](crate::Reply) are here, each for as long as that lives, so there are no more of them than the program keeps.
//! The other end chooses the numbers: in a tree, since no choice of them makes that slow. It can only cancel calls of its own.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use crate::end::End;
use crate::envelope::{CallId, Head, Message};
use crate::kept::Kind;
use crate::lookahead::GivenUp;
use crate::outbox::Patience;
use crate::pending::Forgotten;
use crate::stats::Counters;
use crate::sync::lock;

#[derive(Debug, Default)]
pub(crate) struct Deferred {
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

impl Deferred {
    pub(crate) fn open(&self, id: CallId) {
        // A waker in its place would be that of a call with the same number, which no honest end makes. It is dropped under no lock.
        let replaced = lock(&self.calls).insert(id, None);
        drop(replaced);
    }

    /// The call is about to be answered. Returns whether its caller waits for that.
    pub(crate) fn close(&self, id: CallId) -> bool {
        let closed = lock(&self.calls).remove(&id);
        closed.is_some()
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

impl End {
    /// The other end has given up a call.
    pub(crate) fn cancelled(&self, id: CallId) {
        Counters::add(&self.deferred.counters.received);
        let was_open = self.unwanted(id);
        // Not before: whoever asks whether the call is given up finds one or the other.
        let had_effect = self.cancel_received(id);
        if !was_open && !had_effect {
            // It was answered at once, or meanwhile; or its deadline has passed here, too; or it never was.
            Counters::add(&self.deferred.counters.ignored);
        }
    }

    /// Nobody waits for the answer to a call of the other end. Returns whether it was to be answered.
    pub(crate) fn unwanted(&self, id: CallId) -> bool {
        let call = lock(&self.deferred.calls).remove(&id);
        let was_open = call.is_some();
        if let Some(Some(waker)) = call {
            self.contain(|| waker.wake());
        }
        was_open
    }

    /// The end is over, and nobody waits any more.
    pub(crate) fn abandon_deferred(&self) {
        let calls = std::mem::take(&mut *lock(&self.deferred.calls));
        for waker in calls.into_values().flatten() {
            self.contain(|| waker.wake());
        }
    }

    /// Gives up a call of this end: forgets it and, if it was not answered, lets the other end know.
    #[inline(never)] // for what goes well it is no more than a call that is not made
    pub(crate) fn give_up(self: &Arc<Self>, id: CallId, how: GivenUp) {
        if self.pending.forget(id) == Forgotten::Unanswered {
            self.cancel(id, how);
        }
    }

    /// Lets the other end know that nobody waits for the answer to a call any more, once there is room for that. Does not wait.
    #[cold]
    pub(crate) fn cancel(self: &Arc<Self>, id: CallId, how: GivenUp) {
        if self.check_open().is_err() {
            return;
        }
        if self.outbox.take_back(Kind::Call(id)) {
            // It was not sent yet, and will not be.
            return;
        }
        let head = match how {
            GivenUp::Forgotten => Head::Cancel(id),
            GivenUp::Withdrawn => Head::Withdraw(id),
        };
        let mut message = Message::new();
        let sent = message.encode(head, &(), usize::MAX, "").and_then(|()| self.outbox.send(self, &mut message, Patience::Own));
        if sent.is_ok() {
            self.outbox.urge();
            Counters::add(&self.deferred.counters.sent);
        }
    }
}
