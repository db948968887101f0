//! From a message to its handler, and from a handler to its answer.
//!
//! Only the thread that has the lead gets here, so handlers never run at the same time, except nested: while a handler waits for an answer,
//! what arrives is dispatched on its thread.

use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::calls::in_flight::{Completion, Outcome};
use crate::end::End;
use crate::end::desk::{Desk, Received, SpinFor};
use crate::error::{Error, Result, Step};
use crate::limits::MAX_DEPTH;
use crate::panicked::{DROPPED, panic_message};
use crate::recv::handlers::{Incoming, Listener, Snapshot};
use crate::recv::registry::Table;
use crate::send::outbox::WhenFull;
use crate::send::send_queue::Quota;
use crate::stats::Counters;
use crate::sync::user_panic::{contain, forget_panic};
use crate::text::clip;
use crate::time::deadline::{Serving, has_passed};
use crate::types::beside::Beside;
use crate::types::introduced::Introduced;
use crate::types::looked_at::Kinds;
use crate::types::payload::Payload;
use crate::wire::deserializer::DecodeError;
use crate::wire::header::{CallId, Failure, Head, Subject, split, split_frequent};
use crate::wire::message::Message;
use crate::wire::mismatch::Mismatch;

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
            Head::Event(subject) => self.dispatch_event(subject, payload, &mut desk.handlers).map(|()| Received::Dispatched),
            Head::Call(..) if self.is_urged() => self.receive_other(mine, bytes, desk),
            Head::Call(id, None, subject) => self.dispatch_call(id, subject, payload, &mut desk.handlers).map(|()| Received::Dispatched),
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
            Head::DescribedAnswer(id, _) if Some(id) == mine => {
                self.arrived();
                desk.answer = bytes.wrapping_sub(payload.len())..bytes;
                return Ok(Received::Answer);
            }
            Head::DescribedAnswer(id, _) => {
                let from = bytes.wrapping_sub(payload.len());
                let words = std::mem::take(&mut desk.buffer);
                return Ok(self.conclude_in_transit(self.pending.complete(id, Outcome::Answer { words, from, to: bytes })));
            }
            Head::Event(_) if self.at_bound() => return self.defer(bytes, desk),
            Head::Event(subject) => self.dispatch_event(subject, payload, &mut desk.handlers)?,
            Head::Introduce { number, name, kinds, .. } => {
                let is_honest = self.introductions.introduce(number, name, kinds);
                return self.noted(is_honest, bytes);
            }
            Head::Refuse(refused, turn, place) => {
                let is_honest = self.pairs.refuse(refused, turn, Some(place));
                return self.noted(is_honest, bytes);
            }
            Head::Welcome(refused, turn) => {
                let is_honest = self.pairs.refuse(refused, turn, None);
                return self.noted(is_honest, bytes);
            }
            Head::Gauge(..) if self.at_bound() => return self.defer(bytes, desk),
            Head::Gauge(number, subject) => {
                self.dispatch_event(subject, payload, &mut desk.handlers)?;
                self.send_receipt(number)?;
            }
            Head::Receipt(number) => {
                let taken = self.take_receipt(number);
                // Not before: whoever closes this end waits for the value that the receipt has let go.
                self.arrived();
                taken?;
            }
            Head::Call(id, Some(at), subject) => {
                let deadline = self.clock.moment(at);
                if has_passed(deadline) {
                    self.skip();
                    return Ok(Received::Dispatched);
                }
                if self.is_urged() && self.skip_if_withdrawn(id) {
                    return Ok(Received::Dispatched);
                }
                let _serving = Serving::next(deadline);
                self.dispatch_call(id, subject, payload, &mut desk.handlers)?;
            }
            Head::Cancel(id) | Head::Withdraw(id) => {
                self.arrived();
                self.cancelled(id);
            }
            Head::Call(id, None, _) if self.skip_if_withdrawn(id) => {}
            Head::Call(id, None, subject) => self.dispatch_call(id, subject, payload, &mut desk.handlers)?,
            // The most frequent one, which is dispatched where it is received.
            Head::Answer(_) => {
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

    /// Is done with a message about types.
    #[cold]
    fn noted(&self, is_honest: bool, bytes: usize) -> Step<Received> {
        self.inbox().discount(bytes);
        self.arrived();
        if is_honest { Ok(Received::Noted) } else { Err(self.nonsense().into()) }
    }

    /// Returns what a message is about, and what is said of its value.
    #[inline]
    fn said<'a>(&'a self, subject: Subject<'a>) -> Step<Said<'a>> {
        match subject {
            Subject::Known(number) => match self.introductions.get(number.number()) {
                Some(introduced) => Ok(Said::Introduced(number.number(), introduced)),
                None => Err(self.unknown_number()),
            },
            Subject::Named(name) => Ok(Said::Name(name)),
            Subject::Described { name, kinds, .. } => Ok(Said::Kinds(name, kinds)),
        }
    }

    #[cold]
    fn unknown_number(&self) -> Box<Error> {
        self.arrived();
        self.nonsense().into()
    }

    fn dispatch_event(self: &Arc<Self>, subject: Subject<'_>, value: &[u8], handlers: &mut Snapshot<End>) -> Step<()> {
        let said = self.said(subject)?;
        let (table, handlers) = handlers.of(&self.registry);
        let Some((listener, is_beside)) = said.handler(table, &handlers.events, |listener| listener.id) else {
            self.arrived();
            std::str::from_utf8(said.name()).map_err(|_| self.nonsense())?;
            self.count_unheard();
            return Ok(());
        };
        if is_beside {
            self.dispatch_event_beside(said, listener, value);
            return Ok(());
        }
        let heard = self.hear(listener, Payload { bytes: value, beside: None });
        if !matches!(heard, Ok(Ok(()))) {
            self.count_unhandled(heard);
        }
        Ok(())
    }

    /// Has an event handled.
    #[inline]
    fn hear(&self, listener: &Listener, value: Payload<'_>) -> std::thread::Result<std::result::Result<(), DecodeError>> {
        self.nested(|| catch_unwind(AssertUnwindSafe(|| (listener.listen)(value))))
    }

    /// Counts an event that was not handled, or not to its end. Returns why, if its types are to blame.
    #[cold]
    fn count_unhandled(&self, heard: std::thread::Result<std::result::Result<(), DecodeError>>) -> Option<DecodeError> {
        match heard {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.mismatch().is_some() => {
                self.count_mistyped();
                return Some(error);
            }
            Ok(Err(_)) => self.count_undecodable(),
            Err(panic) => {
                // The panic hook has reported it.
                Counters::add(&self.counters.event_panics);
                forget_panic(panic);
            }
        }
        None
    }

    /// Dispatches an event whose value is to be read beside kinds.
    #[cold]
    fn dispatch_event_beside(self: &Arc<Self>, said: Said<'_>, listener: &Listener, value: &[u8]) {
        if said.is_refused_by(listener.id) {
            self.arrived();
            return self.count_mistyped();
        }
        let beside = said.beside();
        let heard = self.hear(listener, Payload { bytes: value, beside: beside.as_ref() });
        if matches!(heard, Ok(Ok(()))) {
            said.fits(beside, listener.id);
        } else if let Some(error) = self.count_unhandled(heard)
            && let Some(mismatch) = error.mismatch()
        {
            self.refuse_types(said, listener.id, mismatch);
        }
    }

    /// Tells the other end that an event was not what its handler takes.
    fn refuse_types(self: &Arc<Self>, said: Said<'_>, handler: u64, mismatch: &Mismatch) {
        match said {
            Said::Name(_) => {}
            Said::Kinds(name, kinds) => self.refuse_unnumbered(name, kinds, handler, mismatch),
            Said::Introduced(number, introduced) => self.refuse_event(number, introduced, handler, mismatch),
        }
    }

    fn dispatch_call(self: &Arc<Self>, id: CallId, subject: Subject<'_>, args: &[u8], handlers: &mut Snapshot<End>) -> Step<()> {
        let said = self.said(subject)?;
        let (table, handlers) = handlers.of(&self.registry);
        match said.handler(table, &handlers.methods, |server| server.id) {
            None => {
                let Ok(method) = std::str::from_utf8(said.name()) else {
                    self.arrived();
                    return Err(self.nonsense().into());
                };
                self.fail(id, method, Failure::NotFound);
                self.arrived();
            }
            Some((server, _)) if self.at_bound() => {
                self.fail(id, &server.name, Failure::Remote(&format!("handlers call each other more than {MAX_DEPTH} deep")));
                self.arrived();
            }
            Some((server, is_beside)) => {
                let beside = if is_beside { said.beside() } else { None };
                let call =
                    Incoming { id, method: &server.name, args: Payload { bytes: args, beside: beside.as_ref() }, asks: subject.asks() };
                let (served, dropped) = self.nested(|| {
                    // Relaxed: only the leader changes it. Handlers nest.
                    let outer = self.unanswered.load(Ordering::Relaxed);
                    self.unanswered.store(false, Ordering::Relaxed);
                    let served = catch_unwind(AssertUnwindSafe(|| (server.serve)(self, &call)));
                    let dropped = self.unanswered.load(Ordering::Relaxed);
                    self.unanswered.store(outer, Ordering::Relaxed);
                    if !matches!(served, Ok(Ok(()))) || dropped {
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
                    Ok(Err(error)) => {
                        self.refuse_arguments(id, &server.name, &error);
                        self.arrived();
                    }
                    // The handler has caught the panic that dropped its reply.
                    Ok(Ok(())) if dropped => {
                        self.fail(id, &server.name, Failure::Remote(DROPPED));
                        self.arrived();
                    }
                    Ok(Ok(())) if is_beside => said.fits(beside, server.id),
                    Ok(Ok(())) => {}
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

    /// Sends the result of a call. `when_full` is asked when it is needed: not while the result is encoded.
    #[inline]
    pub(crate) fn answer(
        self: &Arc<Self>,
        id: CallId,
        method: &str,
        asks: bool,
        result: &impl Serialize,
        when_full: impl Fn() -> WhenFull,
    ) -> Result<()> {
        let kinds = if asks { Kinds::of_result(result) } else { None };
        let head = if let Some(kinds) = &kinds { Head::DescribedAnswer(id, kinds) } else { Head::Answer(id) };
        let mut message = Message::new();
        let sent = message.deliver(head, result, self.terms.max_message, method, |message| self.send(message, when_full())).flatten();
        match sent {
            Ok(()) => Ok(()),
            Err(error) => self.answer_failed(id, method, *error, when_full()),
        }
    }

    #[cold]
    pub(crate) fn answer_failed(self: &Arc<Self>, id: CallId, method: &str, error: Error, when_full: WhenFull) -> Result<()> {
        if matches!(error, Error::Encode { .. } | Error::TooLarge { .. }) {
            // The caller must hear of it, and so must the one who answers.
            self.refuse(id, method, Failure::Remote(&format!("its result cannot be sent: {error}")), when_full)?;
        }
        Err(error)
    }

    /// Sends the failure of a call.
    pub(crate) fn refuse(self: &Arc<Self>, id: CallId, method: &str, failure: Failure<'_>, when_full: WhenFull) -> Result<()> {
        // A message may be as long as its caller pleases; the bound holds for this answer, too.
        let failure = match failure {
            Failure::Remote(message) => Failure::Remote(clip(message, self.terms.max_message.saturating_sub(64).min(64 * 1024))),
            Failure::Mistyped(types) => Failure::Mistyped(clip(types, self.terms.max_message.saturating_sub(64))),
            other => other,
        };
        let mut message = Message::new();
        message.encode(Head::Failure(id, failure), &(), usize::MAX, method)?;
        Ok(self.send(&mut message, when_full)?)
    }

    /// A thread that dispatches must go on; any other that answers waits for room, as a sender does.
    pub(crate) fn answers_when_full(&self) -> WhenFull {
        if self.lead.is_mine() { WhenFull::Queue(Quota::Answers) } else { WhenFull::Wait(None) }
    }

    /// As [`refuse`](Self::refuse), where nobody is left to be told if it does not arrive: the caller's end is over.
    fn fail(self: &Arc<Self>, id: CallId, method: &str, failure: Failure<'_>) {
        let sent = self.refuse(id, method, failure, self.answers_when_full());
        debug_assert!(sent.is_ok() || self.check_open().is_err(), "an answer fails only if the pair is over: {sent:?}");
    }

    /// Answers a call from within its handler.
    #[inline]
    pub(crate) fn settle<R: Serialize>(self: &Arc<Self>, call: &Incoming<'_>, outcome: std::result::Result<R, String>) {
        // If this fails: Encode and TooLarge were reported to the caller; everything else means that there is no caller any more.
        match outcome {
            Ok(result) => {
                let _ = self.answer(call.id, call.method, call.asks, &result, || self.answers_when_full());
                if needs_drop::<R>() {
                    // The call is answered: a panic from here on must not answer it again.
                    self.contain(|| drop(result));
                }
            }
            Err(message) => drop(self.refuse(call.id, call.method, Failure::Remote(&message), self.answers_when_full())),
        }
    }

    /// The arguments of a call did not decode.
    fn refuse_arguments(self: &Arc<Self>, id: CallId, method: &str, error: &DecodeError) {
        match error.mismatch() {
            Some(mismatch) => self.fail(id, method, Failure::Mistyped(&mismatch.to_text())),
            None => {
                let text = format!("its arguments do not decode: {error}; do both ends use the same types?");
                self.fail(id, method, Failure::Remote(&text));
            }
        }
    }
}

/// What a message is about, and what is said of its value.
#[derive(Clone, Copy)]
enum Said<'a> {
    /// Nothing of the value.
    Name(&'a [u8]),
    /// Its kinds.
    Kinds(&'a [u8], &'a [u8]),
    /// What was introduced with this number.
    Introduced(u32, &'a Introduced),
}

impl<'a> Said<'a> {
    fn name(self) -> &'a [u8] {
        match self {
            Said::Name(name) | Said::Kinds(name, _) => name,
            Said::Introduced(_, introduced) => introduced.name.as_bytes(),
        }
    }

    /// Looks up the handler, and whether it is to read the value beside kinds.
    #[inline]
    fn handler<T>(self, table: u64, handlers: &Table<T>, id: impl Fn(&T) -> u64) -> Option<(&T, bool)> {
        if let Said::Introduced(_, introduced) = self
            && let Some(place) = introduced.place(table)
        {
            return Some((handlers.at(place)?, false));
        }
        self.look_up(table, handlers, id)
    }

    #[inline(never)]
    fn look_up<T>(self, table: u64, handlers: &Table<T>, id: impl Fn(&T) -> u64) -> Option<(&T, bool)> {
        let (place, handler) = handlers.get(self.name())?;
        let is_beside = match self {
            Said::Name(_) => false,
            Said::Kinds(..) => true,
            Said::Introduced(_, introduced) => !introduced.fits(id(handler), table, place),
        };
        Some((handler, is_beside))
    }

    /// Whether the handler is known not to take such a value.
    #[cold]
    fn is_refused_by(self, handler: u64) -> bool {
        matches!(self, Said::Introduced(_, introduced) if introduced.is_refused_by(handler))
    }

    /// What the value is read beside.
    #[cold]
    fn beside(self) -> Option<Beside<'a>> {
        match self {
            Said::Name(_) => None,
            Said::Kinds(_, kinds) => Some(Beside::new(kinds)),
            Said::Introduced(_, introduced) => Some(introduced.beside()),
        }
    }

    /// A handler has read the value. If the value had all that its kinds tell of, later ones need no look.
    #[cold]
    fn fits(self, beside: Option<Beside<'_>>, handler: u64) {
        if let (Some(beside), Said::Introduced(_, introduced)) = (beside, self)
            && !beside.is_partial()
        {
            introduced.set_fits(handler);
        }
    }
}
