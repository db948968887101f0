//! From a message to its handler, and from a handler to its answer.
//!
//! Only the thread that has the lead gets here, so handlers never run at the same time, except nested: while a handler waits for an answer,
//! what arrives is dispatched on its thread.

use std::mem::needs_drop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::Serialize;

use crate::contain::{contain, forget_panic};
use crate::deadline::Serving;
use crate::decode::DecodeError;
use crate::end::End;
use crate::envelope::{CallId, Failure, Head, Message, keep_spare, split, split_frequent, take_spare};
use crate::error::{Error, Result, Step};
use crate::one_line::clip;
use crate::outbox::Patience;
use crate::panicked::panic_message;
use crate::pending::{Completion, Outcome};
use crate::registry::Snapshot;
use crate::reply::DROPPED;
use crate::stats::Counters;
use crate::timers::Timers;
use crate::waiting::{earlier, has_passed};

/// How deeply handlers nest: beyond it an incoming call gets an error, and events wait.
pub(crate) const MAX_DEPTH: u32 = 64;

/// What a thread that dispatches works with.
pub(crate) struct Desk {
    /// The message received last.
    pub(crate) buffer: Vec<u64>,
    /// Where in it the answer to the awaited call is.
    pub(crate) answer: Range<usize>,
    /// The outcome of the awaited call, if it is no answer, or was received by somebody else.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) handlers: Snapshot,
}

impl Desk {
    #[inline]
    pub(crate) fn new() -> Desk {
        Desk { buffer: take_spare(), answer: 0..0, outcome: None, handlers: Snapshot::default() }
    }
}

impl Drop for Desk {
    #[inline]
    fn drop(&mut self) {
        keep_spare(std::mem::take(&mut self.buffer));
    }
}

/// What one look at the inbox brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Nothing was there, or has come in the time that was worth a spin.
    Nothing,
    /// No message, but a part of one, or the state of the end has changed, or another thread needs something of this one.
    Disturbed,
    /// Nothing was taken: too many answers wait for the other end to read them.
    Crowded,
    /// A message, and it is done with.
    Dispatched,
    /// The answer to the awaited call: the desk has it.
    Answer,
    /// The failure of the awaited call: the desk has it.
    Failure,
}

/// Whether to spin for a message, and what ends that besides.
#[derive(Clone, Copy)]
pub(crate) enum SpinFor<'a> {
    /// Not at all.
    Nothing,
    /// This thread waits for something of its own, until then.
    Answer(Option<Instant>),
    /// This thread is the resident, and goes if somebody says so.
    Resident(&'a dyn Fn() -> bool),
}

impl SpinFor<'_> {
    #[inline]
    fn is_over(self) -> bool {
        matches!(self, SpinFor::Resident(over) if over())
    }

    #[inline]
    fn until(self, timers: &Timers) -> Option<Instant> {
        match self {
            SpinFor::Answer(deadline) => earlier(deadline, timers.earliest()),
            SpinFor::Resident(_) | SpinFor::Nothing => timers.earliest(),
        }
    }
}

impl End {
    pub(crate) fn at_bound(&self) -> bool {
        // Relaxed: changed by the thread that asks, or of no consequence.
        self.depth.load(Ordering::Relaxed) >= MAX_DEPTH
    }

    /// Receives one message and dispatches it, unless it is the answer to `mine`, which is handed out. Spins for one if `spin` says so; does
    /// not sleep.
    #[inline]
    pub(crate) fn receive_one(self: &Arc<Self>, mine: Option<CallId>, spin: SpinFor<'_>, desk: &mut Desk) -> Step<Received> {
        // Unless the backlog is full, too: then the other end may be unable to read before it has sent.
        if self.outbox.is_crowded() && !self.inbox().is_full() {
            return Ok(Received::Crowded);
        }
        if self.inbox_is_wanted() {
            self.let_others_have_the_inbox();
        }
        let popped = {
            let mut inbox = self.inbox();
            if let Some(completion) = inbox.completions.pop_front() {
                // Relaxed: ordered by the lock.
                self.in_transit.store(true, Ordering::Relaxed);
                drop(inbox);
                return Ok(self.conclude_in_transit(completion));
            }
            let mut popped = inbox.pop(&mut desk.buffer, self.at_bound());
            if matches!(popped, Ok(None)) && !matches!(spin, SpinFor::Nothing) {
                // With the inbox in hand: to take it again once the message is there would only make it late.
                let next = inbox.next();
                let disturbed = || self.is_disturbed() || self.inbox_is_wanted() || spin.is_over();
                let ended = self.spin_for_data.spin(spin.until(&self.timers), || self.watch.has_come(next) || disturbed());
                if self.watch.has_come(next) {
                    popped = inbox.pop(&mut desk.buffer, self.at_bound());
                    if matches!(popped, Ok(None)) {
                        // A part of a message: not the moment to go to sleep.
                        return Ok(Received::Disturbed);
                    }
                } else if ended {
                    return Ok(Received::Disturbed);
                }
            }
            // Under the lock: whoever finds nothing in the inbox sees that this thread has something. Relaxed: ordered by the lock.
            self.in_transit.store(matches!(popped, Ok(Some(_))), Ordering::Relaxed);
            popped
        };
        let bytes = match popped {
            Ok(None) => return Ok(Received::Nothing),
            Ok(Some(bytes)) => bytes,
            Err(error) => return Err(self.channel_failed(error).into()),
        };
        let Some((head, payload)) = split_frequent(&desk.buffer, bytes) else {
            return self.receive_other(mine, bytes, desk);
        };
        // The payload is the end of the message.
        let from = bytes.wrapping_sub(payload.len());
        // An answer is not in transit any more once it is stored; a message for a handler, or callback, once that is seen to run.
        match head {
            Head::Answer(id) if Some(id) == mine => {
                self.arrived();
                desk.answer = from..bytes;
                Ok(Received::Answer)
            }
            Head::Answer(id) => {
                let words = std::mem::take(&mut desk.buffer);
                Ok(self.conclude_in_transit(self.pending.complete(id, Outcome::Answer { words, from, to: bytes })))
            }
            Head::Event(_) if self.at_bound() => self.defer(bytes, desk),
            Head::Event(name) => self.dispatch_event(name, payload, &mut desk.handlers).map(|()| Received::Dispatched),
            Head::Call(..) if self.is_urged() => self.receive_other(mine, bytes, desk),
            Head::Call(id, method) => self.dispatch_call(id, method, payload, &mut desk.handlers).map(|()| Received::Dispatched),
            _ => self.receive_other(mine, bytes, desk),
        }
    }

    /// Dispatches the message on the desk if it is one of the less frequent: apart, so that the frequent ones do not pay for them.
    #[cold]
    fn receive_other(self: &Arc<Self>, mine: Option<CallId>, bytes: usize, desk: &mut Desk) -> Step<Received> {
        let Some((head, payload)) = split(&desk.buffer, bytes) else {
            self.arrived();
            return Err(self.nonsense().into());
        };
        match head {
            Head::Failure(id, failure) if Some(id) == mine => {
                self.arrived();
                desk.outcome = Some(Outcome::from(failure));
                return Ok(Received::Failure);
            }
            Head::Failure(id, failure) => return Ok(self.conclude_in_transit(self.pending.complete(id, Outcome::from(failure)))),
            Head::Gauge(..) if self.at_bound() => return self.defer(bytes, desk),
            Head::Gauge(number, name) => {
                self.dispatch_event(name, payload, &mut desk.handlers)?;
                self.send_receipt(number)?;
            }
            Head::Receipt(number) => {
                let taken = self.take_receipt(number);
                // Not before: whoever closes this end waits for the value that the receipt has let go.
                self.arrived();
                taken?;
            }
            Head::CallBy(id, at, method) => {
                let deadline = self.clock.moment(at);
                if has_passed(deadline) {
                    self.skip();
                    return Ok(Received::Dispatched);
                }
                if self.is_urged() && self.skip_if_withdrawn(id) {
                    return Ok(Received::Dispatched);
                }
                let _serving = Serving::next(deadline);
                self.dispatch_call(id, method, payload, &mut desk.handlers)?;
            }
            Head::Cancel(id) | Head::Withdraw(id) => {
                self.arrived();
                self.cancelled(id);
            }
            Head::Call(id, _) if self.skip_if_withdrawn(id) => {}
            Head::Call(id, method) => self.dispatch_call(id, method, payload, &mut desk.handlers)?,
            // The frequent ones, which are dispatched where they are received.
            Head::Event(_) | Head::Answer(_) => {
                self.arrived();
                return Err(self.nonsense().into());
            }
        }
        Ok(Received::Dispatched)
    }

    /// Keeps the event on the desk until fewer handlers are nested.
    #[cold]
    fn defer(&self, bytes: usize, desk: &mut Desk) -> Step<Received> {
        self.arrived();
        let mut inbox = self.inbox();
        inbox.defer(std::mem::take(&mut desk.buffer), bytes);
        // Whoever waits this deeply gives up, rather than keep more.
        if inbox.is_full() { Err(Error::Full.into()) } else { Ok(Received::Dispatched) }
    }

    /// As [`conclude`](Self::conclude), for what this thread, which leads, has in its hands.
    #[inline]
    fn conclude_in_transit(&self, completion: Completion) -> Received {
        // A callback is seen to run before it is not in transit any more: `nested` sees to that.
        if !matches!(completion, Completion::Run(..)) {
            self.arrived();
        }
        self.conclude(completion);
        Received::Dispatched
    }

    #[inline]
    pub(crate) fn arrived(&self) {
        // Release: pairs with the Acquire of a thread that looks for its answer.
        self.in_transit.store(false, Ordering::Release);
    }

    fn dispatch_event(&self, name: &[u8], value: &[u8], handlers: &mut Snapshot) -> Step<()> {
        match handlers.of(&self.registry).events.get(name) {
            None => {
                self.arrived();
                std::str::from_utf8(name).map_err(|_| self.nonsense())?;
                self.count_unheard();
            }
            Some(listener) => match self.nested(|| catch_unwind(AssertUnwindSafe(|| listener(value)))) {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self.count_undecodable(),
                Err(panic) => {
                    // The panic hook has reported it.
                    Counters::add(&self.counters.event_panics);
                    forget_panic(panic);
                }
            },
        }
        Ok(())
    }

    fn dispatch_call(self: &Arc<Self>, id: CallId, method: &[u8], args: &[u8], handlers: &mut Snapshot) -> Step<()> {
        match handlers.of(&self.registry).methods.get(method) {
            None => {
                let Ok(method) = std::str::from_utf8(method) else {
                    self.arrived();
                    return Err(self.nonsense().into());
                };
                self.fail(id, method, Failure::NotFound);
                self.arrived();
            }
            Some(server) if self.at_bound() => {
                self.fail(id, &server.name, Failure::Remote(&format!("handlers call each other more than {MAX_DEPTH} deep")));
                self.arrived();
            }
            Some(server) => {
                let (served, dropped) = self.nested(|| {
                    // Relaxed: only the leader changes it. Handlers nest.
                    let outer = self.unanswered.load(Ordering::Relaxed);
                    self.unanswered.store(false, Ordering::Relaxed);
                    let served = catch_unwind(AssertUnwindSafe(|| (server.serve)(self, id, &server.name, args)));
                    let dropped = self.unanswered.load(Ordering::Relaxed);
                    self.unanswered.store(outer, Ordering::Relaxed);
                    if served.is_err() || dropped {
                        // The answer is still to be sent, and the handler is over. Relaxed: ordered by the depth, which changes next.
                        self.in_transit.store(true, Ordering::Relaxed);
                    }
                    (served, dropped)
                });
                match served {
                    Err(panic) => {
                        self.fail(id, &server.name, Failure::Remote(&panic_message(&*panic)));
                        self.arrived();
                        forget_panic(panic);
                    }
                    // The handler has caught the panic that dropped its reply.
                    Ok(()) if dropped => {
                        self.fail(id, &server.name, Failure::Remote(DROPPED));
                        self.arrived();
                    }
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    /// Runs a handler.
    #[inline]
    fn nested<T>(&self, handler: impl FnOnce() -> T) -> T {
        // Relaxed: only the leader changes them, and the handlers do not unwind.
        let depth = self.depth.load(Ordering::Relaxed);
        let serving = self.serving.load(Ordering::Relaxed);
        let run = self.runs.load(Ordering::Relaxed).wrapping_add(1);
        self.depth.store(depth.wrapping_add(1), Ordering::Relaxed);
        self.runs.store(run, Ordering::Relaxed);
        self.serving.store(run, Ordering::Relaxed);
        // After the depth: who sees that nothing is in transit sees that a handler runs.
        self.arrived();
        let serving_before = Serving::begin();
        let result = handler();
        drop(serving_before);
        self.serving.store(serving, Ordering::Relaxed);
        // Release: who sees the handler gone sees whether its answer is in transit; pairs with the Acquire in `finish_arrived`.
        self.depth.store(depth, Ordering::Release);
        result
    }

    /// Stores the outcome of a call for whoever waits for it.
    pub(crate) fn complete(&self, id: CallId, outcome: Outcome) {
        self.conclude(self.pending.complete(id, outcome));
    }

    /// Does what is left to do after a call was completed: runs the user's code, under no lock.
    pub(crate) fn conclude(&self, completion: Completion) {
        match completion {
            Completion::Done => {}
            Completion::Wake(waker) => {
                self.contain(|| waker.wake());
                self.pending.woken();
            }
            Completion::Run(callback, outcome) if self.lead.is_mine() => self.nested(|| self.contain(|| callback(outcome))),
            Completion::Run(callback, outcome) => self.contain(|| callback(outcome)),
            Completion::Unknown => Counters::add(&self.counters.answers_dropped),
        }
    }

    /// Runs code of the user's; its panic stays in it.
    pub(crate) fn contain(&self, code: impl FnOnce()) {
        if contain(code) {
            Counters::add(&self.counters.event_panics);
        }
    }

    /// Sends the result of a call. `patience` is asked when it is needed: not while the result is encoded.
    pub(crate) fn answer(
        self: &Arc<Self>,
        id: CallId,
        method: &str,
        result: &impl Serialize,
        patience: impl Fn() -> Patience,
    ) -> Result<()> {
        let mut message = Message::new();
        let sent = message
            .deliver(Head::Answer(id), result, self.terms.max_message, method, |message| self.outbox.send(self, message, patience()))
            .flatten();
        match sent {
            Ok(()) => Ok(()),
            Err(error) => self.answer_failed(id, method, *error, patience()),
        }
    }

    #[cold]
    pub(crate) fn answer_failed(self: &Arc<Self>, id: CallId, method: &str, error: Error, patience: Patience) -> Result<()> {
        if matches!(error, Error::Encode { .. } | Error::TooLarge { .. }) {
            // The caller must hear of it, and so must the one who answers.
            self.refuse(id, method, Failure::Remote(&format!("its result cannot be sent: {error}")), patience)?;
        }
        Err(error)
    }

    /// Sends the failure of a call.
    pub(crate) fn refuse(self: &Arc<Self>, id: CallId, method: &str, failure: Failure<'_>, patience: Patience) -> Result<()> {
        // A message may be as long as its caller pleases; the bound holds for this answer, too.
        let failure = match failure {
            Failure::Remote(message) => Failure::Remote(clip(message, self.terms.max_message.saturating_sub(64).min(64 * 1024))),
            other => other,
        };
        let mut message = Message::new();
        message.encode(Head::Failure(id, failure), &(), usize::MAX, method)?;
        Ok(self.outbox.send(self, &mut message, patience)?)
    }

    /// A thread that dispatches must go on; any other that answers waits for room, as a sender does.
    pub(crate) fn patience_of_answers(&self) -> Patience {
        if self.lead.is_mine() { Patience::Answer } else { Patience::Until(None) }
    }

    /// As [`refuse`](Self::refuse), where nobody is left to be told if it does not arrive: the caller's end is over.
    fn fail(self: &Arc<Self>, id: CallId, method: &str, failure: Failure<'_>) {
        let sent = self.refuse(id, method, failure, self.patience_of_answers());
        debug_assert!(sent.is_ok() || self.check_open().is_err(), "an answer fails only if the pair is over: {sent:?}");
    }

    /// Answers a call from within its handler.
    pub(crate) fn settle<R: Serialize>(self: &Arc<Self>, id: CallId, method: &str, outcome: std::result::Result<R, String>) {
        // If this fails: Encode and TooLarge were reported to the caller; everything else means that there is no caller any more.
        match outcome {
            Ok(result) => {
                let _ = self.answer(id, method, &result, || self.patience_of_answers());
                if needs_drop::<R>() {
                    // The call is answered: a panic from here on must not answer it again.
                    self.contain(|| drop(result));
                }
            }
            Err(message) => drop(self.refuse(id, method, Failure::Remote(&message), self.patience_of_answers())),
        }
    }

    /// The arguments of a call did not decode.
    pub(crate) fn refuse_arguments(self: &Arc<Self>, id: CallId, method: &str, error: &DecodeError) {
        self.fail(id, method, Failure::Remote(&format!("its arguments do not decode: {error}; do both ends use the same types?")));
    }
}
