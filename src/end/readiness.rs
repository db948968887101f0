//! Raises the descriptor for event loops while there is something to dispatch.
//!
//! While a descriptor exists, a thread of its own is the driver, unless a thread in `run` is. That
//! thread watches the ring, and dispatches nothing: it raises the descriptor, and waits until a
//! thread of the program polls.
//!
//! - A poll lowers the descriptor first, and looks at the inbox afterwards. So a message that the
//!   poll does not find raises the descriptor again.
//! - Once the end is over, the descriptor stays raised. So a thread that lowers it looks at the
//!   state of the end afterwards.

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
    /// Lowers the descriptor, if there is one, for a thread that is about to dispatch in `poll`.
    ///
    /// The thread drops the [`Lowered`] after it has dispatched.
    pub(crate) fn lower_readiness(&self) -> Option<Lowered> {
        let signal = self.ready_slot.get()?;
        // Once the end is over, the descriptor must stay readable.
        if !self.is_over() {
            signal.lower();
            // The end may have ended meanwhile, and the thread that raises the descriptor may have
            // found it raised.
            if self.is_over() {
                signal.raise();
            }
        }
        Some(Lowered(signal))
    }

    /// Makes the thread that raises the descriptor look at the state of the end.
    pub(crate) fn notify_readiness(&self) {
        if let Some(signal) = self.ready_slot.get() {
            signal.notify();
        }
    }

    /// Makes the driver look whether it should give up the driver slot.
    pub(crate) fn evict(&self) {
        self.lead.wake_driver(&self.watch);
        self.outbox.notify();
        self.notify_readiness();
    }

    /// Raises the descriptor whenever there is something to dispatch, as long as it has handles.
    pub(crate) fn raise_when_ready(self: Arc<Self>, signal: &ReadySignal) {
        let needless = || self.is_over() || !signal.has_handles();
        let give_up = || needless() || self.driver.slot.is_wanted();
        let parker = Parker::new();
        while self.driver.slot.claim_in_background(Occupant::Watcher, needless, || false) {
            let _slot = SlotGuard(&self);
            while !give_up() {
                if self.lead.wait_turn(&self.watch, &parker, Deadline::NEVER, needless)
                    != LeadWait::Lead
                {
                    break;
                }
                let ready = self.watch_until_ready(&self.leading(), &parker, &give_up);
                match ready {
                    Ok(true) => {
                        signal.raise();
                        signal
                            .wait_until_lowered(|| self.is_over() || self.driver.slot.is_wanted());
                    }
                    Ok(false) => {}
                    // The end is over, and each thread that waits was told why.
                    Err(_) => break,
                }
            }
        }
        if self.is_over() {
            // The descriptor stays readable for ever.
            signal.raise();
        }
    }

    /// Sleeps as the driver until there is something to do for a thread that polls.
    ///
    /// Returns `false` if `give_up` returned `true` first.
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
                // Until the peer has read more answers, a poll would take nothing.
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
