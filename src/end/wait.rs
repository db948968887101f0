//! Waits for an answer, or for any message at all.
//!
//! Each wait of an end has these ways out: what it waits for, its deadline, the close of this end,
//! and a peer that is gone.
//!
//! - A thread that waits for an answer takes the lead and dispatches, or it follows: then its
//!   parker is notified of the answer, of the lead, and of each change of the state.
//! - Another thread may store the outcome at any moment. So a wait looks for the outcome once more
//!   before it fails.
//! - A wait dispatches, which runs handlers: call it under no lock.
//! - What takes answers ahead of other messages runs no code of the program, since a follower may
//!   do so while another thread leads: completions are left in the inbox.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coprocess_ring::ChannelError;

use crate::calls::answer::Answer;
use crate::calls::cancels::GivenUp;
use crate::calls::in_flight::{Completion, Notify, Outcome};
use crate::drive::lead::LeadWait;
use crate::end::End;
use crate::end::crossing::{Crossing, NestingDelay, next_sleep};
use crate::end::desk::{Desk, Received, SpinFor};
use crate::end::leader::LeaderGuard;
use crate::error::{Error, Result, Step};
use crate::limits::HIGH_WATERMARK_BYTES;
use crate::recv::inbox::Ahead;
use crate::stats::Counters;
use crate::sync::parker::Parker;
use crate::time::deadline::Deadline;
use crate::wire::header::{CallId, split};

/// Bounds how long a call waits, once the peer is gone, for a leader that makes no progress with
/// what was sent before.
const LONG_HANDLER: Duration = Duration::from_millis(40);

thread_local! {
    /// The parker of this thread: a thread waits in one place at a time.
    static PARKER: Arc<Parker> = Parker::new();
}

/// Returns the parker of this thread, or a new one if the thread is ending.
pub(crate) fn this_parker() -> Arc<Parker> {
    PARKER.try_with(Arc::clone).unwrap_or_else(|_| Parker::new())
}

/// Says how the wait for an answer ended.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// The encoded result is in the buffer of the desk, at these bytes.
    Here(Range<usize>),
    /// Another thread has received the outcome, or the call failed.
    Elsewhere(Outcome),
}

impl From<Answer> for Arrived {
    #[inline]
    fn from(answer: Answer) -> Arrived {
        match answer {
            Answer::Result(at) => Arrived::Here(at),
            Answer::Failure(outcome) => Arrived::Elsewhere(*outcome),
        }
    }
}

impl End {
    /// Waits for the outcome of a call, and dispatches what arrives meanwhile.
    ///
    /// If this fails, the call is forgotten.
    ///
    /// # Blocking
    ///
    /// - Until the answer arrives.
    /// - Until the deadline passes.
    /// - Until the pair is over.
    #[inline]
    pub(crate) fn wait_for_answer(
        self: &Arc<Self>,
        id: CallId,
        deadline: Deadline,
        desk: &mut Desk,
    ) -> Step<Arrived> {
        let outcome = self.wait_and_keep(id, deadline, desk);
        if outcome.is_err() {
            self.give_up(id, GivenUp::Forgotten);
        }
        outcome
    }

    /// Waits as [`wait_for_answer`](Self::wait_for_answer) does. The call stays in flight if this
    /// fails.
    #[inline]
    pub(crate) fn wait_and_keep(
        self: &Arc<Self>,
        id: CallId,
        deadline: Deadline,
        desk: &mut Desk,
    ) -> Step<Arrived> {
        match self.try_lead() {
            Some(leader) => self.lead_until_answer(&leader, id, deadline, desk),
            None => self.queue_for_answer(id, deadline, desk),
        }
    }

    #[inline]
    fn lead_until_answer(
        self: &Arc<Self>,
        leader: &LeaderGuard<'_>,
        id: CallId,
        deadline: Deadline,
        desk: &mut Desk,
    ) -> Step<Arrived> {
        loop {
            // The outcome may have been stored by an earlier leader, or by the wait of a handler
            // that is nested in this wait.
            if self.in_flight.is_ready(id)
                && let Some(outcome) = self.in_flight.take(id)
            {
                return Ok(Arrived::Elsewhere(outcome));
            }
            let is_nothing =
                match self.receive_one(leader, Some(id), SpinFor::Answer(deadline), desk)? {
                    Received::Answer(answer) => {
                        self.in_flight.release(id);
                        return Ok(answer.into());
                    }
                    Received::Dispatched | Received::Noted => {
                        // A handler may have taken its time, or closed this end.
                        if self.is_over() {
                            return self.take(id, || self.terminal_error());
                        }
                        self.expect_end_if_gone();
                        self.expire();
                        if deadline.has_passed() {
                            return self.take(id, || Error::Timeout);
                        }
                        continue;
                    }
                    Received::AboveWatermark => {
                        if self.is_over() {
                            return self.take(id, || self.terminal_error());
                        }
                        self.wait_below_watermark(leader, deadline, || {
                            self.in_flight.is_ready(id)
                        })?;
                        if deadline.has_passed() {
                            // A sender that waits for space may have moved the answer into the
                            // backlog, and wakes no thread for it.
                            self.salvage_answers()?;
                            return self.take(id, || Error::Timeout);
                        }
                        continue;
                    }
                    Received::Nothing => true,
                    Received::Interrupted => false,
                };
            // Here and below: another thread that had the inbox may have found the answer. So each
            // failure looks for the outcome first.
            if self.is_over() {
                return self.take(id, || self.terminal_error());
            }
            if self.is_gone() {
                self.inbox().expect_end();
                if !self.has_something() {
                    if !self.handler_stack.is_at_bound() {
                        self.drained();
                    }
                    return self.take(id, || self.terminal_error());
                }
            }
            if is_nothing && !deadline.has_passed() {
                self.sleep_for_message(leader, deadline, || self.in_flight.is_ready(id))?;
            }
            self.take_interrupt();
            self.expire();
            // A message that has come just in time is taken. But a peer that sends nothing but
            // parts of messages cannot keep this thread.
            if deadline.has_passed() && (!is_nothing || !self.has_something()) {
                return self.take(id, || Error::Timeout);
            }
        }
    }

    /// Takes the outcome, if another thread has stored it. Fails by `otherwise` if not.
    fn take(&self, id: CallId, otherwise: impl FnOnce() -> Error) -> Step<Arrived> {
        match self.in_flight.take(id) {
            Some(outcome) => Ok(Arrived::Elsewhere(outcome)),
            None => Err(otherwise().into()),
        }
    }

    /// Waits for an outcome as a follower, while another thread leads.
    #[cold]
    fn queue_for_answer(
        self: &Arc<Self>,
        id: CallId,
        deadline: Deadline,
        desk: &mut Desk,
    ) -> Step<Arrived> {
        let parker = this_parker();
        // If the outcome is there already, no notice is needed: the loop finds the outcome.
        let _ = self.in_flight.notify(id, Notify::Thread(parker.clone()));
        let over = || self.in_flight.is_ready(id) || self.is_over();
        let crossing = Crossing::new(self, &parker);
        let mut delay = None::<NestingDelay>;
        let waited = loop {
            let done = || over() || self.is_gone() || crossing.led().is_some();
            let on_a_cycle = || {
                crossing.enter();
                crossing.led().is_some()
            };
            match self.lead.wait_turn_unless(&self.watch, &parker, deadline, done, on_a_cycle) {
                LeadWait::Lead => {
                    crossing.leave();
                    delay.into_iter().for_each(NestingDelay::keep);
                    return self.lead_until_answer(&self.leading(), id, deadline, desk);
                }
                LeadWait::Done if !over() && !self.is_gone() => {
                    self.wait_on_a_cycle(&crossing, &parker, deadline, over, &mut delay)
                }
                waited => break waited,
            }
            if deadline.has_passed() {
                break LeadWait::TimedOut;
            }
        };
        drop(crossing);
        if self.is_over() {
            self.conclude_last();
        }
        if waited == LeadWait::Done && self.is_gone() {
            self.last_deliveries(deadline, over);
        }
        if let Some(outcome) = self.in_flight.take(id) {
            delay.into_iter().for_each(NestingDelay::note_answer);
            return Ok(Arrived::Elsewhere(outcome));
        }
        delay.into_iter().for_each(NestingDelay::keep);
        if self.is_over() {
            return Err(self.terminal_error().into());
        }
        if self.is_gone() {
            // This thread takes the answers that have arrived, although another thread leads.
            loop {
                self.salvage_answers()?;
                // Before the look at the calls in flight: the leader may have the answer in its
                // hands.
                let in_transit = self.transit.is_busy();
                if let Some(outcome) = self.in_flight.take(id) {
                    return Ok(Arrived::Elsewhere(outcome));
                }
                if !in_transit || self.is_over() {
                    return Err(self.terminal_error().into());
                }
                if deadline.has_passed() {
                    return Err(Error::Timeout.into());
                }
                std::thread::yield_now();
            }
        }
        Err(Error::Timeout.into())
    }

    /// Waits as long as the leader of this end waits for this thread; see
    /// [`crossing`](crate::end::crossing).
    ///
    /// If the end is over after this, call [`conclude_last`](Self::conclude_last), which runs code
    /// of the program. The thread must have left the list by then.
    fn wait_on_a_cycle(
        self: &Arc<Self>,
        crossing: &Crossing<'_>,
        parker: &Parker,
        deadline: Deadline,
        done: impl Fn() -> bool,
        delay: &mut Option<NestingDelay>,
    ) {
        let start = Instant::now();
        while let Some(led_end) = crossing.led() {
            if let Err(error) = self.sift(Ahead::OfCalls) {
                crossing.leave();
                // The end is over after this.
                self.channel_failed(error);
                return;
            }
            if done() || self.is_gone() {
                return;
            }
            let depth = led_end.handler_stack.depth();
            let delay = delay.get_or_insert_with(|| NestingDelay::of(&led_end, depth));
            if delay.has_passed()
                && led_end.has_something()
                && !led_end.is_over()
                && let Some(leader) = led_end.try_lead()
            {
                crossing.leave();
                // One message, even if this wait has no time left: other threads may wait for that
                // message without end. If this fails, the led end is over, which the handler of
                // that end finds.
                let dispatched = led_end.dispatch(&leader, &mut Desk::new(), 1, Deadline::NEVER);
                crossing.enter();
                // Otherwise there is only a part of a message, or the led end has too many answers
                // to send.
                if dispatched.is_ok_and(|dispatched| dispatched.taken > 0) && !deadline.has_passed()
                {
                    continue;
                }
            }
            if deadline.has_passed() {
                return;
            }
            let until = deadline.earlier(Deadline::after(next_sleep(start.elapsed())));
            let (next, full) = {
                let inbox = self.inbox();
                (inbox.next(), inbox.is_full())
            };
            let has_come = || !full && self.watch.has_come(next);
            if !self.spins.data.spin(until.instant(), || has_come() || parker.is_notified())
                || !has_come()
            {
                parker.wait(until.instant());
            }
        }
    }

    /// Handles what the peer sent before it was gone, after a call that could not be sent.
    ///
    /// So these messages come before the error, as if the call had been in flight.
    #[cold]
    pub(crate) fn take_last_deliveries(self: &Arc<Self>, deadline: Deadline) {
        if self.is_gone() && !self.is_over() {
            self.last_deliveries(deadline, || false);
        }
    }

    /// Lets everything that the peer sent before it was gone be handled, by this thread or the
    /// leader.
    ///
    /// # Blocking
    ///
    /// - Until everything is handled, the end is over, or `done` returns `true`.
    /// - Until the leader is in a handler for long.
    /// - Until `deadline` passes.
    pub(crate) fn last_deliveries(self: &Arc<Self>, deadline: Deadline, done: impl Fn() -> bool) {
        if self.lead.is_mine() {
            return;
        }
        let parker = this_parker();
        loop {
            let before = self.inbox().progress();
            let soon = Deadline::after(LONG_HANDLER);
            match self.lead.wait_turn(&self.watch, &parker, deadline.earlier(soon), || {
                done() || self.is_over()
            }) {
                LeadWait::Lead => {
                    self.drain(&self.leading(), deadline);
                    return;
                }
                LeadWait::Done => return,
                LeadWait::TimedOut
                    if deadline.has_passed() || self.inbox().progress() == before =>
                {
                    return;
                }
                LeadWait::TimedOut => {}
            }
        }
    }

    /// Completes the calls whose answers have arrived. Leaves calls and events where they are, in
    /// order.
    ///
    /// Runs no code of the program, unless the end is over: tasks and callbacks are left for a
    /// thread that dispatches.
    pub(crate) fn salvage_answers(&self) -> Result<()> {
        let outcome = self.sift(if self.is_gone() { Ahead::Last } else { Ahead::Any });
        if self.is_over() {
            // The thread that ended the end has concluded what was completed by then, and no thread
            // dispatches any more.
            self.conclude_last();
        }
        outcome.map_err(|e| self.channel_failed(e))
    }

    /// Completes the calls whose answers have arrived. Runs no code of the program.
    fn sift(&self, ahead: Ahead) -> std::result::Result<(), ChannelError> {
        let mut inbox = self.inbox();
        let mut completions = Vec::new();
        let mut keep = |completion| match completion {
            Completion::Done => {}
            // These are not kept: nothing bounds their number.
            Completion::Unknown => Counters::add(&self.counters.answers_dropped),
            other => completions.push(other),
        };
        let outcome = inbox.take_answers(ahead, |words, bytes| {
            let answer = split(&words, bytes)
                .and_then(|(header, payload)| Answer::of(&header, payload, bytes));
            if let Some((id, answer)) = answer {
                keep(self.in_flight.complete(id, answer.into_outcome(|| words)));
            }
        });
        inbox.completions.extend(completions);
        outcome
    }

    /// Waits, as the leader, until the peer has read some of the answers that are queued for it.
    pub(crate) fn wait_below_watermark(
        self: &Arc<Self>,
        _leader: &LeaderGuard<'_>,
        deadline: Deadline,
        done: impl Fn() -> bool,
    ) -> Result<()> {
        self.salvage_answers()?;
        let over = || self.is_interrupted() || done() || self.inbox().is_full();
        self.wait_until_unread_below(
            HIGH_WATERMARK_BYTES,
            deadline.earlier(self.timers.earliest()),
            over,
        );
        self.take_interrupt();
        self.expire();
        Ok(())
    }
}
