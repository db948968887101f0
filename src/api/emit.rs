//! Events that a [`Coprocess`] emits, with or without waiting for space.

use std::time::Duration;

use serde::Serialize;

use crate::api::coprocess::Coprocess;
use crate::error::Result;
use crate::send::outbox::WhenFull;
use crate::time::deadline::Deadline;
use crate::types::looked_at::Unnumbered;
use crate::wire::header::Header;
use crate::wire::message::Message;
#[cfg(doc)]
use crate::{Error, Stats};

impl Coprocess {
    /// Sends an event: one way, without an answer.
    ///
    /// `Ok` means that the event is on its way. The peer drops an event in these cases, and
    /// [`stats`](Self::stats) counts each:
    ///
    /// - The peer has no handler for the event: [`Stats::events_unheard_by_peer`].
    /// - The value is of another type than the handler takes: [`Stats::events_mistyped_by_peer`].
    /// - The peer cannot decode the value: [`Stats::events_undecodable_by_peer`].
    ///
    /// # Blocking
    ///
    /// If the ring is full, blocks until one of these happens. Meanwhile this thread runs no
    /// handlers.
    ///
    /// - The event is in the ring.
    /// - The peer has taken nothing for 5 seconds, and has registered no handler at all.
    /// - The pair is over: see [What ends a wait](Self#what-ends-a-wait).
    ///
    /// # Errors
    ///
    /// - [`Error::Types`]: the peer takes another type. The peer has found that by an earlier event
    ///   of this name, type and content. (An empty list shows less than a full one.) Nothing was
    ///   sent.
    /// - [`Error::Encode`], [`Error::TooLarge`]: nothing was sent.
    /// - [`Error::Unheard`]: the ring is full, and the peer has registered no handler. Nothing was
    ///   sent.
    /// - [`Error::Full`]: only in a handler, if both ends flood each other and 64 MiB wait to be
    ///   handled at this end.
    /// - [`Error::Closed`], [`Error::Disconnected`], [`Error::Misbehaved`], [`Error::Os`]: the pair
    ///   is over.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.emit("temperature", 21.5)?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit(&self, event: &str, value: impl Serialize) -> Result<()> {
        self.send_event(event, value, WhenFull::Wait(Deadline::NEVER))
    }

    /// Sends an event as [`emit`](Self::emit) does, if the ring has space now.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Errors
    ///
    /// - As [`emit`](Self::emit).
    /// - [`Error::Full`]: the ring has no space now, or another thread is sending. Nothing was
    ///   sent. [`Stats::events_refused`](crate::Stats::events_refused) counts the event.
    /// - [`Error::TooLarge`] also if the event takes more than some three quarters of the ring: the
    ///   ring does not take such an event at once. [`emit`](Self::emit) sends it in parts.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// if let Err(coprocess::Error::Full) = co.try_emit("frame", 7) {
    ///     // The peer is behind: skip this one.
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn try_emit(&self, event: &str, value: impl Serialize) -> Result<()> {
        self.send_event(event, value, WhenFull::Fail)
    }

    /// Sends an event as [`emit`](Self::emit) does, and waits for at most `timeout`.
    ///
    /// The deadline covers the whole operation.
    ///
    /// # Blocking
    ///
    /// As [`emit`](Self::emit), until `timeout` has passed.
    ///
    /// # Errors
    ///
    /// - As [`emit`](Self::emit).
    /// - [`Error::Timeout`]: nothing was sent.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.emit_timeout("frame", 7, std::time::Duration::from_millis(5))?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit_timeout(
        &self,
        event: &str,
        value: impl Serialize,
        timeout: Duration,
    ) -> Result<()> {
        self.send_event(event, value, WhenFull::Wait(Deadline::after(timeout)))
    }

    #[inline]
    fn send_event(&self, event: &str, value: impl Serialize, when_full: WhenFull) -> Result<()> {
        let end = self.own_end()?;
        let mut unnumbered = Unnumbered::default();
        let subject = match end.subject_of_event(event, &value, when_full, &mut unnumbered) {
            Ok(subject) => subject,
            Err(error) => {
                end.count_refused(&error);
                return Err(error.into());
            }
        };
        let mut message = Message::new();
        let header = Header::Event(subject);
        let sent = message.deliver(header, &value, end.settings.max_message, event, |message| {
            end.send(message, when_full)
        })?;
        Ok(sent.inspect_err(|error| end.count_refused(error))?)
    }
}
