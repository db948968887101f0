//! TODO end::timeouts

use std::sync::Arc;
use std::time::Instant;

use crate::calls::cancels::GivenUp;
use crate::calls::in_flight::Outcome;
use crate::calls::timers::Due;
use crate::end::End;
use crate::error::Error;

impl End {
    /// Sees to it that somebody looks at this deadline when it has passed.
    pub(crate) fn time(&self, at: Instant, due: Due) {
        if !self.timers.add(at, due, |id| self.in_flight.is_known(id)) {
            return;
        }
        if !self.lead.is_mine() {
            self.interrupt();
        } else if self.timers.driver_sleeps_past(at) {
            // This thread looks before it sleeps. The driver, if it has lent the lead to this one, would sleep for too long.
            self.lead.wake_driver(&self.watch);
        }
    }

    /// Fails the calls of callbacks and futures, and the events of futures, whose deadline has passed, and lets the tasks know whose callers' has.
    pub(crate) fn expire(self: &Arc<Self>) {
        while let Some(due) = self.timers.expired() {
            match due {
                Due::Call(id) if self.in_flight.is_unanswered(id) => {
                    self.complete(id, Outcome::Failed(Error::Timeout));
                    self.cancel(id, GivenUp::Forgotten);
                }
                Due::Call(_) => {}
                Due::Event(id) => self.pending_emit_expired(id),
                #[cfg(feature = "tokio")]
                Due::Served(id) => {
                    self.unwanted(id);
                }
            }
        }
    }
}
