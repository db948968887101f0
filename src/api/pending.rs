//! A call, at the caller's end: the wait for its result, and the handle for waiting later.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::calls::cancels::GivenUp;
use crate::calls::in_flight::{Notify, Outcome};
use crate::calls::timers::Due;
use crate::end::End;
use crate::end::desk::Desk;
use crate::end::wait::Arrived;
use crate::error::{Error, Result};
use crate::time::deadline::Deadline;
use crate::types::beside::Beside;
use crate::types::payload::Payload;
use crate::types::sent_types::SentTypeId;
use crate::wire::deserializer::DecodeError;
use crate::wire::header::{CallId, as_bytes, kinds_of_answer};
use crate::wire::message::keep_spare;
use crate::wire::mismatch::Mismatch;

/// Waits for the result of a call that was sent: see [`End::wait_for_answer`].
#[inline]
pub(crate) fn wait_for_result<R: DeserializeOwned>(
    end: &Arc<End>,
    id: CallId,
    deadline: Deadline,
    method: &str,
) -> Result<R> {
    wait_with(end, id, deadline, method, |payload| payload.read())
}

/// Waits as [`wait_for_result`] does. `read` reads the answer, which is not to be decoded.
#[inline]
pub(crate) fn wait_with<R>(
    end: &Arc<End>,
    id: CallId,
    deadline: Deadline,
    method: &str,
    read: impl FnOnce(Payload<'_>) -> std::result::Result<R, DecodeError>,
) -> Result<R> {
    let mut desk = Desk::new();
    let arrived = end.wait_for_answer(id, deadline, &mut desk)?;
    read_arrived(arrived, &desk, method, read)
}

#[inline]
fn read_arrived<R>(
    arrived: Arrived,
    desk: &Desk,
    method: &str,
    read: impl FnOnce(Payload<'_>) -> std::result::Result<R, DecodeError>,
) -> Result<R> {
    match arrived {
        Arrived::Here(at) => read_answer(&desk.buffer, at, method, read),
        Arrived::Elsewhere(outcome) => read_outcome(outcome, method, read),
    }
}

#[inline(always)] // what it reads is known where it is called
fn read_answer<R>(
    words: &[u64],
    at: Range<usize>,
    method: &str,
    read: impl FnOnce(Payload<'_>) -> std::result::Result<R, DecodeError>,
) -> Result<R> {
    let bytes = as_bytes(words, at.end).get(at.start..).unwrap_or_default();
    let beside = kinds_of_answer(words, at.start).map(Beside::new);
    read(Payload { bytes, beside: beside.as_ref() }).map_err(|e| e.into_error(method))
}

/// Returns the result of a call, from the outcome.
pub(crate) fn decode_outcome<R: DeserializeOwned>(outcome: Outcome, method: &str) -> Result<R> {
    read_outcome(outcome, method, |payload| payload.read())
}

fn read_outcome<R>(
    outcome: Outcome,
    method: &str,
    read: impl FnOnce(Payload<'_>) -> std::result::Result<R, DecodeError>,
) -> Result<R> {
    match outcome {
        Outcome::Answer { words, from, to } => {
            let result = read_answer(&words, from..to, method, read);
            keep_spare(words);
            result
        }
        Outcome::NotFound => Err(Error::MethodNotFound { method: method.to_owned() }),
        Outcome::Overloaded => Err(Error::Overloaded { method: method.to_owned() }),
        Outcome::Mistyped(types) => Err(Mismatch::error_of(method, &types)),
        Outcome::Remote(message) => Err(Error::Remote { method: method.to_owned(), message }),
        Outcome::Failed(error) => Err(error),
    }
}

/// A call that was sent, and whose result was not taken yet, by
/// [`Coprocess::start`](crate::Coprocess::start).
///
/// There are three ways to the result: [`wait`](Self::wait); [`wait_for`](Self::wait_for), which
/// waits for some time and can be repeated; and `await`. A `Pending` is a future that needs no
/// particular runtime.
///
/// A handler must not block on the future of a call of its own pair; [`wait`](Self::wait) is right
/// there. See [`call_async`](crate::Coprocess::call_async).
///
/// A `Pending` does not keep the pair open: if the last handle is dropped, the result is
/// [`Error::Closed`].
///
/// # Cancel safety
///
/// Dropping a `Pending` discards the answer, and does not take back the call. The peer is told as
/// soon as the ring has space for that. The call is served nevertheless. Its handler can ask
/// [`Reply::is_wanted`](crate::Reply::is_wanted), and a future of `serve_async` is dropped.
///
/// If [`Builder::call_timeout`](crate::Builder::call_timeout) passes before the call's turn has
/// come, the call is not served.
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// let a = co.start::<u64>("square", 3_u64)?;
/// let b = co.start::<u64>("square", 4_u64)?;
/// assert_eq!(a.wait()? + b.wait()?, 25);
/// # Ok::<(), coprocess::Error>(())
/// ```
#[must_use = "dropping it forgets the answer"]
pub struct Pending<R> {
    end: Arc<End>,
    /// `None` once the result was taken.
    id: Option<CallId>,
    method: Box<str>,
    deadline: Deadline,
    /// Whether the timers have the deadline.
    timed: bool,
    /// Whether this handle has looked for the answer. Later polls leave the look to other threads.
    has_looked: bool,
    /// How the call is given up if this is dropped.
    dropped: GivenUp,
    /// Reads the result, if it is not to be decoded.
    read: Option<Read<R>>,
    /// The entry whose answer tells its kinds.
    asked: Option<SentTypeId>,
}

/// A function that reads a result which is not to be decoded.
pub(crate) type Read<R> = fn(Payload<'_>) -> std::result::Result<R, DecodeError>;

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("method", &self.method)
            .field("id", &self.id)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<R: DeserializeOwned> Pending<R> {
    /// Returns the call, which is then withdrawn if it is dropped.
    pub(crate) fn withdrawn_if_dropped(mut self) -> Pending<R> {
        self.dropped = GivenUp::Withdrawn;
        self
    }

    /// Makes the handle of a call that was sent. `asked` is the entry whose answer tells its kinds.
    pub(crate) fn new(
        end: Arc<End>,
        id: CallId,
        method: Box<str>,
        deadline: Deadline,
        asked: Option<SentTypeId>,
    ) -> Pending<R> {
        Pending {
            end,
            id: Some(id),
            method,
            deadline,
            timed: false,
            has_looked: false,
            dropped: GivenUp::Forgotten,
            read: None,
            asked,
        }
    }

    /// Returns the function that reads the result.
    fn reader(&self) -> Read<R> {
        self.read.unwrap_or(|payload| payload.read())
    }

    /// Returns the call, whose result is then read by `read`.
    pub(crate) fn reading(mut self, read: Read<R>) -> Pending<R> {
        self.read = Some(read);
        self
    }

    /// Blocks until the result arrives.
    ///
    /// While the caller waits, its thread dispatches what arrives.
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::call`](crate::Coprocess::call). The deadline of
    /// [`Builder::call_timeout`](crate::Builder::call_timeout) counts from
    /// [`start`](crate::Coprocess::start).
    ///
    /// # Errors
    ///
    /// - As [`Coprocess::call`](crate::Coprocess::call).
    /// - [`Error::Closed`] also if the result was taken before.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let square: u64 = co.start("square", 3_u64)?.wait()?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    #[inline]
    pub fn wait(self) -> Result<R> {
        let deadline = self.deadline;
        self.wait_until(deadline)
    }

    /// Blocks until the result arrives, for at most `timeout`, and then gives the call up.
    ///
    /// The call's own deadline, if there is one, holds as well. `Duration::MAX` adds no deadline.
    /// To keep the call in flight instead, use [`wait_for`](Self::wait_for).
    ///
    /// # Blocking
    ///
    /// As [`wait`](Self::wait), until `timeout` has passed.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait). After [`Error::Timeout`], the answer is forgotten.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// use std::time::Duration;
    ///
    /// let square = co.start::<u64>("square", 3_u64)?;
    /// match square.wait_timeout(Duration::from_millis(10)) {
    ///     Err(coprocess::Error::Timeout) => println!("too slow"),
    ///     result => println!("{}", result?),
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn wait_timeout(self, timeout: Duration) -> Result<R> {
        let deadline = self.deadline.earlier(Deadline::after(timeout));
        self.wait_until(deadline)
    }

    /// Blocks until the result arrives, for at most `timeout`, and does not give the call up.
    ///
    /// Returns `None` if `timeout` passes first: the call goes on. After `None`, the handle is as
    /// good as before: wait again, await it, or drop it. Any other outcome is the result of the
    /// call, and takes it.
    ///
    /// `Duration::ZERO` takes a result that has arrived. What has arrived before the result is
    /// dispatched first, unless another thread dispatches, or this is called in a handler of the
    /// pair. `Duration::MAX` is no limit.
    ///
    /// # Blocking
    ///
    /// As [`wait`](Self::wait), until `timeout` has passed. While the caller waits, its thread
    /// dispatches what arrives, as [`Coprocess::call`](crate::Coprocess::call) does. A handler may
    /// make the caller late.
    ///
    /// # Errors
    ///
    /// - As [`wait`](Self::wait).
    /// - [`Error::Timeout`]: the call's own deadline has passed, and the answer is forgotten.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// coprocess::init_in_tests!();
    ///
    /// # fn main() -> coprocess::Result<()> {
    /// let co = coprocess::fork(|co| {
    ///     co.serve("square", |n: u64| n * n);
    /// })?;
    /// let mut square = co.start::<u64>("square", 3_u64)?;
    /// let result = loop {
    ///     if let Some(result) = square.wait_for(Duration::from_millis(100))? {
    ///         break result;
    ///     }
    ///     println!("not yet"); // or draw a spinner, or look whether the user has cancelled
    /// };
    /// assert_eq!(result, 9);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_for(&mut self, timeout: Duration) -> Result<Option<R>> {
        let Some(id) = self.id else { return Err(Error::Closed) };
        self.end.check_own()?;
        if timeout.is_zero() {
            // The wait looks at the clock after each message.
            self.end
                .dispatch_arrived(|| self.end.in_flight.is_ready(id) || self.deadline.has_passed());
        }
        let deadline = self.deadline.earlier(Deadline::after(timeout));
        let mut desk = Desk::new();
        let waited = self.end.wait_and_keep(id, deadline, &mut desk);
        self.has_looked = true;
        match waited {
            Ok(arrived) => {
                self.id = None;
                let result = read_arrived(arrived, &desk, &self.method, self.reader());
                self.end.answered(self.asked, &result);
                result.map(Some)
            }
            Err(error) if matches!(*error, Error::Timeout) && !self.deadline.has_passed() => {
                Ok(None)
            }
            Err(error) => {
                self.id = None;
                self.end.give_up(id, GivenUp::Forgotten);
                Err(*error)
            }
        }
    }

    #[inline]
    fn wait_until(mut self, deadline: Deadline) -> Result<R> {
        // The id is there until the result is taken, and taking the result by `wait` consumes self.
        // A future that is done may not be waited for.
        let Some(id) = self.id.take() else { return Err(Error::Closed) };
        self.end.check_own()?;
        let read = self.read;
        let result = wait_with(&self.end, id, deadline, &self.method, |payload| {
            // A call of the usual reader by its name, not by a pointer, can be inlined.
            read.map_or_else(|| payload.read(), |read| read(payload))
        });
        self.end.answered(self.asked, &result);
        result
    }

    /// Returns `true` if [`wait`](Self::wait) would return at once: the result is there, or the
    /// deadline has passed, or the pair is over.
    ///
    /// # Blocking
    ///
    /// Does not block. If the system refuses the driver's thread, `is_ready` dispatches what has
    /// arrived, as [`poll`](crate::Coprocess::poll) does.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let square = co.start::<u64>("square", 3_u64)?;
    /// while !square.is_ready() {
    ///     // something else
    /// }
    /// println!("{}", square.wait()?);
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn is_ready(&self) -> bool {
        let Some(id) = self.id else { return true };
        if self.end.is_foreign() {
            return true;
        }
        if self.end.in_flight.is_ready(id) || self.end.is_over() || self.deadline.has_passed() {
            return true;
        }
        // If no thread dispatched, the result would never be there. If there is no thread for that,
        // look here.
        if self.end.ensure_driver().is_err() {
            let _ = self.end.poll();
        }
        self.end.in_flight.is_ready(id)
    }
}

impl<R: DeserializeOwned> Future for Pending<R> {
    type Output = Result<R>;

    /// Returns the result once the call has ended.
    ///
    /// # Panics
    ///
    /// If the future is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R>> {
        let this = self.get_mut();
        #[expect(
            clippy::expect_used,
            reason = "as documented: what the user of the future does wrong, and no peer can"
        )]
        let id = this.id.expect("a pending call must not be polled after it was ready");
        let end = &this.end;
        if let Err(error) = end.check_own() {
            this.id = None;
            return Poll::Ready(Err(error.into()));
        }
        if !this.has_looked {
            let mut desk = Desk::new();
            match end.look_for_answer(id, &mut desk) {
                Ok(None) => {}
                Ok(Some(arrived)) => {
                    this.id = None;
                    let result = read_arrived(arrived, &desk, &this.method, this.reader());
                    end.answered(this.asked, &result);
                    return Poll::Ready(result);
                }
                Err(error) => {
                    this.id = None;
                    end.in_flight.forget(id);
                    return Poll::Ready(Err(*error));
                }
            }
        }
        this.has_looked = true;
        let finished = match end.in_flight.notify(id, Notify::Task(cx.waker().clone())) {
            // The waker is in place: what ends the call from here on finds it. What ended the call
            // before is seen here.
            Ok(()) if end.is_over() => Some(Err(end.terminal_error())),
            Ok(()) => match end.ensure_driver_for_task() {
                Ok(()) => None,
                Err(error) => Some(Err(error)),
            },
            Err(_) => Some(end.in_flight.take(id).ok_or_else(|| end.terminal_error())),
        };
        let Some(outcome) = finished else {
            if let (Some(at), false) = (this.deadline.instant(), this.timed) {
                this.timed = true;
                end.time(at, Due::Call(id));
            }
            return Poll::Pending;
        };
        this.id = None;
        if outcome.is_err() {
            end.in_flight.forget(id);
        }
        let result = outcome.and_then(|outcome| read_outcome(outcome, &this.method, this.reader()));
        this.end.answered(this.asked, &result);
        Poll::Ready(result)
    }
}

impl<R> Drop for Pending<R> {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && !self.end.is_foreign()
        {
            self.end.give_up(id, self.dropped);
        }
    }
}
