//! Ends the events of tasks that were queued and are not sent.
//!
//! An event is completed once: by the thread that sends it, or by the thread that takes it back out
//! of the queue. [`take_back`](crate::send::outbox::Outbox::take_back) decides between the two.
//! Waking a task runs code of the program, so these functions are called under no lock.

use crate::calls::ids::PendingEmitId;
use crate::end::End;
use crate::error::Error;
use crate::send::send_queue::TaskKey;

impl End {
    /// Wakes the tasks whose events are not sent, and never will be: the peer is gone, or this end
    /// is over. Runs code of the program.
    pub(crate) fn abandon_pending_emits(&self) {
        for waker in self.pending_emits.wakers() {
            self.catch_user_panic(|| waker.wake());
        }
    }

    /// Fails an event that is still queued when its deadline passes.
    ///
    /// If a thread is sending the event, that thread ends its wait at this deadline, too.
    pub(crate) fn pending_emit_expired(&self, id: PendingEmitId) {
        if self.outbox.take_back(TaskKey::Event(id))
            && let Some(waker) = self.pending_emits.complete(id, Err(Error::Timeout.into()))
        {
            self.catch_user_panic(|| waker.wake());
        }
    }
}
