//! TODO end::emits

use crate::calls::ids::EmissionId;
use crate::end::End;
use crate::error::Error;
use crate::send::send_queue::TaskKey;

impl End {
    /// Lets the tasks know whose events were not sent: they will not be, because the other side is gone, or this end is over. Wakes tasks, which runs code of
    /// the program's.
    pub(crate) fn abandon_emissions(&self) {
        for waker in self.emissions.wakers() {
            self.contain(|| waker.wake());
        }
    }

    /// The deadline of an event that is kept has passed. If it is being sent, that has the same deadline.
    pub(crate) fn emission_expired(&self, id: EmissionId) {
        if self.outbox.take_back(TaskKey::Event(id))
            && let Some(waker) = self.emissions.settle(id, Err(Error::Timeout.into()))
        {
            self.contain(|| waker.wake());
        }
    }
}
