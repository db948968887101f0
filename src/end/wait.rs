//! The wait for an answer, or for any message at all.
//!
//! Like every wait of an end it ends with what it waits for, with its deadline, when this end
//! closes, and when the other side is gone.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coprocess_ring::ChannelError;

use crate::calls::answer::Answer;
use crate::calls::cancels::GivenUp;
use crate::calls::in_flight::{Completion, Notify, Outcome};
use crate::drive::lead::LeadWait;
use crate::end::End;
use crate::end::crossing::{Crossing, Patience, pause};
use crate::end::desk::{Desk, Received, SpinFor};
use crate::end::leader::LeaderGuard;
use crate::error::{Error, Result, Step};
use crate::limits::HIGH_WATERMARK_BYTES;
use crate::recv::inbox::Ahead;
use crate::stats::Counters;
use crate::sync::parker::Parker;
use crate::time::deadline::Deadline;
use crate::wire::header::{CallId, split};

/// When the other side is gone, how long a call waits for a thread that handles what was sent
/// before, and does not get on.
const LONG_HANDLER: Duration = Duration::from_millis(40);

thread_local! {
    /// A thread waits in one place at a time.
    static PARKER: Arc<Parker> = Parker::new();
}

pub(crate) fn this_parker() -> Arc<Parker> {
    PARKER.try_with(Arc::clone).unwrap_or_else(|_| Parker::new())
}

/// How the wait for an answer ended.
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
    /// Waits for the outcome of a call, and dispatches what arrives meanwhile. If this fails, the
    /// call is forgotten.
    ///
    /// # Blocking
    ///
    /// Until the answer arrives, the deadline passes, or the pair is over.
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

    /// As [`wait_for_answer`](Self::wait_for_answer), but the call stays in flight if this fails.
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
            // Stored by an earlier leader, or by the wait of a handler that is nested in this wait.
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
                            return self.take(id, || Error::Timeout);
                        }
                        continue;
                    }
                    Received::Nothing => true,
                    Received::Interrupted => false,
                };
            // Another thread that had the inbox may have found the answer: everywhere here.
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
            // A message that has come just in time is taken, but a peer that sends nothing but
            // parts of messages cannot keep this thread.
            if deadline.has_passed() && (!is_nothing || !self.has_something()) {
                return self.take(id, || Error::Timeout);
            }
        }
    }

    /// Takes the outcome that another thread has stored, if it is there.
    fn take(&self, id: CallId, otherwise: impl FnOnce() -> Error) -> Step<Arrived> {
        match self.in_flight.take(id) {
            Some(outcome) => Ok(Arrived::Elsewhere(outcome)),
            None => Err(otherwise().into()),
        }
    }

    /// Waits while another thread leads.
    #[cold]
    fn queue_for_answer(
        self: &Arc<Self>,
        id: CallId,
        deadline: Deadline,
        desk: &mut Desk,
    ) -> Step<Arrived> {
        let parker = this_parker();
        // If the outcome is there already there is nothing to be told, and the loop finds it.
        let _ = self.in_flight.notify(id, Notify::Thread(parker.clone()));
        let over = || self.in_flight.is_ready(id) || self.is_over();
        let crossing = Crossing::new(self, &parker);
        let mut patience = None::<Patience>;
        let turn = loop {
            let done = || over() || self.is_gone() || crossing.led().is_some();
            let on_a_cycle = || {
                crossing.enter();
                crossing.led().is_some()
            };
            match self.lead.wait_turn_unless(&self.watch, &parker, deadline, done, on_a_cycle) {
                LeadWait::Lead => {
                    crossing.leave();
                    patience.into_iter().for_each(Patience::keep);
                    return self.lead_until_answer(&self.leading(), id, deadline, desk);
                }
                LeadWait::Done if !over() && !self.is_gone() => {
                    self.wait_on_a_cycle(&crossing, &parker, deadline, over, &mut patience)
                }
                turn => break turn,
            }
            if deadline.has_passed() {
                break LeadWait::TimedOut;
            }
        };
        drop(crossing);
        if self.is_over() {
            self.conclude_last();
        }
        if turn == LeadWait::Done && self.is_gone() {
            self.last_deliveries(deadline, over);
        }
        if let Some(outcome) = self.in_flight.take(id) {
            patience.into_iter().for_each(Patience::end);
            return Ok(Arrived::Elsewhere(outcome));
        }
        patience.into_iter().for_each(Patience::keep);
        if self.is_over() {
            return Err(self.terminal_error().into());
        }
        if self.is_gone() {
            // Take the answers that have arrived from under the thread that leads.
            loop {
                self.salvage_answers()?;
                // Before the look at the table: the leader may have the answer in its hands.
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

    /// Waits as long as the thread that leads this end waits for this thread; see
    /// [`crossing`](crate::end::crossing).
    ///
    /// If the end is over after this, call [`conclude_last`](Self::conclude_last) once the thread
    /// has left the list: not before, since that runs code of the program.
    fn wait_on_a_cycle(
        self: &Arc<Self>,
        crossing: &Crossing<'_>,
        parker: &Parker,
        deadline: Deadline,
        done: impl Fn() -> bool,
        patience: &mut Option<Patience>,
    ) {
        let start = Instant::now();
        while let Some(led) = crossing.led() {
            if let Err(error) = self.sift(Ahead::OfCalls) {
                crossing.leave();
                // The end is over then.
                self.channel_failed(error);
                return;
            }
            if done() || self.is_gone() {
                return;
            }
            let depth = led.handler_stack.depth();
            let patience = patience.get_or_insert_with(|| Patience::of(&led, depth));
            if patience.is_over()
                && led.has_something()
                && !led.is_over()
                && let Some(leader) = led.try_lead()
            {
                crossing.leave();
                // One message, also where this wait has no time left: other threads may wait for it
                // without end. If it fails, that end is over, which is for the handler of that end
                // to find.
                let dispatched = led.dispatch(&leader, &mut Desk::new(), 1, Deadline::NEVER);
                crossing.enter();
                // Else there is a part of a message only, or that end has too many answers to send.
                if dispatched.is_ok_and(|dispatched| dispatched.taken > 0) && !deadline.has_passed()
                {
                    continue;
                }
            }
            if deadline.has_passed() {
                return;
            }
            let until = deadline.earlier(Deadline::after(pause(start.elapsed())));
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

    /// After a call that could not be sent, as if it had been in flight: what the other side has
    /// sent before it was gone comes before the error.
    #[cold]
    pub(crate) fn take_last_deliveries(self: &Arc<Self>, deadline: Deadline) {
        if self.is_gone() && !self.is_over() {
            self.last_deliveries(deadline, || false);
        }
    }

    /// Lets everything that was sent before the other side was gone be handled, by this thread or
    /// by the one that leads. Gives up if that one is in a handler for long.
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

    /// Completes the calls whose answers have arrived, leaving calls and events where they are, in
    /// order.
    ///
    /// Runs none of the user's code, unless the end is over: tasks and callbacks are left for a
    /// thread that dispatches.
    pub(crate) fn salvage_answers(&self) -> Result<()> {
        let outcome = self.sift(if self.is_gone() { Ahead::Last } else { Ahead::Any });
        if self.is_over() {
            // Whoever has ended the end has done so with those that were there by then, and nobody
            // dispatches any more.
            self.conclude_last();
        }
        outcome.map_err(|e| self.channel_failed(e))
    }

    /// Completes the calls whose answers have arrived. Runs none of the user's code.
    fn sift(&self, ahead: Ahead) -> std::result::Result<(), ChannelError> {
        let mut inbox = self.inbox();
        let mut completions = Vec::new();
        let mut keep = |completion| match completion {
            Completion::Done => {}
            // There is no bound on these.
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

    /// Waits until the peer has read some of the answers that are kept for it.
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
