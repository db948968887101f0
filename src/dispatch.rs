//! From a message to its handler, and from a handler to its answer.
//!
//! Only the thread that has the lead gets here, so handlers never run at the same time, except nested: while a handler waits for an answer,
//! what arrives is dispatched on its thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::end::End;
use crate::envelope::{CallId, DecodeError, Failure, Head, Message, as_bytes, split};
use crate::error::{Error, Result};
use crate::outbox::Patience;
use crate::pending::{Completion, Outcome};
use crate::registry::Snapshot;
use crate::stats::Counters;
use crate::sync::lock;

/// How deeply handlers nest: beyond it an incoming call gets an error, and events wait.
pub(crate) const MAX_DEPTH: u32 = 64;

/// The buffers of a thread that dispatches.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) buffer: Vec<u64>,
    pub(crate) handlers: Snapshot,
}

/// What one look at the inbox brought.
pub(crate) enum Received {
    /// Nothing was there.
    Nothing,
    /// A message, and it is done with.
    Dispatched,
    /// The awaited answer: it is in the desk's buffer, in this range of bytes.
    Mine { from: usize, to: usize },
    /// The awaited call failed.
    Failed(Outcome),
}

impl End {
    pub(crate) fn at_bound(&self) -> bool {
        // Relaxed: changed by the thread that asks, or of no consequence.
        self.depth.load(Ordering::Relaxed) >= MAX_DEPTH
    }

    /// Receives one message and dispatches it, unless it is the answer to `mine`, which is handed out.
    #[inline]
    pub(crate) fn receive_one(self: &Arc<Self>, mine: Option<CallId>, desk: &mut Desk) -> Result<Received> {
        // `let`, so that the lock is free again when the handler runs.
        let popped = lock(&self.inbox).pop(&mut desk.buffer, self.at_bound());
        let bytes = match popped {
            Ok(None) => return Ok(Received::Nothing),
            Ok(Some(bytes)) => bytes,
            Err(error) => return Err(self.channel_failed(error)),
        };
        let message = as_bytes(&desk.buffer, bytes);
        let Some((head, payload)) = split(message) else { return Err(self.nonsense()) };
        match head {
            Head::Answer(id) if Some(id) == mine => return Ok(Received::Mine { from: bytes - payload.len(), to: bytes }),
            Head::Answer(id) => {
                let from = bytes - payload.len();
                let words = std::mem::take(&mut desk.buffer);
                self.complete(id, Outcome::Answer { words, from, to: bytes });
            }
            Head::Failure(id, failure) => {
                let outcome = Outcome::from(failure);
                if Some(id) == mine {
                    return Ok(Received::Failed(outcome));
                }
                self.complete(id, outcome);
            }
            Head::Event(_) if self.at_bound() => lock(&self.inbox).defer(std::mem::take(&mut desk.buffer), bytes),
            Head::Event(name) => match desk.handlers.of(&self.registry).events.get(name) {
                None => Counters::add(&self.counters.events_unheard),
                Some(listener) => {
                    let outcome = self.nested(|| catch_unwind(AssertUnwindSafe(|| listener(payload))));
                    match outcome {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => Counters::add(&self.counters.events_undecodable),
                        // The panic hook has reported it.
                        Err(_) => Counters::add(&self.counters.event_panics),
                    }
                }
            },
            Head::Call(id, method) => match desk.handlers.of(&self.registry).methods.get(method) {
                None => self.fail(id, method, Failure::NotFound),
                Some(_) if self.at_bound() => {
                    self.fail(id, method, Failure::Remote(&format!("handlers call each other more than {MAX_DEPTH} deep")));
                }
                Some(server) => {
                    if let Err(panic) = self.nested(|| catch_unwind(AssertUnwindSafe(|| server(self, id, method, payload)))) {
                        self.fail(id, method, Failure::Remote(&panic_message(&*panic)));
                    }
                }
            },
        }
        Ok(Received::Dispatched)
    }

    fn nested<T>(&self, handler: impl FnOnce() -> T) -> T {
        // Relaxed: only the leader changes it.
        let depth = self.depth.load(Ordering::Relaxed);
        self.depth.store(depth + 1, Ordering::Relaxed);
        let result = handler();
        self.depth.store(depth, Ordering::Relaxed);
        result
    }

    /// Stores the outcome of a call for whoever waits for it.
    pub(crate) fn complete(&self, id: CallId, outcome: Outcome) {
        match self.pending.complete(id, outcome) {
            Completion::Done => {}
            Completion::Run(callback, outcome) => self.nested(|| self.run_callback(callback, outcome)),
            Completion::Unknown => Counters::add(&self.counters.answers_dropped),
        }
    }

    /// Sends the result of a call.
    pub(crate) fn answer(&self, id: CallId, method: &str, result: &impl Serialize) -> Result<()> {
        let sent = Message::encode(&Head::Answer(id), result, self.terms.max_message, method)
            .and_then(|message| self.outbox.send(self, &message, Patience::Answer));
        match sent {
            Err(error @ (Error::Encode { .. } | Error::TooLarge { .. })) => {
                // The caller must hear of it, and so must the one who answers.
                self.refuse(id, method, Failure::Remote(&format!("its result cannot be sent: {}", full_text(&error))))?;
                Err(error)
            }
            other => other,
        }
    }

    /// Sends the failure of a call.
    pub(crate) fn refuse(&self, id: CallId, method: &str, failure: Failure<'_>) -> Result<()> {
        // A message may be as long as its caller pleases; the bound holds for this answer, too.
        let failure = match failure {
            Failure::Remote(message) => Failure::Remote(clip(message, self.terms.max_message.saturating_sub(64).min(64 * 1024))),
            other => other,
        };
        let message = Message::encode(&Head::Failure(id, failure), &(), usize::MAX, method)?;
        self.outbox.send(self, &message, Patience::Answer)
    }

    /// As [`refuse`](Self::refuse), where nobody is left to be told if it does not arrive: the caller's end is over.
    fn fail(&self, id: CallId, method: &str, failure: Failure<'_>) {
        let sent = self.refuse(id, method, failure);
        debug_assert!(sent.is_ok() || self.check_open().is_err(), "an answer fails only if the pair is over: {sent:?}");
    }

    /// Answers a call from within its handler.
    pub(crate) fn settle<R: Serialize>(&self, id: CallId, method: &str, outcome: std::result::Result<R, String>) {
        let sent = match outcome {
            Ok(result) => self.answer(id, method, &result),
            Err(message) => self.refuse(id, method, Failure::Remote(&message)),
        };
        // Encode and TooLarge were reported to the caller; everything else means that there is no caller any more.
        drop(sent);
    }

    /// The arguments of a call did not decode.
    pub(crate) fn refuse_arguments(&self, id: CallId, method: &str, error: &DecodeError) {
        self.fail(id, method, Failure::Remote(&format!("its arguments do not decode: {error}; do both ends use the same types?")));
    }
}

/// An error and its causes, in one line.
fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("its handler panicked: {}", text.unwrap_or("(no message)"))
}

/// The longest prefix of at most `max` bytes.
fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
