//! Calls for tasks: sent without waiting, and looked for by the thread that polls before it is left to others.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::coprocess::{Coprocess, call_head};
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
    /// Calls a method of the other end, for a task: await the result.
    ///
    /// The arguments are encoded here; the call is sent when the future is first polled, and that never waits: where the ring is full, the call is kept and sent
    /// in its turn. Such calls take memory until the other end catches up, so bound how many are in flight. To have several under way, poll them together, as tasks or joined; or use
    /// [`start`](Self::start), whose [`Pending`] is a future, too, where its thread may wait for room. What fails, fails when it is awaited.
    ///
    /// The future needs no particular runtime, and borrows nothing. Dropping it cancels the call: the other end is told, if the ring has room for
    /// that, and the answer is dropped. It ends as [`call`](Self::call) does; a deadline is [`Builder::call_timeout`](crate::Builder::call_timeout) and,
    /// in a handler, [`current_deadline`](crate::current_deadline), which count from here.
    ///
    /// The first poll looks for the answer itself: for some microseconds, as long as calls are usually answered as quickly as that, and for
    /// about 50 at most; then a thread of the library waits. No handler runs inside of a poll.
    ///
    /// # In a handler
    ///
    /// A handler must not block on a call of its own pair, by the `block_on` of a runtime: the answer is received on the handler's thread, once it has returned.
    /// Neither does the call's deadline end it, nor the end of the other side, which are noticed there, too; only [`close`](Self::close) does. [`call`](Self::call) receives while it waits; or answer later, by `serve_async`, whose futures
    /// may await calls, or by [`serve_deferred`](Self::serve_deferred). The same goes for callbacks of [`call_with`](Self::call_with).
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), and [`Error::Os`](crate::Error::Os) if the system refuses the thread that waits.
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

    /// As [`call_async`](Self::call_async), with a deadline of its own for the whole operation, as that of [`call_timeout`](Self::call_timeout). No timer of a
    /// runtime is needed.
    ///
    /// The deadline is noticed by whoever dispatches. Where a [`Readiness`](crate::Readiness) exists that is the event loop, if no thread waits in a call: at the deadline
    /// the descriptor becomes readable, and the future ends once [`poll`](Self::poll) is called; with its answer, if that has come by then.
    ///
    /// # Errors
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

/// A call to be awaited, by [`Coprocess::call_async`]. It is sent when it is first polled; dropping it afterwards cancels it.
///
/// It does not keep the pair open: if the last handle is dropped, the result is [`Error::Closed`](crate::Error::Closed).
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
    /// It was ready.
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
                call_head(end, subject, deadline),
                &args,
                end.settings.max_message,
                method,
            )?;
            Ok(asked)
        })
    }

    /// One whose message `encode` makes, and says whose answer is to tell its kinds. `read`: what reads the result, if it is not to be decoded.
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
        match self.end.send_call(&mut self.message, WhenFull::Queue(Quota::Tasks), |_| ()) {
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

    /// # Panics
    ///
    /// If polled again after it was ready.
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
