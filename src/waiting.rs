//! The wait for an answer, or for any message at all.
//!
//! Like every wait of an end it ends with what it waits for, with its deadline, when this end closes, and when the other side is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use coprocess_ring::Sleeper;

use crate::dispatch::{Desk, Received};
use crate::end::End;
use crate::envelope::{CallId, Head, as_bytes, keep_spare, split, take_spare};
use crate::error::{Error, Result};
use crate::lead::Turn;
use crate::outbox::CROWDED_BYTES;
use crate::parker::Parker;
use crate::pending::{Completion, Notify, Outcome};
use crate::stats::Counters;
use crate::sync::lock;

/// When the other side is gone, how long a call waits for a thread that handles what was sent before, and does not get on.
const LONG_HANDLER: Duration = Duration::from_millis(40);

thread_local! {
    /// A thread waits in one place at a time.
    static PARKER: Arc<Parker> = Parker::new();
}

pub(crate) fn this_parker() -> Arc<Parker> {
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
                    if self.is_over() {
                        return self.pending.take(id).ok_or_else(|| self.failure());
                    }
                    self.wait_while_crowded(deadline, || self.pending.is_ready(id))?;
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
    pub(crate) fn wait_for_message(self: &Arc<Self>, deadline: Option<Instant>) -> Result<()> {
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
        let turn = self.lead.wait_turn(&self.watch, &parker, deadline, || over() || self.is_gone());
        if turn == Turn::Lead {
            let _leading = Leading(self);
            return self.lead_until_answer(id, true, deadline);
        }
        if turn == Turn::Done && self.is_gone() {
            self.last_deliveries(deadline, over);
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

    /// Lets everything that was sent before the other side was gone be handled, by this thread or by the one that leads. Gives up if that one is
    /// in a handler for long.
    pub(crate) fn last_deliveries(self: &Arc<Self>, deadline: Option<Instant>, done: impl Fn() -> bool) {
        if self.lead.is_mine() {
            return;
        }
        let parker = this_parker();
        loop {
            let before = lock(&self.inbox).progress();
            let soon = Instant::now().checked_add(LONG_HANDLER);
            match self.lead.wait_turn(&self.watch, &parker, earlier(deadline, soon), || done() || self.is_over()) {
                Turn::Lead => {
                    let _leading = Leading(self);
                    self.drain(deadline);
                    return;
                }
                Turn::Done => return,
                Turn::TimedOut if has_passed(deadline) || lock(&self.inbox).progress() == before => return,
                Turn::TimedOut => {}
            }
        }
    }

    /// Completes the calls whose answers have arrived, leaving calls and events where they are, in order.
    ///
    /// Runs none of the user's code: tasks and callbacks are left for a thread that dispatches.
    pub(crate) fn salvage_answers(&self) -> Result<()> {
        let outcome = {
            let mut inbox = lock(&self.inbox);
            let mut completions = Vec::new();
            let outcome = inbox.take_answers(self.is_gone(), |words, bytes| match split(as_bytes(&words, bytes)) {
                Some((Head::Answer(id), payload)) => {
                    let from = bytes - payload.len();
                    completions.push(self.pending.complete(id, Outcome::Answer { words, from, to: bytes }));
                }
                Some((Head::Failure(id, failure), _)) => completions.push(self.pending.complete(id, Outcome::from(failure))),
                _ => {}
            });
            inbox.completions.extend(completions.into_iter().filter(|c| !matches!(c, Completion::Done)));
            outcome
        };
        outcome.map_err(|e| self.channel_failed(e))
    }

    /// Waits, as the thread that leads, until the other end has read some of the answers that are kept for it.
    pub(crate) fn wait_while_crowded(&self, deadline: Option<Instant>, done: impl Fn() -> bool) -> Result<()> {
        self.salvage_answers()?;
        let over = || self.is_disturbed() || done() || lock(&self.inbox).is_full();
        self.outbox.wait_until_kept(CROWDED_BYTES, earlier(deadline, self.timers.earliest()), over);
        self.attend();
        self.expire();
        Ok(())
    }
}

/// The lead is this thread's, until this is dropped: also by a panic.
pub(crate) struct Leading<'a>(pub(crate) &'a End);

impl Drop for Leading<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.lead.leave(&self.0.watch, || self.0.has_something());
    }
}
