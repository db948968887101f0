//! TODO end::cancel

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
    /// The other end has given up a call.
    pub(crate) fn cancelled(&self, id: CallId) {
        Counters::add(&self.peer_calls.served_later.counters.received);
        let was_open = self.unwanted(id);
        // Not before: whoever asks whether the call is given up finds one or the other.
        let had_effect = self.peer_calls.cancels.received(id);
        if !was_open && !had_effect {
            // It was answered at once, or meanwhile; or its deadline has passed here, too; or it never was.
            Counters::add(&self.peer_calls.served_later.counters.ignored);
        }
    }

    /// Nobody waits for the answer to a call of the other end. Returns whether it was to be answered.
    pub(crate) fn unwanted(&self, id: CallId) -> bool {
        let call = self.peer_calls.served_later.give_up(id);
        let was_open = call.is_some();
        if let Some(Some(waker)) = call {
            self.catch_user_panic(|| waker.wake());
        }
        was_open
    }

    /// The end is over, and nobody waits any more.
    pub(crate) fn abandon_served_later(&self) {
        for waker in self.peer_calls.served_later.abandon() {
            self.catch_user_panic(|| waker.wake());
        }
    }

    /// Gives up a call of this end: forgets it and, if it was not answered, lets the other end know.
    #[inline(never)] // for what goes well it is no more than a call that is not made
    pub(crate) fn give_up(self: &Arc<Self>, id: CallId, how: GivenUp) {
        if self.in_flight.forget(id) == Forgotten::Unanswered {
            self.cancel(id, how);
        }
    }

    /// Lets the other end know that nobody waits for the answer to a call any more, once there is room for that. Does not wait.
    #[cold]
    pub(crate) fn cancel(self: &Arc<Self>, id: CallId, how: GivenUp) {
        if self.check_open().is_err() {
            return;
        }
        if self.outbox.take_back(TaskKey::Call(id)) {
            // It was not sent yet, and will not be.
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
