//! Answers the calls of the peer, each with a result or a failure.
//!
//! A call gets one answer. Code of the program that runs after the answer was sent, such as the
//! drop of a result, may panic. That panic must be caught here: otherwise the call would be
//! answered again, with the panic.
//!
//! The leader must not wait for space, since the leader must go on dispatching. So each answer
//! takes its [`WhenFull`] from [`answers_when_full`](End::answers_when_full), or from a task.

use std::mem::needs_drop;
use std::sync::Arc;

use serde::Serialize;

use crate::end::End;
use crate::error::{Error, Result};
use crate::recv::handlers::Incoming;
use crate::send::outbox::WhenFull;
use crate::send::send_queue::Quota;
use crate::text::clip;
use crate::time::deadline::Deadline;
use crate::types::looked_at::Kinds;
use crate::wire::deserializer::DecodeError;
use crate::wire::header::{CallId, Failure, Header};
use crate::wire::message::Message;

impl End {
    /// Sends the result of a call.
    ///
    /// If the caller `asks`, the answer describes the kinds of the result. `when_full` is called
    /// when the message is sent, not while the result is encoded.
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
        let header = if let Some(kinds) = &kinds {
            Header::DescribedAnswer(id, kinds)
        } else {
            Header::Answer(id)
        };
        let mut message = Message::new();
        let sent = message
            .deliver(header, result, self.settings.max_message, method, |message| {
                self.send(message, when_full())
            })
            .flatten();
        match sent {
            Ok(()) => Ok(()),
            Err(error) => self.answer_failed(id, method, *error, when_full()),
        }
    }

    #[cold]
    pub(crate) fn answer_failed(
        self: &Arc<Self>,
        id: CallId,
        method: &str,
        error: Error,
        when_full: WhenFull,
    ) -> Result<()> {
        if matches!(error, Error::Encode { .. } | Error::TooLarge { .. }) {
            // Both the caller and the code that answers must learn of this error.
            self.refuse(
                id,
                method,
                Failure::Remote(&format!("its result cannot be sent: {error}")),
                when_full,
            )?;
        }
        Err(error)
    }

    /// Sends the failure of a call.
    pub(crate) fn refuse(
        self: &Arc<Self>,
        id: CallId,
        method: &str,
        failure: Failure<'_>,
        when_full: WhenFull,
    ) -> Result<()> {
        // The text of a failure can have any length. The bound holds for this answer, too.
        let failure = match failure {
            Failure::Remote(message) => Failure::Remote(clip(
                message,
                self.settings.max_message.saturating_sub(64).min(64 * 1024),
            )),
            Failure::Mistyped(types) => {
                Failure::Mistyped(clip(types, self.settings.max_message.saturating_sub(64)))
            }
            other => other,
        };
        let mut message = Message::new();
        message.encode(Header::Failure(id, failure), &(), usize::MAX, method)?;
        Ok(self.send(&mut message, when_full)?)
    }

    /// Returns what happens to an answer that finds no space.
    ///
    /// The leader must go on dispatching, so its answer is queued. Any other thread waits for
    /// space, as a sender does.
    pub(crate) fn answers_when_full(&self) -> WhenFull {
        if self.lead.is_mine() {
            WhenFull::Queue(Quota::Answers)
        } else {
            WhenFull::Wait(Deadline::NEVER)
        }
    }

    /// Sends the failure of a call, as [`refuse`](Self::refuse) does, and ignores an error.
    ///
    /// If the failure cannot be sent, the caller's end is over: no caller is left to be told.
    pub(crate) fn fail(self: &Arc<Self>, id: CallId, method: &str, failure: Failure<'_>) {
        let sent = self.refuse(id, method, failure, self.answers_when_full());
        debug_assert!(
            sent.is_ok() || self.check_open().is_err(),
            "an answer fails only if the pair is over: {sent:?}"
        );
    }

    /// Answers a call from within its handler.
    #[inline]
    pub(crate) fn answer_with<R: Serialize>(
        self: &Arc<Self>,
        call: &Incoming<'_>,
        outcome: std::result::Result<R, String>,
    ) {
        // If this fails by Encode or TooLarge, the caller was told. Any other error means that the
        // call has no caller any more.
        match outcome {
            Ok(result) => {
                let _ = self
                    .answer(call.id, call.method, call.asks, &result, || self.answers_when_full());
                if needs_drop::<R>() {
                    // The call is answered: a panic from here on must not answer it again.
                    self.catch_user_panic(|| drop(result));
                }
            }
            Err(message) => drop(self.refuse(
                call.id,
                call.method,
                Failure::Remote(&message),
                self.answers_when_full(),
            )),
        }
    }

    /// Answers a call whose arguments did not decode.
    pub(crate) fn refuse_arguments(
        self: &Arc<Self>,
        id: CallId,
        method: &str,
        error: &DecodeError,
    ) {
        match error.mismatch() {
            Some(mismatch) => self.fail(id, method, Failure::Mistyped(&mismatch.to_text())),
            None => {
                let text = format!(
                    "its arguments do not decode: {error}; do both ends use the same types?"
                );
                self.fail(id, method, Failure::Remote(&text));
            }
        }
    }
}
