//! Calls for tasks. To send such a call never blocks. The thread that first polls the call looks
//! for the answer itself, before it leaves the answer to other threads.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::call::call_header;
use crate::api::coprocess::Coprocess;
use crate::api::pending::{Pending, Read};
use crate::end::End;
use crate::error::{Error, Result, Step};
use crate::send::outbox::WhenFull;
use crate::send::send_queue::Quota;
use crate::time::deadline::Deadline;
use crate::types::looked_at::Unnumbered;
use crate::types::sent_types::SentTypeId;
use crate::wire::message::Message;

impl Coprocess {
    /// Calls a method of the peer, for a task: await the result.
    ///
    /// The future needs no particular runtime, and borrows nothing.
    ///
    /// - The arguments are encoded here. The deadline counts from here: see [`call`](Self::call).
    /// - The first poll sends the call. If the ring is full, the call is kept, and sent in its
    ///   turn.
    /// - If anything fails, the error comes when the future is awaited.
    ///
    /// Calls that are kept take memory until the peer catches up, so bound how many are in flight.
    /// To have several calls under way, poll them together, as tasks or joined. Where the thread
    /// may wait for space, [`start`](Self::start) does, too: its [`Pending`] is a future.
    ///
    /// # Blocking
    ///
    /// Neither this method nor a poll blocks, with one exception: if the ring is full and the
    /// system refuses the thread that sends, the thread that polls sends the call, and waits. No
    /// handler runs inside of a poll.
    ///
    /// The first poll spins for the answer: for some microseconds, as long as calls are usually
    /// answered as quickly as that, and for about 50 microseconds at most. After that, the driver
    /// waits.
    ///
    /// The future ends as [`call`](Self::call) does.
    ///
    /// # In a handler
    ///
    /// A handler must not block on a call of its own pair, such as by the `block_on` of a runtime.
    /// The answer is received on the handler's thread, once the handler has returned. That thread
    /// would also notice the call's deadline and the end of the peer, so neither ends the wait.
    /// Only [`close`](Self::close) does.
    ///
    /// There are three ways out:
    ///
    /// - [`call`](Self::call) receives while it waits.
    /// - `serve_async` answers later: its futures may await calls.
    /// - [`serve_deferred`](Self::serve_deferred) answers later, too.
    ///
    /// All this holds for callbacks of [`call_with`](Self::call_with), too.
    ///
    /// # Errors
    ///
    /// The future returns:
    ///
    /// - The errors of [`call`](Self::call).
    /// - [`Error::Os`](crate::Error::Os) also if the system refuses the driver's thread. Then the
    ///   pair goes on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call, and drops the answer:
    ///
    /// - Before the first poll, or while the call is kept: the call is not sent.
    /// - Later: the peer is told as soon as the ring has space for that. If the handler has not
    ///   begun, the call is not served. If the handler has begun, it can ask:
    ///   [`Reply::is_wanted`](crate::Reply::is_wanted).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// # let _ = async {
    /// let sum: i64 = co.call_async("add", (1, 2)).await?;
    /// # Ok::<(), coprocess::Error>(())
    /// # };
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call_async<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Call<R> {
        Call::new(self, method, args, self.end().default_deadline())
    }

    /// Calls a method as [`call_async`](Self::call_async) does, and waits for at most `timeout`.
    ///
    /// The deadline covers the whole operation, and replaces every other, as that of
    /// [`call_timeout`](Self::call_timeout). No timer of a runtime is needed.
    ///
    /// The thread that dispatches notices the deadline. If a [`Readiness`](crate::Readiness) exists
    /// and no thread waits in a call, that thread is the event loop's: at the deadline the
    /// descriptor becomes readable, and the future ends once [`poll`](Self::poll) is called. If the
    /// answer has come by then, the future returns the answer.
    ///
    /// # Blocking
    ///
    /// As [`call_async`](Self::call_async). The future ends after `timeout`.
    ///
    /// # Errors
    ///
    /// As [`call_async`](Self::call_async).
    ///
    /// # Cancel safety
    ///
    /// As [`call_async`](Self::call_async).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// # use std::time::Duration;
    /// # let _ = async {
    /// match co.call_async_timeout::<u64>("measure", (), Duration::from_millis(20)).await {
    ///     Err(coprocess::Error::Timeout) => println!("too slow"),
    ///     other => println!("{}", other?),
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// # };
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call_async_timeout<R: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Serialize,
        timeout: Duration,
    ) -> Call<R> {
        Call::new(self, method, args, Deadline::after(timeout))
    }
}

/// The future of a call, by [`Coprocess::call_async`].
///
/// The first poll sends the call.
///
/// A `Call` does not keep the pair open: if the last handle is dropped, the result is
/// [`Error::Closed`](crate::Error::Closed).
///
/// # Cancel safety
///
/// Dropping a `Call` cancels the call: see [`Coprocess::call_async`].
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// # let _ = async {
/// let square: coprocess::Call<u64> = co.call_async("square", 3_u64);
/// assert_eq!(square.await?, 9);
/// # Ok::<(), coprocess::Error>(())
/// # };
/// # Ok::<(), coprocess::Error>(())
/// ```
#[must_use = "nothing is sent before it is awaited"]
pub struct Call<R> {
    state: CallState<R>,
}

enum CallState<R> {
    UnsentCall(Box<UnsentCall<R>>),
    Failed(Box<Error>),
    Sent(Pending<R>),
    /// The future was ready.
    Done,
}

struct UnsentCall<R> {
    end: Arc<End>,
    method: Box<str>,
    message: Message<'static>,
    deadline: Deadline,
    read: Option<Read<R>>,
    asked: Option<SentTypeId>,
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Call");
        match &self.state {
            CallState::UnsentCall(unsent) => {
                text.field("method", &unsent.method).field("sent", &false)
            }
            CallState::Failed(error) => text.field("failed", error),
            CallState::Sent(pending) => text.field("sent", pending),
            CallState::Done => text.field("done", &true),
        };
        text.finish_non_exhaustive()
    }
}

impl<R: DeserializeOwned> Call<R> {
    fn new(co: &Coprocess, method: &str, args: impl Serialize, deadline: Deadline) -> Call<R> {
        Call::encoding(co, method, deadline, None, |message, deadline| {
            let end = co.end();
            let (mut unnumbered, mut asked) = (Unnumbered::default(), None);
            let subject = end.subject_of_call::<_, R>(
                method,
                &args,
                WhenFull::Queue(Quota::Own),
                &mut unnumbered,
                &mut asked,
            )?;
            message.encode(
                call_header(end, subject, deadline),
                &args,
                end.settings.max_message,
                method,
            )?;
            Ok(asked)
        })
    }

    /// Makes a call whose message `encode` writes. `encode` also returns the entry whose answer is
    /// to tell its kinds. `read` reads a result that is not to be decoded.
    pub(crate) fn encoding(
        co: &Coprocess,
        method: &str,
        deadline: Deadline,
        read: Option<Read<R>>,
        encode: impl FnOnce(&mut Message<'static>, Deadline) -> Step<Option<SentTypeId>>,
    ) -> Call<R> {
        let end = co.end();
        let mut message = Message::new();
        let encoded = end.check_own().and_then(|()| encode(&mut message, deadline));
        let state = match encoded {
            Ok(asked) => CallState::UnsentCall(Box::new(UnsentCall {
                end: end.clone(),
                method: method.into(),
                message,
                deadline,
                read,
                asked,
            })),
            Err(error) => CallState::Failed(error),
        };
        Call { state }
    }
}

impl<R: DeserializeOwned> UnsentCall<R> {
    fn send(mut self) -> Step<Pending<R>> {
        self.end.check_own()?;
        if self.deadline.has_passed() {
            return Err(Error::Timeout.into());
        }
        match self.end.send_call(&mut self.message, WhenFull::Queue(Quota::Tasks)) {
            Ok(id) => {
                let pending = Pending::new(self.end, id, self.method, self.deadline, self.asked)
                    .withdrawn_if_dropped();
                Ok(if let Some(read) = self.read { pending.reading(read) } else { pending })
            }
            Err(unsent) => Err(unsent.error),
        }
    }
}

impl<R: DeserializeOwned> Future for Call<R> {
    type Output = Result<R>;

    /// Returns the result once the call has ended. The first poll sends the call.
    ///
    /// # Panics
    ///
    /// If the future is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let mut pending = match std::mem::replace(&mut self.state, CallState::Done) {
            CallState::Sent(pending) => pending,
            CallState::UnsentCall(unsent) => match unsent.send() {
                Ok(pending) => pending,
                Err(error) => return Poll::Ready(Err(*error)),
            },
            CallState::Failed(error) => return Poll::Ready(Err(*error)),
            #[expect(
                clippy::panic,
                reason = "as documented: what the user of the future does wrong, and no peer can"
            )]
            CallState::Done => panic!("a call must not be polled after it was ready"),
        };
        let polled = Pin::new(&mut pending).poll(context);
        if polled.is_pending() {
            self.state = CallState::Sent(pending);
        }
        polled
    }
}
