//! TODO end::raise

use std::sync::Arc;

use crate::drive::driver_slot::Occupant;
use crate::drive::lead::LeadWait;
use crate::drive::ready_signal::{Lowered, ReadySignal};
use crate::end::End;
use crate::end::leader::LeaderGuard;
use crate::end::poll::SlotGuard;
use crate::error::Result;
use crate::sync::parker::Parker;
use crate::time::deadline::Deadline;

impl End {
    /// For a thread that is about to dispatch in `poll`: lowers the descriptor, if there is one. Call [`Lowered`]'s drop afterwards.
    pub(crate) fn lower_readiness(&self) -> Option<Lowered> {
        let raised = self.ready_slot.get()?;
        // Once it is over the descriptor is to stay readable.
        if !self.is_over() {
            raised.lower();
            // Meanwhile it may have come to its end, and the thread that raises it have found it raised.
            if self.is_over() {
                raised.raise();
            }
        }
        Some(Lowered(raised))
    }

    /// Lets the thread that raises the descriptor look at the state of the end.
    pub(crate) fn notify_readiness(&self) {
        if let Some(raised) = self.ready_slot.get() {
            raised.notify();
        }
    }

    /// Makes the thread that has the seat look whether it should give it up.
    pub(crate) fn evict(&self) {
        self.lead.wake_driver(&self.watch);
        self.outbox.notify();
        self.notify_readiness();
    }

    /// Raises the descriptor whenever there is something to dispatch, as long as somebody watches it.
    pub(crate) fn raise_when_ready(self: Arc<Self>, raised: &ReadySignal) {
        let gone = || self.is_over() || !raised.has_handles();
        let give_up = || gone() || self.driver.slot.is_wanted();
        let parker = Parker::new();
        while self.driver.slot.claim_in_background(Occupant::Watcher, gone, || false) {
            let _slot = SlotGuard(&self);
            while !give_up() {
                if self.lead.wait_turn(&self.watch, &parker, Deadline::NEVER, gone)
                    != LeadWait::Lead
                {
                    break;
                }
                let ready = self.watch_until_ready(&self.leading(), &parker, &give_up);
                match ready {
                    Ok(true) => {
                        raised.raise();
                        raised
                            .wait_until_lowered(|| self.is_over() || self.driver.slot.is_wanted());
                    }
                    Ok(false) => {}
                    // The end is over, and everybody who waits was told why.
                    Err(_) => break,
                }
            }
        }
        if self.is_over() {
            // For ever.
            raised.raise();
        }
    }

    /// Sleeps on the bell, as the driver, until there is something to do for a thread that polls, or until `give_up`. The lead is ours.
    fn watch_until_ready(
        self: &Arc<Self>,
        leader: &LeaderGuard<'_>,
        parker: &Arc<Parker>,
        give_up: &impl Fn() -> bool,
    ) -> Result<bool> {
        while !give_up() {
            self.take_interrupt();
            let due = self.timers.sleep_until();
            if self.outbox.is_above_watermark() && !self.is_gone() && !self.inbox().is_full() {
                // Until then a poll would take nothing.
                self.wait_below_watermark(leader, Deadline::NEVER, give_up)?;
                continue;
            }
            if self.has_something() || self.is_gone() || due.has_passed() {
                return Ok(true);
            }
            self.park_driver(leader, parker, due, give_up)?;
        }
        Ok(false)
    }
}
