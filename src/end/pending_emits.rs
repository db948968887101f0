//! TODO end::emits

use crate::calls::ids::PendingEmitId;
use crate::end::End;
use crate::error::Error;
use crate::send::send_queue::TaskKey;

impl End {
    /// Lets the tasks know whose events were not sent: they will not be, because the other side is gone, or this end is over. Wakes tasks, which runs code of
    /// the program's.
    pub(crate) fn abandon_pending_emits(&self) {
        for waker in self.pending_emits.wakers() {
            self.catch_user_panic(|| waker.wake());
        }
    }

    /// The deadline of an event that is kept has passed. If it is being sent, that has the same deadline.
    pub(crate) fn pending_emit_expired(&self, id: PendingEmitId) {
        if self.outbox.take_back(TaskKey::Event(id))
            && let Some(waker) = self.pending_emits.complete(id, Err(Error::Timeout.into()))
        {
            self.catch_user_panic(|| waker.wake());
        }
    }
}
