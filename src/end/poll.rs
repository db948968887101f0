//! Dispatches for its own sake: `poll`, `run`, and the loop of the driver.
//!
//! - [`dispatch`](End::dispatch) is the one loop that takes messages for no caller. It runs
//!   handlers, so it is called under no lock.
//! - The driver drops its snapshot of the handlers before it parks. Otherwise handlers that were
//!   removed would live on.
//! - [`drive`](End::drive) is for a thread that has the driver slot, by [`SlotGuard`]. The slot is
//!   claimed before the lead, and released after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::drive::lead::LeadWait;
use crate::end::End;
use crate::end::desk::{Desk, Received, SpinFor};
use crate::end::leader::LeaderGuard;
use crate::end::wait::this_parker;
use crate::error::Result;
use crate::sync::parker::Parker;
use crate::time::deadline::Deadline;

/// Separates two looks of a closing thread at whether another thread has handled what has arrived.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Bounds the messages that the driver dispatches before it looks for anything else to do.
const BATCH: usize = 64;

/// Counts what was dispatched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dispatched {
    /// Messages that were taken.
    pub(crate) taken: usize,
    /// Messages that were taken and are not about types.
    pub(crate) counted: usize,
}

impl End {
    /// Dispatches what is there. Returns the number of messages, without those about types.
    pub(crate) fn poll(self: &Arc<Self>) -> Result<usize> {
        let _lowered = self.lower_readiness();
        // If another thread leads, that thread dispatches.
        let Some(leader) = self.try_lead() else {
            return if self.is_over() { Err(self.terminal_error()) } else { Ok(0) };
        };
        // What comes while this runs is left for the next time.
        let there = self.inbox().at_most();
        match self.dispatch(&leader, &mut Desk::new(), there, Deadline::NEVER)? {
            Dispatched { counted: 0, .. } if self.is_over() => Err(self.terminal_error()),
            Dispatched { counted, .. } => Ok(counted),
        }
    }

    /// Dispatches what has arrived, until `done` returns `true`.
    ///
    /// Does nothing while another thread leads. Does nothing in a handler either: all that has come
    /// would be nested in that handler.
    pub(crate) fn dispatch_arrived(self: &Arc<Self>, done: impl Fn() -> bool) {
        if self.lead.is_mine() || done() {
            return;
        }
        let Some(leader) = self.try_lead() else { return };
        let mut desk = Desk::new();
        let there = self.inbox().at_most();
        for _ in 0..there {
            // If this fails, the end is over, as the caller finds by what it does next.
            if done()
                || !self
                    .dispatch(&leader, &mut desk, 1, Deadline::NEVER)
                    .is_ok_and(|dispatched| dispatched.taken > 0)
            {
                break;
            }
        }
    }

    /// Dispatches what has arrived, or waits until another thread that leads has done so.
    ///
    /// # Blocking
    ///
    /// - Until everything that had arrived is handled.
    /// - Until the end is over.
    /// - Until `deadline` passes.
    pub(crate) fn finish_arrived(self: &Arc<Self>, deadline: Deadline) {
        if self.lead.is_mine() || self.is_over() {
            return;
        }
        let (before, there) = {
            let inbox = self.inbox();
            (inbox.dispatched(), inbox.at_most() as u64)
        };
        // A thread may lead for as long as it waits for an answer of its own, and tells no thread
        // what it has done meanwhile. So this thread has to look.
        let finished = || {
            // In this order: what has left the inbox is in transit, then in its handler. Then,
            // perhaps, its answer is in transit.
            let in_transit = || self.transit.is_busy();
            let idle = || {
                !self.has_something()
                    && !in_transit()
                    && self.handler_stack.is_idle()
                    && !in_transit()
            };
            self.is_over() || idle() || self.inbox().dispatched().saturating_sub(before) > there
        };
        loop {
            let soon = Deadline::after(LOOK_INTERVAL);
            match self
                .lead
                .wait_turn(&self.watch, &this_parker(), deadline.earlier(soon), || self.is_over())
            {
                LeadWait::Lead => {
                    let leader = self.leading();
                    let there = self.inbox().at_most();
                    // If this fails, the pair is over, which is what the caller asked for.
                    let _ = self.dispatch(&leader, &mut Desk::new(), there, deadline);
                    return;
                }
                LeadWait::Done => return,
                // The driver would have given the lead away by now, and with the lead the table of
                // handlers that it used.
                LeadWait::TimedOut if finished() || deadline.has_passed() => return,
                LeadWait::TimedOut => {}
            }
        }
    }

    /// Dispatches everything that the peer sent before it was gone.
    pub(crate) fn drain(self: &Arc<Self>, leader: &LeaderGuard<'_>, deadline: Deadline) {
        let mut desk = Desk::new();
        // An error means that the end is over.
        while !deadline.has_passed()
            && self
                .dispatch(leader, &mut desk, BATCH, deadline)
                .is_ok_and(|dispatched| dispatched.taken > 0)
        {}
    }

    /// Dispatches at most `limit` messages, until `deadline`. Returns how many.
    ///
    /// Ends this end if the peer is gone and nothing is left to dispatch.
    pub(crate) fn dispatch(
        self: &Arc<Self>,
        leader: &LeaderGuard<'_>,
        desk: &mut Desk,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Dispatched> {
        let (mut taken, mut noted) = (0_usize, 0_usize);
        self.take_interrupt();
        self.expect_end_if_gone();
        while taken < limit && !self.is_over() && !deadline.has_passed() {
            match self.receive_one(leader, None, SpinFor::Nothing, desk)? {
                Received::Dispatched => {}
                Received::Noted => noted = noted.saturating_add(1),
                _ => break,
            }
            taken = taken.saturating_add(1);
            if taken.is_multiple_of(BATCH) {
                self.expire();
            }
        }
        // Not before: an answer that has come in time is in time, although this thread may be late.
        self.expire();
        if taken == 0 && !self.is_over() && self.is_gone() && !self.has_something() {
            self.drained();
        }
        Ok(Dispatched { taken, counted: taken.saturating_sub(noted) })
    }

    /// Dispatches on this thread until the end is over.
    ///
    /// # Blocking
    ///
    /// Until the end is over.
    pub(crate) fn run(self: &Arc<Self>) -> Result<()> {
        if self.lead.is_mine()
            && let Some(leader) = self.try_lead()
        {
            // In a handler: this thread leads already, and goes on to lead.
            let mut desk = Desk::new();
            while !self.is_over() {
                if self.dispatch(&leader, &mut desk, BATCH, Deadline::NEVER)?.taken > 0
                    || self.is_over()
                {
                    continue;
                }
                if self.outbox.is_above_watermark() {
                    self.wait_below_watermark(&leader, Deadline::NEVER, || false)?;
                } else if matches!(
                    self.receive_one(&leader, None, SpinFor::Answer(Deadline::NEVER), &mut desk)?,
                    Received::Nothing
                ) {
                    self.sleep_for_message(&leader, Deadline::NEVER, || false)?;
                }
            }
            return self.verdict();
        }
        if self.driver.slot.claim(|| self.is_over(), || self.evict()) {
            let _slot = SlotGuard(self);
            self.drive(|| false)?;
        }
        self.verdict()
    }

    /// Dispatches as the driver until the end is over or `give_up` returns `true`.
    ///
    /// This thread has the driver slot.
    pub(crate) fn drive(self: &Arc<Self>, give_up: impl Fn() -> bool) -> Result<()> {
        let parker = Parker::new();
        if self.lead.wait_turn(&self.watch, &parker, Deadline::NEVER, || self.is_over())
            != LeadWait::Lead
        {
            return Ok(());
        }
        let leader = self.leading();
        let mut desk = Desk::new();
        while !self.is_over() && !give_up() {
            if self.dispatch(&leader, &mut desk, BATCH, Deadline::NEVER)?.taken > 0
                || self.is_over()
            {
                continue;
            }
            if self.outbox.is_above_watermark() {
                self.wait_below_watermark(&leader, Deadline::NEVER, &give_up)?;
            } else {
                self.park(&leader, &parker, &mut desk, &give_up)?;
            }
        }
        Ok(())
    }

    /// Waits for messages as the driver, and gives the lead to a thread that wants it meanwhile.
    fn park(
        self: &Arc<Self>,
        leader: &LeaderGuard<'_>,
        parker: &Arc<Parker>,
        desk: &mut Desk,
        give_up: &impl Fn() -> bool,
    ) -> Result<()> {
        match self.receive_one(
            leader,
            None,
            SpinFor::Driver(&|| self.lead.is_wanted() || give_up()),
            desk,
        )? {
            // Another thread wants the lead, and does what there is to do.
            Received::Interrupted if self.lead.is_wanted() => {}
            Received::Nothing => {}
            _ => return Ok(()),
        }
        let until = self.timers.sleep_until();
        desk.handlers.forget();
        let start = Instant::now();
        if self.park_driver(leader, parker, until, give_up)? {
            self.spins.data.slept(start.elapsed());
        }
        Ok(())
    }
}

/// Holds the driver slot for this thread, until this is dropped: also by a panic.
pub(crate) struct SlotGuard<'a>(pub(crate) &'a End);

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.0.driver.slot.release();
    }
}
