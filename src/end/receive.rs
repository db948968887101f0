//! Receives one message, and gives it to the thread, task or handler that it is for.
//!
//! Only the leader receives, so handlers never run at the same time, except nested: while a handler
//! waits for an answer, the messages that arrive are dispatched on its thread.
//!
//! - A message is in transit before the lock of the inbox that it came out of is released. It is in
//!   transit until it is stored, or its handler is seen to run.
//! - The code of the program runs under no lock: a handler, a callback or a waker may call
//!   anything.
//! - [`receive_one`](End::receive_one) holds what frequent messages need, and nothing else. It runs
//!   once for each message.

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
    /// Receives one message and dispatches it, unless it is the answer to `mine`, which is
    /// returned.
    ///
    /// Spins for a message if `spin` says so. Does not sleep.
    #[inline]
    pub(crate) fn receive_one(
        self: &Arc<Self>,
        leader: &LeaderGuard<'_>,
        mine: Option<CallId>,
        spin: SpinFor<'_>,
        desk: &mut Desk,
    ) -> Step<Received> {
        leader.check(self);
        // If the backlog is full, messages are taken: the peer may be unable to read before it has
        // sent.
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
                // The inbox stays locked while this thread spins. To lock it again once the message
                // is there would make the message late.
                let next = inbox.next();
                let interrupted =
                    || self.is_interrupted() || self.inbox_is_wanted() || spin.is_over();
                let ended = self.spins.data.spin(spin.until(&self.timers).instant(), || {
                    self.watch.has_come(next) || interrupted()
                });
                if self.watch.has_come(next) {
                    popped = inbox.pop(&mut desk.buffer, self.handler_stack.is_at_bound());
                    if matches!(popped, Ok(None)) {
                        // A part of a message has come: the thread must not go to sleep now.
                        return Ok(Received::Interrupted);
                    }
                } else if ended {
                    return Ok(Received::Interrupted);
                }
            }
            match popped {
                // Under the lock: a thread that finds nothing in the inbox sees that this thread
                // has a message.
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
        // An answer is in transit until it is stored. A message for a handler or a callback is in
        // transit until the handler or callback is seen to run.
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

    /// Dispatches the message on the desk if it is one of the less frequent.
    ///
    /// This code is apart, so that frequent messages do not pay for it.
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
            // In transit until the value that the receipt lets go is sent: a thread that closes
            // this end waits for that value.
            Header::Receipt(number) => self.take_receipt(number)?,
            Header::Introduce { number, name, kinds, .. } => {
                let is_honest = self.types.peer.introduce(number, name, kinds);
                return self.noted(transit, is_honest, bytes);
            }
            Header::Refuse(refused, turn, place) => {
                let is_honest = self.types.sent.refuse(refused, turn, Some(place));
                return self.noted(transit, is_honest, bytes);
            }
            Header::Welcome(refused, turn) => {
                let is_honest = self.types.sent.refuse(refused, turn, None);
                return self.noted(transit, is_honest, bytes);
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
        // A thread that waits this deeply fails, rather than keep more events.
        if inbox.is_full() { Err(Error::Full.into()) } else { Ok(Received::Dispatched) }
    }

    /// Leaves a message about types, which was handled, out of the count of messages.
    ///
    /// The message is in transit until then: a thread that waits until all is handled, and then reads
    /// the counts, finds it counted out.
    #[cold]
    fn noted(&self, transit: InTransit<'_>, is_honest: bool, bytes: usize) -> Step<Received> {
        self.inbox().discount(bytes);
        drop(transit);
        if is_honest { Ok(Received::Noted) } else { Err(self.protocol_violation().into()) }
    }

    /// Concludes a completion as [`conclude`](Self::conclude) does, on the leader, which has the
    /// completion in transit.
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

    /// Does what is left to do after a call was completed: runs code of the program. Call this
    /// under no lock.
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
