//! Events for tasks: sent at once where there is room, and otherwise kept in their turn while the task waits.

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
    /// Sends an event, for a task: await it, and the task waits for room where [`emit`](Self::emit) would have its thread wait.
    ///
    /// The value is encoded here, and sent when the future is first polled. Where the ring is full, the event is kept, in its turn among all that this end sends,
    /// and a thread of the library sends it; the future is ready once it is in the ring. So a task that awaits each event has no more than one kept, and
    /// the slower end sets the pace; many tasks have one each. Should the system refuse that thread, the one that polls sends, and waits.
    ///
    /// If the other end has registered no handler at all, and takes nothing, the future ends after
    /// 5 seconds, as [`emit`](Self::emit) does. But an event that is kept behind a call, an answer
    /// or the value of a gauge waits for as long as these wait for room.
    ///
    /// The future needs no particular runtime, and borrows nothing. If it is dropped before that, the event is not sent, unless that has begun. It ends, too, with the pair.
    ///
    /// A handler must not block on it, by the `block_on` of a runtime: [`emit`](Self::emit) knows what may not wait there.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), when it is awaited.
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

    /// As [`emit_async`](Self::emit_async), with a deadline for the whole operation, which counts from here. No timer of a runtime is needed.
    ///
    /// As that of [`call_async_timeout`](Self::call_async_timeout) it is noticed by whoever dispatches: where the event is kept, by a thread of the library if no other does,
    /// in a worker function, too, that has not returned yet.
    ///
    /// # Errors
    ///
    /// As [`emit_async`](Self::emit_async), and [`Error::Timeout`]: nothing was sent. [`Error::Os`] if the system refuses the thread that waits.
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

    /// As [`emit_async`](Self::emit_async), with these bytes as the value: see [`emit_bytes`](Self::emit_bytes).
    ///
    /// # Errors
    ///
    /// As [`emit_async`](Self::emit_async), without the errors of encoding.
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
    /// As [`emit`](Self::emit), for a task: it does when it is first polled what [`backpressure`](Self::backpressure) says, and where that is to wait, the
    /// task waits, and not its thread: see [`Coprocess::emit_async`].
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), when it is awaited.
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

    /// As [`emit_async`](Self::emit_async), with these bytes as the value: see [`Coprocess::emit_bytes`].
    ///
    /// # Errors
    ///
    /// As [`emit_async`](Self::emit_async), without the errors of encoding.
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

/// An event to be awaited, by [`Coprocess::emit_async`] and [`Event::emit_async`]. It is sent when it is first polled.
///
/// It does not keep the pair open: if the last handle is dropped, the result is [`Error::Closed`](crate::Error::Closed).
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
    /// It was ready.
    Done,
}

struct UnsentEvent {
    event: Event,
    message: Message<'static>,
    until: Deadline,
}

/// Taken back when this is dropped.
struct Kept {
    end: Arc<End>,
    id: PendingEmitId,
    until: Deadline,
    /// Whether the deadline was handed to the timers.
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
    /// Returns what there is to wait for, if it may not be sent yet.
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
        // The waker is in place: whatever ends the pair from here on finds it. What ended it before is seen here.
        if let Err(error) = end.check_open() {
            // It may have been sent just before that: whoever sends says so before the lock is free that this takes.
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

    /// # Panics
    ///
    /// If polled again after it was ready.
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
