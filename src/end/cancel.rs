//! Cancels calls, in both directions: calls of this end, and calls that the peer has given up.
//!
//! Waking a task runs code of the program. So each function here collects its wakers under the
//! locks of `calls/`, and wakes the tasks after the locks are released.
//!
//! A cancel of this end is sent only for a call that was in flight and unanswered. Whether the call
//! was, [`InFlight::forget`](crate::calls::in_flight::InFlight::forget) decides. Nothing here waits
//! for space: the leader calls these functions, too.

use std::sync::Arc;

use crate::calls::cancels::GivenUp;
use crate::calls::in_flight::Forgotten;
use crate::end::End;
use crate::send::outbox::WhenFull;
use crate::send::send_queue::{Quota, TaskKey};
use crate::stats::Counters;
use crate::wire::header::{CallId, Header};
use crate::wire::message::Message;

impl End {
    /// Receives a cancel: the peer has given up a call.
    pub(crate) fn cancelled(&self, id: CallId) {
        Counters::add(&self.peer_calls.served_later.counters.received);
        let was_open = self.unwanted(id);
        // First the call is closed, and then its early cancel is removed. So a thread that asks
        // whether the call is given up finds the one or the other.
        let had_effect = self.peer_calls.cancels.received(id);
        if !was_open && !had_effect {
            // The call was answered at once, or meanwhile. Or its deadline has passed here, too. Or
            // the call never existed.
            Counters::add(&self.peer_calls.served_later.counters.ignored);
        }
    }

    /// Closes a call of the peer, since its caller does not wait for the answer any more.
    ///
    /// Wakes the task that answers the call, which runs code of the program. Returns `true` if the
    /// call was still to be answered.
    pub(crate) fn unwanted(&self, id: CallId) -> bool {
        let call = self.peer_calls.served_later.give_up(id);
        let was_open = call.is_some();
        if let Some(Some(waker)) = call {
            self.catch_user_panic(|| waker.wake());
        }
        was_open
    }

    /// Closes all calls that are served later, since the end is over and no caller waits any more.
    pub(crate) fn abandon_served_later(&self) {
        for waker in self.peer_calls.served_later.abandon() {
            self.catch_user_panic(|| waker.wake());
        }
    }

    /// Gives up a call of this end: forgets the call and, if it is unanswered, tells the peer.
    #[inline(never)] // costs a call that succeeds no more than a branch around it
    pub(crate) fn give_up(self: &Arc<Self>, id: CallId, how: GivenUp) {
        if self.in_flight.forget(id) == Forgotten::Unanswered {
            self.cancel(id, how);
        }
    }

    /// Tells the peer that no caller waits for the answer to a call any more.
    ///
    /// If there is no space now, the cancel is queued. This function does not wait.
    #[cold]
    pub(crate) fn cancel(self: &Arc<Self>, id: CallId, how: GivenUp) {
        if self.check_open().is_err() {
            return;
        }
        if self.outbox.take_back(TaskKey::Call(id)) {
            // The call was still queued, and is never sent now.
            return;
        }
        let header = match how {
            GivenUp::Forgotten => Header::Cancel(id),
            GivenUp::Withdrawn => Header::Withdraw(id),
        };
        let mut message = Message::new();
        let sent = message
            .encode(header, &(), usize::MAX, "")
            .and_then(|()| self.send(&mut message, WhenFull::Queue(Quota::Own)));
        if sent.is_ok() {
            self.outbox.urge();
            Counters::add(&self.peer_calls.served_later.counters.sent);
        }
    }
}
