//! Receives one message, and gives it to what waits for it.
//!
//! Only the leader receives, so handlers never run at the same time, except nested: while a handler
//! waits for an answer, the messages that arrive are dispatched on its thread.

use std::sync::Arc;

use crate::calls::answer::Answer;
use crate::calls::in_flight::{Completion, Outcome};
use crate::end::End;
use crate::end::desk::{Desk, Received, SpinFor};
use crate::end::leader::LeaderGuard;
use crate::end::transit::InTransit;
use crate::error::{Error, Step};
use crate::stats::Counters;
use crate::time::deadline::Deadline;
use crate::wire::header::{CallId, Header, split, split_frequent};

impl End {
    /// Receives one message and dispatches it, unless it is the answer to `mine`, which is handed out.
    /// Spins for a message if `spin` says so; does not sleep.
    #[inline]
    pub(crate) fn receive_one(
        self: &Arc<Self>,
        leader: &LeaderGuard<'_>,
        mine: Option<CallId>,
        spin: SpinFor<'_>,
        desk: &mut Desk,
    ) -> Step<Received> {
        // Unless the backlog is full, too: then the peer may be unable to read before it has sent.
        if self.outbox.is_above_watermark() && !self.inbox().is_full() {
            return Ok(Received::AboveWatermark);
        }
        if self.inbox_is_wanted() {
            self.let_others_have_the_inbox();
        }
        let (bytes, transit) = {
            let mut inbox = self.inbox();
            if let Some(completion) = inbox.completions.pop_front() {
                let transit = self.transit.begin();
                drop(inbox);
                return Ok(self.conclude_in_transit(transit, completion));
            }
            let mut popped = inbox.pop(&mut desk.buffer, self.handler_stack.is_at_bound());
            if matches!(popped, Ok(None)) && !matches!(spin, SpinFor::Nothing) {
                // With the inbox in hand: to lock it again once the message is there would make the
                // message late.
                let next = inbox.next();
                let interrupted =
                    || self.is_interrupted() || self.inbox_is_wanted() || spin.is_over();
                let ended = self.spins.data.spin(spin.until(&self.timers).instant(), || {
                    self.watch.has_come(next) || interrupted()
                });
                if self.watch.has_come(next) {
                    popped = inbox.pop(&mut desk.buffer, self.handler_stack.is_at_bound());
                    if matches!(popped, Ok(None)) {
                        // A part of a message: not the moment to go to sleep.
                        return Ok(Received::Interrupted);
                    }
                } else if ended {
                    return Ok(Received::Interrupted);
                }
            }
            match popped {
                // Under the lock: a thread that finds nothing in the inbox sees that this one has a message.
                Ok(Some(bytes)) => (bytes, self.transit.begin()),
                Ok(None) => return Ok(Received::Nothing),
                Err(error) => {
                    drop(inbox);
                    return Err(self.channel_failed(error).into());
                }
            }
        };
        let Some((header, payload)) = split_frequent(&desk.buffer, bytes) else {
            return self.receive_other(leader, transit, mine, bytes, desk);
        };
        // The payload is the end of the message.
        let from = bytes.wrapping_sub(payload.len());
        // An answer is in transit until it is stored; a message for a handler, or callback, until that is
        // seen to run.
        match header {
            Header::Answer(id) if Some(id) == mine => {
                drop(transit);
                Ok(Received::Answer(Answer::Result(from..bytes)))
            }
            Header::Answer(id) => {
                let words = std::mem::take(&mut desk.buffer);
                let completion =
                    self.in_flight.complete(id, Outcome::Answer { words, from, to: bytes });
                Ok(self.conclude_in_transit(transit, completion))
            }
            Header::Event(_) if self.handler_stack.is_at_bound() => {
                self.defer(transit, bytes, desk)
            }
            Header::Event(subject) => self
                .dispatch_event(transit, subject, payload, &mut desk.handlers)
                .map(|()| Received::Dispatched),
            Header::Call(..) if self.is_urged() => {
                self.receive_other(leader, transit, mine, bytes, desk)
            }
            Header::Call(id, None, subject) => self
                .dispatch_call(transit, id, Deadline::NEVER, subject, payload, &mut desk.handlers)
                .map(|()| Received::Dispatched),
            _ => self.receive_other(leader, transit, mine, bytes, desk),
        }
    }

    /// Dispatches the message on the desk if it is one of the less frequent: apart, so that the frequent
    /// ones do not pay for them.
    #[cold]
    fn receive_other(
        self: &Arc<Self>,
        _leader: &LeaderGuard<'_>,
        transit: InTransit<'_>,
        mine: Option<CallId>,
        bytes: usize,
        desk: &mut Desk,
    ) -> Step<Received> {
        let Some((header, payload)) = split(&desk.buffer, bytes) else {
            drop(transit);
            return Err(self.protocol_violation().into());
        };
        if let Some((id, answer)) = Answer::of(&header, payload, bytes) {
            if Some(id) == mine {
                drop(transit);
                return Ok(Received::Answer(answer));
            }
            let outcome = answer.into_outcome(|| std::mem::take(&mut desk.buffer));
            let completion = self.in_flight.complete(id, outcome);
            return Ok(self.conclude_in_transit(transit, completion));
        }
        match header {
            Header::Event(_) | Header::Gauge(..) if self.handler_stack.is_at_bound() => {
                return self.defer(transit, bytes, desk);
            }
            Header::Event(subject) => {
                self.dispatch_event(transit, subject, payload, &mut desk.handlers)?
            }
            Header::Gauge(number, subject) => {
                self.dispatch_event(transit, subject, payload, &mut desk.handlers)?;
                self.send_receipt(number)?;
            }
            // In transit until the value that the receipt has let go is sent: a thread that closes this end
            // waits for that value.
            Header::Receipt(number) => self.take_receipt(number)?,
            Header::Introduce { number, name, kinds, .. } => {
                let is_honest = self.types.peer.introduce(number, name, kinds);
                drop(transit);
                return self.noted(is_honest, bytes);
            }
            Header::Refuse(refused, turn, place) => {
                let is_honest = self.types.sent.refuse(refused, turn, Some(place));
                drop(transit);
                return self.noted(is_honest, bytes);
            }
            Header::Welcome(refused, turn) => {
                let is_honest = self.types.sent.refuse(refused, turn, None);
                drop(transit);
                return self.noted(is_honest, bytes);
            }
            Header::Cancel(id) | Header::Withdraw(id) => {
                drop(transit);
                self.cancelled(id);
            }
            Header::Call(id, at, subject) => {
                let deadline = Deadline::from(at.and_then(|at| self.clock.moment(at)));
                if deadline.has_passed() {
                    self.skip();
                } else if !(self.is_urged() && self.skip_if_withdrawn(id)) {
                    self.dispatch_call(
                        transit,
                        id,
                        deadline,
                        subject,
                        payload,
                        &mut desk.handlers,
                    )?;
                }
            }
            // Handled above.
            Header::Answer(_) | Header::DescribedAnswer(..) | Header::Failure(..) => {
                return Err(self.protocol_violation().into());
            }
        }
        Ok(Received::Dispatched)
    }

    /// Keeps the event on the desk until fewer handlers are nested.
    #[cold]
    fn defer(&self, transit: InTransit<'_>, bytes: usize, desk: &mut Desk) -> Step<Received> {
        drop(transit);
        let mut inbox = self.inbox();
        inbox.defer(std::mem::take(&mut desk.buffer), bytes);
        // A thread that waits this deeply gives up, rather than keep more.
        if inbox.is_full() { Err(Error::Full.into()) } else { Ok(Received::Dispatched) }
    }

    /// Does not count a message about types, which was handled.
    #[cold]
    fn noted(&self, is_honest: bool, bytes: usize) -> Step<Received> {
        self.inbox().discount(bytes);
        if is_honest { Ok(Received::Noted) } else { Err(self.protocol_violation().into()) }
    }

    /// As [`conclude`](Self::conclude), for a completion that this thread, which leads, has in its hands.
    #[inline]
    fn conclude_in_transit(&self, transit: InTransit<'_>, completion: Completion) -> Received {
        if let Completion::Run(callback, outcome) = completion {
            // The callback is seen to run before the answer is not in transit any more.
            self.run_handler(Some(transit), Deadline::NEVER, || {
                self.catch_user_panic(|| callback(outcome))
            });
        } else {
            drop(transit);
            self.conclude(completion);
        }
        Received::Dispatched
    }

    /// Stores the outcome of a call for the thread, task or callback that waits for it.
    pub(crate) fn complete(&self, id: CallId, outcome: Outcome) {
        self.conclude(self.in_flight.complete(id, outcome));
    }

    /// Does what is left to do after a call was completed: runs the user's code, under no lock.
    pub(crate) fn conclude(&self, completion: Completion) {
        match completion {
            Completion::Done => {}
            Completion::Wake(waker) => {
                self.catch_user_panic(|| waker.wake());
                self.in_flight.woken();
            }
            Completion::Run(callback, outcome) if self.lead.is_mine() => {
                self.run_handler(None, Deadline::NEVER, || {
                    self.catch_user_panic(|| callback(outcome))
                });
            }
            Completion::Run(callback, outcome) => self.catch_user_panic(|| callback(outcome)),
            Completion::Unknown => Counters::add(&self.counters.answers_dropped),
        }
    }
}
