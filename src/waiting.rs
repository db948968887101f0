//! The waits of an end: for an answer, for the end of the pair, for room in the ring.
//!
//! Every one of them ends with what it waits for, with its deadline, when this end closes, and when the other side is gone.

use std::sync::Arc;
use std::time::Instant;

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

thread_local! {
    /// A thread waits in one place at a time.
    static PARKER: Arc<Parker> = Parker::new();
}

fn this_parker() -> Arc<Parker> {
    PARKER.try_with(Arc::clone).unwrap_or_else(|_| Parker::new())
}

fn has_passed(deadline: Option<Instant>) -> bool {
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
    #[inline]
    pub(crate) fn wait_for_answer(self: &Arc<Self>, id: CallId, deadline: Option<Instant>) -> Result<Outcome> {
        let outcome = if self.lead.is_mine() {
            self.lead_until_answer(id, deadline)
        } else if self.lead.try_enter(&self.watch) {
            let outcome = self.lead_until_answer(id, deadline);
            self.leave();
            outcome
        } else {
            self.queue_for_answer(id, deadline)
        };
        if outcome.is_err() {
            self.pending.forget(id);
        }
        outcome
    }

    fn leave(&self) {
        self.lead.leave(&self.watch, || self.has_something());
    }

    fn lead_until_answer(self: &Arc<Self>, id: CallId, deadline: Option<Instant>) -> Result<Outcome> {
        let mut desk = Desk { buffer: take_spare(), ..Desk::default() };
        let outcome = self.receive_answer(id, deadline, &mut desk);
        if !matches!(outcome, Ok(Outcome::Answer { .. })) {
            keep_spare(desk.buffer);
        }
        outcome
    }

    #[inline]
    fn receive_answer(self: &Arc<Self>, id: CallId, deadline: Option<Instant>, desk: &mut Desk) -> Result<Outcome> {
        let mut dispatched = 0u32;
        loop {
            // By an earlier leader, or by a handler's wait nested in ours.
            if let Some(outcome) = self.pending.take(id) {
                return Ok(outcome);
            }
            match self.receive_one(Some(id), desk)? {
                Received::Mine { from, to } => {
                    self.pending.release(id);
                    return Ok(Outcome::Answer { words: std::mem::take(&mut desk.buffer), from, to });
                }
                Received::Failed(outcome) => {
                    self.pending.release(id);
                    return Ok(outcome);
                }
                Received::Dispatched => {
                    dispatched += 1;
                    if dispatched.is_multiple_of(16) && has_passed(deadline) {
                        return Err(Error::Timeout);
                    }
                }
                Received::Nothing => {
                    if self.is_over() {
                        return Err(self.failure());
                    }
                    if self.is_gone() && !self.has_something() {
                        self.drained();
                        return Err(self.failure());
                    }
                    if self.at_bound() && lock(&self.inbox).is_full() {
                        return Err(Error::Full);
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
                let _sleeping = self.sleeping();
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
        let turn = self.lead.wait_turn(&self.watch, &parker, deadline, || self.pending.is_ready(id) || self.is_over() || self.is_gone());
        if turn == Turn::Lead {
            let outcome = self.lead_until_answer(id, deadline);
            self.leave();
            return outcome;
        }
        if let Some(outcome) = self.pending.take(id) {
            return Ok(outcome);
        }
        if self.is_over() {
            return Err(self.failure());
        }
        if self.is_gone() {
            // The thread that leads may be in a handler for long: take the answers that have arrived from under it.
            self.salvage_answers()?;
            return self.pending.take(id).ok_or_else(|| self.failure());
        }
        debug_assert_eq!(turn, Turn::TimedOut);
        Err(Error::Timeout)
    }

    /// Completes the calls whose answers have arrived, leaving calls and events where they are, in order.
    fn salvage_answers(&self) -> Result<()> {
        let answers = {
            let mut inbox = lock(&self.inbox);
            inbox.stow().map(|()| inbox.take_answers())
        };
        for (words, bytes) in answers.map_err(|e| self.channel_failed(e))? {
            match split(as_bytes(&words, bytes)) {
                Some((Head::Answer(id), payload)) => {
                    let from = bytes - payload.len();
                    self.complete(id, Outcome::Answer { words, from, to: bytes });
                }
                Some((Head::Failure(id, failure), _)) => self.complete(id, Outcome::from(failure)),
                _ => {}
            }
        }
        Ok(())
    }

    // ---- for the end of the pair -------------------------------------------------------------------------------------------------

    /// Dispatches what is there. Returns how many messages that were.
    pub(crate) fn poll(self: &Arc<Self>) -> Result<usize> {
        let nested = self.lead.is_mine();
        if !nested && !self.lead.try_enter(&self.watch) {
            // Somebody else is at it.
            return if self.is_over() { Err(self.failure()) } else { Ok(0) };
        }
        let outcome = self.dispatch_all(&mut Desk::default());
        if !nested {
            self.leave();
        }
        match outcome {
            Ok(0) if self.is_over() => Err(self.failure()),
            other => other,
        }
    }

    fn dispatch_all(self: &Arc<Self>, desk: &mut Desk) -> Result<usize> {
        let mut count = 0;
        self.attend();
        self.expire();
        while !matches!(self.receive_one(None, desk)?, Received::Nothing) {
            count += 1;
        }
        if !self.is_over() && self.is_gone() && !self.has_something() {
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
                if self.dispatch_all(&mut desk)? == 0 && !self.is_over() {
                    self.wait_for_message(None)?;
                }
            }
            return self.verdict();
        }
        if self.seat.claim(|| self.is_over(), || self.lead.wake_resident(&self.watch)) {
            let outcome = self.reside(|| false);
            self.seat.release();
            outcome?;
        }
        self.verdict()
    }

    /// Looks after the ring until the end is over or `give_up` says so. The seat is ours.
    pub(crate) fn reside(self: &Arc<Self>, give_up: impl Fn() -> bool) -> Result<()> {
        let parker = Parker::new();
        if self.lead.wait_turn(&self.watch, &parker, None, || self.is_over()) != Turn::Lead {
            return Ok(());
        }
        let mut desk = Desk { buffer: take_spare(), ..Desk::default() };
        let outcome = loop {
            let dispatched = match self.dispatch_all(&mut desk) {
                Err(error) => break Err(error),
                Ok(dispatched) => dispatched,
            };
            if self.is_over() || give_up() {
                break Ok(());
            }
            if dispatched == 0
                && let Err(error) = self.doze(&parker, &mut desk, &give_up)
            {
                break Err(error);
            }
        };
        self.leave();
        keep_spare(desk.buffer);
        outcome
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

    /// Waits until there is room, moving what has arrived out of the way of the other side, which may be waiting for room, too.
    pub(crate) fn wait_for_room(&self, room: Room, deadline: Option<Instant>, answer: bool, crowded: impl Fn()) -> Result<()> {
        loop {
            if self.watch.has_room(room) {
                return Ok(());
            }
            self.check_open()?;
            // If somebody else has the inbox, they are receiving.
            let stowed = self.inbox.try_lock().map(|mut inbox| inbox.stow().map(|()| inbox.is_full()));
            let full = match stowed {
                Ok(Ok(full)) => full,
                Ok(Err(error)) => return Err(self.channel_failed(error)),
                Err(_) => false,
            };
            if full {
                crowded();
                if !answer && self.lead.is_mine() {
                    return Err(Error::Full);
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
                let _sleeping = self.sleeping();
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
