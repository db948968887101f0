//! Events for tasks. If the ring has space, such an event is sent at once. Otherwise the event is
//! kept, and sent in its turn, while the task waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;

use crate::api::coprocess::Coprocess;
use crate::api::event::Event;
use crate::calls::ids::PendingEmitId;
use crate::calls::timers::Due;
use crate::end::End;
use crate::error::{Error, Result, Step};
use crate::send::outbox::WhenFull;
use crate::send::send_queue::{Quota, TaskKey};
use crate::time::deadline::Deadline;
use crate::types::looked_at::Unnumbered;
use crate::wire::header::Subject;
use crate::wire::message::Message;

impl Coprocess {
    /// Sends an event, for a task: await it.
    ///
    /// If the ring is full, the task waits, where [`emit`](Self::emit) would block the thread. The
    /// future needs no particular runtime, and borrows nothing.
    ///
    /// - The value is encoded here.
    /// - The first poll sends the event. If the ring is full, the event is kept, in its turn among
    ///   all that this end sends. A thread of the library sends it.
    /// - The future is ready once the event is in the ring, or the pair is over.
    ///
    /// So a task that awaits each event has at most one event kept, and the slower end sets the
    /// pace. Many tasks have one each.
    ///
    /// If the peer has registered no handler at all, and takes nothing, the future ends after 5
    /// seconds, as [`emit`](Self::emit) does. But an event may be kept behind a call, an answer or
    /// the value of a gauge. Then it waits for as long as these wait for space.
    ///
    /// # Blocking
    ///
    /// Neither this method nor a poll blocks, with one exception: if the system refuses the
    /// library's thread, the thread that polls sends the event, and waits.
    ///
    /// A handler must not block on the future, such as by the `block_on` of a runtime. Use
    /// [`emit`](Self::emit) there: it knows what may not wait in a handler.
    ///
    /// # Errors
    ///
    /// The future returns the errors of [`emit`](Self::emit).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the event is not sent, unless its sending has
    /// begun.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// # let _ = async {
    /// for line in ["one", "two"] {
    ///     co.emit_async("line", line).await?;
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// # };
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit_async(&self, event: &str, value: impl Serialize) -> Emission {
        self.event(event).emit_async(value)
    }

    /// Sends an event as [`emit_async`](Self::emit_async) does, and waits for at most `timeout`.
    ///
    /// The deadline covers the whole operation, and counts from here. No timer of a runtime is
    /// needed.
    ///
    /// The thread that dispatches notices the deadline, as that of
    /// [`call_async_timeout`](Self::call_async_timeout). If the event is kept and no other thread
    /// dispatches, the driver does: also in a worker function that has not returned yet.
    ///
    /// # Blocking
    ///
    /// As [`emit_async`](Self::emit_async). The future ends after `timeout`.
    ///
    /// # Errors
    ///
    /// The future returns:
    ///
    /// - The errors of [`emit_async`](Self::emit_async).
    /// - [`Error::Timeout`]: nothing was sent.
    /// - [`Error::Os`] also if the system refuses the driver's thread. Then the pair goes on.
    ///
    /// # Cancel safety
    ///
    /// As [`emit_async`](Self::emit_async).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// # let _ = async {
    /// co.emit_async_timeout("line", "three", std::time::Duration::from_millis(20)).await?;
    /// # Ok::<(), coprocess::Error>(())
    /// # };
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit_async_timeout(
        &self,
        event: &str,
        value: impl Serialize,
        timeout: Duration,
    ) -> Emission {
        self.event(event).emit_until(value, Deadline::after(timeout))
    }

    /// Sends an event as [`emit_async`](Self::emit_async) does, with `value` as the bytes of its
    /// value.
    ///
    /// See [`emit_bytes`](Self::emit_bytes).
    ///
    /// # Blocking
    ///
    /// As [`emit_async`](Self::emit_async).
    ///
    /// # Errors
    ///
    /// As [`emit_async`](Self::emit_async), without the errors of encoding.
    ///
    /// # Cancel safety
    ///
    /// As [`emit_async`](Self::emit_async).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// # let _ = async {
    /// co.emit_bytes_async("line", b"GET / HTTP/1.1").await?;
    /// # Ok::<(), coprocess::Error>(())
    /// # };
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit_bytes_async(&self, event: &str, value: &[u8]) -> Emission {
        self.event(event).emit_bytes_async(value)
    }
}

impl Event {
    /// Sends the event, for a task: await it.
    ///
    /// The first poll does what [`backpressure`](Self::backpressure) says. If that is to wait, the
    /// task waits, and its thread goes on: see [`Coprocess::emit_async`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::emit_async`].
    ///
    /// # Errors
    ///
    /// The future returns the errors of [`emit`](Self::emit).
    ///
    /// # Cancel safety
    ///
    /// As [`Coprocess::emit_async`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let samples = co.event("samples");
    /// # let _ = async {
    /// samples.emit_async([1, 2, 3]).await?;
    /// # Ok::<(), coprocess::Error>(())
    /// # };
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit_async(&self, value: impl Serialize) -> Emission {
        self.emit_until(value, Deadline::NEVER)
    }

    /// Sends the event as [`emit_async`](Self::emit_async) does, with `value` as the bytes of its
    /// value.
    ///
    /// See [`Coprocess::emit_bytes`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::emit_async`].
    ///
    /// # Errors
    ///
    /// As [`emit_async`](Self::emit_async), without the errors of encoding.
    ///
    /// # Cancel safety
    ///
    /// As [`Coprocess::emit_async`].
    ///
    /// # Examples
    ///
    /// See [`emit_async`](Self::emit_async).
    pub fn emit_bytes_async(&self, value: &[u8]) -> Emission {
        Emission::new(self, Deadline::NEVER, |message| {
            let header = self.header(Subject::Named(self.name().as_bytes()));
            message.encode_bytes(header, value, self.end().settings.max_message)
        })
    }

    fn emit_until(&self, value: impl Serialize, until: Deadline) -> Emission {
        Emission::new(self, until, |message| {
            let mut unnumbered = Unnumbered::default();
            let subject = self.end().subject_of_event(
                self.name(),
                &value,
                WhenFull::Queue(Quota::Own),
                &mut unnumbered,
            )?;
            message.encode(
                self.header(subject),
                &value,
                self.end().settings.max_message,
                self.name(),
            )
        })
    }
}

/// The future of an event, by [`Coprocess::emit_async`] and [`Event::emit_async`].
///
/// The first poll sends the event.
///
/// An `Emission` does not keep the pair open: if the last handle is dropped, the result is
/// [`Error::Closed`](crate::Error::Closed).
///
/// # Cancel safety
///
/// If an `Emission` is dropped before it is ready, the event is not sent, unless its sending has
/// begun.
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// # let _ = async {
/// let sent: coprocess::Emission = co.emit_async("line", "one");
/// sent.await?;
/// # Ok::<(), coprocess::Error>(())
/// # };
/// # Ok::<(), coprocess::Error>(())
/// ```
#[must_use = "nothing is sent before it is awaited"]
pub struct Emission {
    state: EmitState,
}

enum EmitState {
    UnsentEvent(Box<UnsentEvent>),
    Failed(Box<Error>),
    Kept(Kept),
    /// The future was ready.
    Done,
}

struct UnsentEvent {
    event: Event,
    message: Message<'static>,
    until: Deadline,
}

/// An event that is kept until the ring has space. Dropping it takes the event back.
struct Kept {
    end: Arc<End>,
    id: PendingEmitId,
    until: Deadline,
    /// Whether the timers have the deadline.
    timed: bool,
}

impl fmt::Debug for Emission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Emission");
        match &self.state {
            EmitState::UnsentEvent(unsent) => text.field("event", &unsent.event),
            EmitState::Failed(error) => text.field("failed", error),
            EmitState::Kept(kept) => text.field("kept", &kept.id),
            EmitState::Done => text.field("done", &true),
        };
        text.finish_non_exhaustive()
    }
}

impl Emission {
    fn new(
        event: &Event,
        until: Deadline,
        encode: impl FnOnce(&mut Message<'static>) -> Step<()>,
    ) -> Emission {
        let mut message = Message::new();
        let encoded = event.end().check_own().and_then(|()| encode(&mut message));
        let state = match encoded {
            Ok(()) => EmitState::UnsentEvent(Box::new(UnsentEvent {
                event: event.clone(),
                message,
                until,
            })),
            Err(error) => EmitState::Failed(error),
        };
        Emission { state }
    }
}

impl UnsentEvent {
    /// Sends the event. If the event may not be sent yet, returns what to wait for.
    fn send(mut self) -> Step<Option<Kept>> {
        let end = self.event.end();
        end.check_own()?;
        if self.until.has_passed() {
            return Err(Error::Timeout.into());
        }
        let id = end.pending_emits.issue(self.until);
        let is_kept = self.event.send_for_task(&mut self.message, id);
        if !matches!(is_kept, Ok(true)) && self.until != Deadline::NEVER {
            end.pending_emits.remove(id);
        }
        Ok(is_kept?.then(|| Kept { end: end.clone(), id, until: self.until, timed: false }))
    }
}

impl Kept {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Step<()>> {
        let (end, id) = (&self.end, self.id);
        end.check_own()?;
        if let Poll::Ready(sent) = end.pending_emits.poll(id, context.waker().clone()) {
            return Poll::Ready(sent);
        }
        // The waker is in place: what ends the pair from here on finds it. What ended the pair
        // before is seen here.
        if let Err(error) = end.check_open() {
            // The event may have been sent just before that. The thread that sends says so before
            // it frees the lock that this call takes.
            end.outbox.take_back(TaskKey::Event(id));
            return Poll::Ready(end.pending_emits.remove(id).unwrap_or(Err(error)));
        }
        if let (Some(at), false) = (self.until.instant(), self.timed) {
            self.timed = true;
            end.ensure_driver()?;
            end.time(at, Due::Event(id));
        }
        Poll::Pending
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.end.is_foreign() {
            return;
        }
        if let (Some(at), true) = (self.until.instant(), self.timed) {
            self.end.timers.remove(at, Due::Event(self.id));
        }
        self.end.outbox.take_back(TaskKey::Event(self.id));
        self.end.pending_emits.remove(self.id);
    }
}

impl Future for Emission {
    type Output = Result<()>;

    /// Returns `Ok` once the event is in the ring. The first poll sends the event.
    ///
    /// # Panics
    ///
    /// If the future is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut kept = match std::mem::replace(&mut self.state, EmitState::Done) {
            EmitState::Kept(kept) => kept,
            EmitState::UnsentEvent(unsent) => match unsent.send() {
                Ok(Some(kept)) => kept,
                Ok(None) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(*error)),
            },
            EmitState::Failed(error) => return Poll::Ready(Err(*error)),
            #[expect(
                clippy::panic,
                reason = "as documented: what the user of the future does wrong, and no peer can"
            )]
            EmitState::Done => panic!("an emission must not be polled after it was ready"),
        };
        let polled = kept.poll(context);
        if polled.is_pending() {
            self.state = EmitState::Kept(kept);
        }
        polled.map_err(|error| *error)
    }
}
