//! Ends what has a deadline that no thread waits for: calls and events of tasks and callbacks.
//!
//! The leader looks at the timers between messages and after each sleep, by
//! [`expire`](End::expire). A thread that adds the earliest deadline must therefore reach the
//! thread that sleeps until a later one: see [`time`](End::time). Call `expire` under no lock,
//! since it runs code of the program.

use std::sync::Arc;
use std::time::Instant;

use crate::calls::cancels::GivenUp;
use crate::calls::in_flight::Outcome;
use crate::calls::timers::Due;
use crate::end::End;
use crate::error::Error;

impl End {
    /// Adds a deadline, and makes sure that a thread looks at it when it has passed.
    pub(crate) fn time(&self, at: Instant, due: Due) {
        if !self.timers.add(at, due, |id| self.in_flight.is_known(id)) {
            return;
        }
        if !self.lead.is_mine() {
            self.interrupt();
        } else if self.timers.driver_sleeps_past(at) {
            // This thread looks at the timers before it sleeps. But the driver, if it has lent the
            // lead to this thread, would sleep for too long.
            self.lead.wake_driver(&self.watch);
        }
    }

    /// Ends what has a deadline that has passed.
    ///
    /// - The calls of callbacks and futures fail, and so do the events of futures.
    /// - A task that answers a call of the peer learns that its caller does not wait any more.
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
