//! The waits of an end: for an answer, for the end of the pair, for room in the ring.
//!
//! Every one of them ends with what it waits for, with its deadline, when this end closes, and when the other side is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use coprocess_ring::{Room, Sleeper};

use crate::dispatch::{Desk, Received};
use crate::end::End;
use crate::envelope::{CallId, Head, as_bytes, keep_spare, split, take_spare};
use crate::error::{Error, Result};
use crate::lead::Turn;
use crate::parker::Parker;
use crate::pending::{Notify, Outcome};
use crate::stats::Counters;
use crate::sync::lock;

/// When the other side is gone, how long a call waits for another thread to handle what was sent before.
const LAST_DELIVERIES: Duration = Duration::from_millis(30);

/// Messages that the resident dispatches before it looks whether it has anything else to do.
const PASS: usize = 64;

thread_local! {
    /// A thread waits in one place at a time.
    static PARKER: Arc<Parker> = Parker::new();
}

fn this_parker() -> Arc<Parker> {
    PARKER.try_with(Arc::clone).unwrap_or_else(|_| Parker::new())
}

pub(crate) fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|at| Instant::now() >= at)
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl End {
    // ---- for an answer -----------------------------------------------------------------------------------------------------------

    /// Waits for the outcome of a call, dispatching what arrives meanwhile. The call is forgotten if this fails.
    ///
    /// `noticed`: whether somebody has asked for notice of the call before.
    #[inline]
    pub(crate) fn wait_for_answer(self: &Arc<Self>, id: CallId, noticed: bool, deadline: Option<Instant>) -> Result<Outcome> {
        let outcome = if self.lead.is_mine() {
            self.lead_until_answer(id, noticed, deadline)
        } else if self.lead.try_enter(&self.watch) {
            let _leading = Leading(self);
            self.lead_until_answer(id, noticed, deadline)
        } else {
            self.queue_for_answer(id, deadline)
        };
        if outcome.is_err() {
            self.pending.forget(id);
        }
        outcome
    }

    fn lead_until_answer(self: &Arc<Self>, id: CallId, noticed: bool, deadline: Option<Instant>) -> Result<Outcome> {
        let mut desk = Desk { buffer: take_spare(), ..Desk::default() };
        let outcome = self.receive_answer(id, noticed, deadline, &mut desk);
        if !matches!(outcome, Ok(Outcome::Answer { .. })) {
            keep_spare(desk.buffer);
        }
        outcome
    }

    #[inline]
    fn receive_answer(self: &Arc<Self>, id: CallId, noticed: bool, deadline: Option<Instant>, desk: &mut Desk) -> Result<Outcome> {
        loop {
            // By an earlier leader, or by a handler's wait nested in ours.
            if let Some(outcome) = self.pending.take(id) {
                return Ok(outcome);
            }
            let received = self.receive_one(Some(id), desk)?;
            match received {
                Received::Mine(outcome) => {
                    if noticed {
                        self.pending.forget(id);
                    } else {
                        self.pending.release(id);
                    }
                    return Ok(outcome);
                }
                Received::Dispatched => {
                    // A handler may have taken its time, or closed this end.
                    if self.is_over() {
                        return self.pending.take(id).ok_or_else(|| self.failure());
                    }
                    self.expire();
                    if has_passed(deadline) {
                        return self.pending.take(id).ok_or(Error::Timeout);
                    }
                }
                Received::Crowded => {
                    self.salvage_answers()?;
                    let over = || self.is_over() || self.is_gone() || self.pending.is_ready(id);
                    self.outbox.wait_while_crowded(deadline, over);
                    if has_passed(deadline) {
                        return self.pending.take(id).ok_or(Error::Timeout);
                    }
                }
                Received::Nothing => {
                    if self.is_over() {
                        return Err(self.failure());
                    }
                    if self.is_gone() && !self.has_something() {
                        if !self.at_bound() {
                            self.drained();
                        }
                        return Err(self.failure());
                    }
                    self.wait_for_message(deadline)?;
                }
            }
        }
    }

    /// Spins, then sleeps, until a message may have come. The lead is ours.
    fn wait_for_message(self: &Arc<Self>, deadline: Option<Instant>) -> Result<()> {
        let next = lock(&self.inbox).next();
        let come = || self.watch.has_come(next) || self.is_disturbed();
        let until = earlier(deadline, self.timers.earliest());
        if !self.spin_for_data.spin(until, come) {
            if has_passed(deadline) {
                return Err(Error::Timeout);
            }
            let start = Instant::now();
            let slept = {
                let _sleeping = self.sleeping_for_data();
                self.watch.arm(Sleeper::Guest);
                let slept = if self.has_something() || self.is_disturbed() {
                    Ok(true)
                } else {
                    Counters::add(&self.counters.sleeps);
                    self.watch.sleep(Sleeper::Guest, until)
                };
                self.watch.disarm();
                slept
            };
            slept.map_err(|e| self.channel_failed(e.into()))?;
            self.spin_for_data.slept(start.elapsed());
        }
        self.attend();
        self.expire();
        if has_passed(deadline) && !self.has_something() {
            return Err(Error::Timeout);
        }
        Ok(())
    }

    /// Waits while another thread leads.
    #[cold]
    fn queue_for_answer(self: &Arc<Self>, id: CallId, deadline: Option<Instant>) -> Result<Outcome> {
        let parker = this_parker();
        // If the outcome is there already there is nothing to be told, and the loop finds it.
        let _ = self.pending.notify(id, Notify::Thread(parker.clone()));
        let over = || self.pending.is_ready(id) || self.is_over();
        let mut turn = self.lead.wait_turn(&self.watch, &parker, deadline, || over() || self.is_gone());
        if turn == Turn::Done && self.is_gone() {
            // What has arrived comes before the error, so let the thread that leads deliver it; but it may be in a handler for long.
            let soon = Instant::now().checked_add(LAST_DELIVERIES);
            turn = self.lead.wait_turn(&self.watch, &parker, earlier(deadline, soon), over);
        }
        if turn == Turn::Lead {
            let _leading = Leading(self);
            return self.lead_until_answer(id, true, deadline);
        }
        if let Some(outcome) = self.pending.take(id) {
            return Ok(outcome);
        }
        if self.is_over() {
            return Err(self.failure());
        }
        if self.is_gone() {
            // Take the answers that have arrived from under the thread that leads.
            loop {
                self.salvage_answers()?;
                // Acquire: pairs with the Release of the thread that has an answer in its hands, perhaps ours.
                let in_transit = self.in_transit.load(Ordering::Acquire);
                if let Some(outcome) = self.pending.take(id) {
                    return Ok(outcome);
                }
                if !in_transit {
                    return Err(self.failure());
                }
                std::thread::yield_now();
            }
        }
        Err(Error::Timeout)
    }

    /// Completes the calls whose answers have arrived, leaving calls and events where they are, in order.
    fn salvage_answers(&self) -> Result<()> {
        let mut completions = Vec::new();
        let outcome = {
            let mut inbox = lock(&self.inbox);
            inbox.take_answers(|words, bytes| match split(as_bytes(&words, bytes)) {
                Some((Head::Answer(id), payload)) => {
                    let from = bytes - payload.len();
                    completions.push(self.pending.complete(id, Outcome::Answer { words, from, to: bytes }));
                }
                Some((Head::Failure(id, failure), _)) => completions.push(self.pending.complete(id, Outcome::from(failure))),
                _ => {}
            })
        };
        // Tasks and callbacks are the user's code: without the lock.
        for completion in completions {
            self.conclude(completion);
        }
        outcome.map_err(|e| self.channel_failed(e))
    }

    // ---- for the end of the pair -------------------------------------------------------------------------------------------------

    /// Dispatches what is there. Returns how many messages that were.
    pub(crate) fn poll(self: &Arc<Self>) -> Result<usize> {
        let _leading = if self.lead.is_mine() {
            None
        } else if self.lead.try_enter(&self.watch) {
            Some(Leading(self))
        } else {
            // Somebody else is at it.
            return if self.is_over() { Err(self.failure()) } else { Ok(0) };
        };
        // What comes while this runs is left for the next time.
        let there = lock(&self.inbox).at_most();
        match self.dispatch(&mut Desk::default(), there, None) {
            Ok(0) if self.is_over() => Err(self.failure()),
            other => other,
        }
    }

    /// Dispatches what has arrived, waiting at most until `deadline` for another thread that is at it.
    pub(crate) fn finish_arrived(self: &Arc<Self>, deadline: Option<Instant>) {
        if self.lead.is_mine() || self.is_over() {
            return;
        }
        if self.lead.wait_turn(&self.watch, &this_parker(), deadline, || self.is_over()) == Turn::Lead {
            let _leading = Leading(self);
            let there = lock(&self.inbox).at_most();
            // If it fails, the pair is over: what was asked for.
            let _ = self.dispatch(&mut Desk::default(), there, deadline);
        }
    }

    /// Dispatches at most `limit` messages, until `deadline`. Returns how many.
    fn dispatch(self: &Arc<Self>, desk: &mut Desk, limit: usize, deadline: Option<Instant>) -> Result<usize> {
        let mut count = 0;
        self.attend();
        self.expire();
        while count < limit && !self.is_over() && !has_passed(deadline) {
            if !matches!(self.receive_one(None, desk)?, Received::Dispatched) {
                break;
            }
            count += 1;
        }
        if count == 0 && !self.is_over() && self.is_gone() && !self.has_something() {
            self.drained();
        }
        Ok(count)
    }

    /// Dispatches on this thread until the end is over.
    pub(crate) fn run(self: &Arc<Self>) -> Result<()> {
        if self.lead.is_mine() {
            // From inside a handler: the lead is ours already, and stays so.
            let mut desk = Desk::default();
            while !self.is_over() {
                if self.dispatch(&mut desk, PASS, None)? == 0 && !self.is_over() {
                    self.wait_for_message(None)?;
                }
            }
            return self.verdict();
        }
        let evict = || {
            self.lead.wake_resident(&self.watch);
            self.outbox.stir();
        };
        if self.seat.claim(|| self.is_over(), evict) {
            let _seated = Seated(self);
            self.reside(|| false)?;
        }
        self.verdict()
    }

    /// Looks after the ring until the end is over or `give_up` says so. The seat is ours.
    pub(crate) fn reside(self: &Arc<Self>, give_up: impl Fn() -> bool) -> Result<()> {
        let parker = Parker::new();
        if self.lead.wait_turn(&self.watch, &parker, None, || self.is_over()) != Turn::Lead {
            return Ok(());
        }
        let _leading = Leading(self);
        let mut desk = Desk { buffer: take_spare(), ..Desk::default() };
        while !self.is_over() && !give_up() {
            if self.dispatch(&mut desk, PASS, None)? > 0 || self.is_over() {
                continue;
            }
            if self.outbox.is_crowded() {
                let over = || self.is_over() || self.is_gone() || give_up();
                self.salvage_answers()?;
                self.outbox.wait_while_crowded(self.timers.earliest(), over);
            } else {
                self.doze(&parker, &mut desk, &give_up)?;
            }
        }
        keep_spare(desk.buffer);
        Ok(())
    }

    /// Waits for messages as the resident: gives the lead to whoever comes meanwhile.
    fn doze(&self, parker: &Arc<Parker>, desk: &mut Desk, give_up: &impl Fn() -> bool) -> Result<()> {
        let next = lock(&self.inbox).next();
        let disturbed = || self.is_disturbed() || give_up();
        let until = self.timers.earliest();
        if self.spin_for_data.spin(until, || self.watch.has_come(next) || self.lead.is_wanted() || disturbed()) && !self.lead.is_wanted() {
            return Ok(());
        }
        desk.handlers.forget();
        let start = Instant::now();
        self.watch.arm(Sleeper::Resident);
        if self.has_something() || disturbed() {
            self.watch.disarm();
            return Ok(());
        }
        Counters::add(&self.counters.sleeps);
        // A timer that was added since is one of the disturbances.
        let dozed = self.lead.doze(&self.watch, until, parker, disturbed);
        self.watch.disarm();
        self.spin_for_data.slept(start.elapsed());
        dozed.map_err(|e| self.channel_failed(e.into()))
    }

    /// Fails the calls of callbacks and futures whose deadline has passed.
    fn expire(&self) {
        while let Some(id) = self.timers.expired() {
            if self.pending.is_known(id) && !self.pending.is_ready(id) {
                self.complete(id, Outcome::Failed(Error::Timeout));
            }
        }
    }

    // ---- for room ----------------------------------------------------------------------------------------------------------------

    /// Whether this thread is in a handler of this end and nothing more fits into the backlog: if it waited for room, and the other end did
    /// the same, both would wait for ever.
    pub(crate) fn must_not_wait_here(&self) -> bool {
        self.lead.is_mine() && lock(&self.inbox).is_full()
    }

    /// Waits until there is room, moving what has arrived out of the way of the other side, which may be waiting for room, too. `crowded` is
    /// called while the bound of that is reached.
    pub(crate) fn wait_for_room(&self, room: Room, deadline: Option<Instant>, crowded: impl Fn()) -> Result<()> {
        loop {
            if self.watch.has_room(room) {
                return Ok(());
            }
            self.check_open()?;
            let stowed = {
                // Nobody holds it for long. Whoever has it takes out one message; this must make sure that the ring is empty.
                let mut inbox = lock(&self.inbox);
                inbox.stow().map(|()| inbox.is_full())
            };
            let full = stowed.map_err(|e| self.channel_failed(e))?;
            if full {
                // Answers to our own calls do not count: there is a place for each.
                self.salvage_answers()?;
                if lock(&self.inbox).is_full() {
                    crowded();
                    if self.lead.is_mine() {
                        return Err(Error::Full);
                    }
                }
            }
            if has_passed(deadline) {
                return Err(Error::Timeout);
            }
            let ready = || self.watch.has_room(room) || self.is_over() || self.is_gone();
            if self.spin_for_room.spin(deadline, ready) {
                continue;
            }
            let start = Instant::now();
            let slept = {
                let _sleeping = self.sleeping_for_room();
                self.watch.arm_for_room();
                let slept = if ready() {
                    Ok(true)
                } else {
                    Counters::add(&self.counters.sleeps);
                    self.watch.sleep_for_room(deadline)
                };
                self.watch.disarm_for_room();
                slept
            };
            slept.map_err(|e| self.channel_failed(e.into()))?;
            self.spin_for_room.slept(start.elapsed());
        }
    }
}

/// The lead is this thread's, until this is dropped: also by a panic.
struct Leading<'a>(&'a End);

impl Drop for Leading<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.lead.leave(&self.0.watch, || self.0.has_something());
    }
}

/// The seat is this thread's, until this is dropped: also by a panic.
pub(crate) struct Seated<'a>(pub(crate) &'a End);

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.0.seat.release();
    }
}
