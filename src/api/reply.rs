//! The answer to a call that is served later.

use std::fmt;
use std::fmt::Display;
use std::marker::PhantomData;
#[cfg(feature = "tokio")]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
#[cfg(feature = "tokio")]
use std::task::{Context, Poll};
use std::time::Instant;

use serde::Serialize;

#[cfg(feature = "tokio")]
use crate::calls::timers::Due;
use crate::end::End;
use crate::error::Result;
#[cfg(feature = "tokio")]
use crate::panicked::panic_message;
use crate::panicked::{DROPPED, unwinding_message};
use crate::recv::handlers::Incoming;
use crate::send::outbox::WhenFull;
#[cfg(feature = "tokio")]
use crate::send::send_queue::Quota;
use crate::stats::Counters;
#[cfg(feature = "tokio")]
use crate::sync::user_panic::forget_panic;
use crate::time::deadline::{Deadline, current_deadline};
use crate::wire::header::{CallId, Failure};

/// The answer that a call still waits for, by
/// [`Coprocess::serve_deferred`](crate::Coprocess::serve_deferred).
///
/// A `Reply` can go to any thread. If it is dropped unanswered, the caller gets
/// [`Error::Remote`](crate::Error::Remote). If a panic in a worker drops it, the error has the
/// message and the place of that panic: [`Error::remote_panic`](crate::Error::remote_panic).
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// co.serve_deferred("find", |key: String, reply: coprocess::Reply<u64>| {
///     std::thread::spawn(move || match key.len() {
///         0 => reply.fail("an empty key is found nowhere"),
///         n => reply.send(n as u64),
///     });
/// });
/// # Ok::<(), coprocess::Error>(())
/// ```
#[must_use = "dropped unanswered, it fails the call"]
pub struct Reply<R> {
    end: Arc<End>,
    /// `None` once answered.
    call: Option<(CallId, Box<str>)>,
    /// Whether the answer is to tell the kinds of the result.
    asks: bool,
    /// Whether the call counts as one that is being served.
    counted: bool,
    /// The number of the run of the handler that the reply was made for.
    run: u64,
    deadline: Deadline,
    /// Whether the call was taken from those that can be cancelled: it is about to be answered.
    closed: bool,
    /// Whether the end's timers have the deadline.
    #[cfg(feature = "tokio")]
    timed: bool,
    result: PhantomData<fn(R)>,
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("call", &self.call).finish_non_exhaustive()
    }
}

impl<R> Reply<R> {
    /// Returns the reply to a call that has come. At the bound of calls that are not answered,
    /// refuses the call and returns `None`.
    pub(crate) fn admit(end: &Arc<End>, call: &Incoming<'_>) -> Option<Reply<R>> {
        let Incoming { id, method, asks, .. } = *call;
        let limit = end.settings.max_calls_served;
        let counted = limit < u32::MAX;
        // Relaxed: a number, and only the thread that dispatches adds to it.
        if counted && end.peer_calls.unanswered.fetch_add(1, Ordering::Relaxed) >= limit {
            end.peer_calls.unanswered.fetch_sub(1, Ordering::Relaxed);
            Counters::add(&end.counters.calls_refused);
            // If this fails, the pair is over, and no caller waits for it.
            let _ = end.refuse(id, method, Failure::Overloaded, end.answers_when_full());
            return None;
        }
        let run = end.handler_stack.running();
        end.peer_calls.served_later.insert(id);
        Some(Reply {
            end: end.clone(),
            call: Some((id, method.into())),
            asks,
            counted,
            run,
            deadline: current_deadline().into(),
            closed: false,
            #[cfg(feature = "tokio")]
            timed: false,
            result: PhantomData,
        })
    }

    /// Makes place for another call. Goes before the answer: a caller that has its answer may call
    /// again.
    fn leave(&mut self) {
        if std::mem::take(&mut self.counted) {
            // Relaxed: a number.
            self.end.peer_calls.unanswered.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns `true` if the caller still waits for the answer, as far as this end knows.
    ///
    /// That is: the caller has not given up, its [`deadline`](Self::deadline) has not passed, and
    /// the pair is open. When a caller gives up, its end says so as soon as its ring has space.
    ///
    /// A handler can ask this itself. The method sees a cancel even while another handler keeps the
    /// thread that dispatches from receiving anything.
    ///
    /// As long as this is `true`, the work is worth going on with. If it is `false`, an answer does
    /// no harm: the answer to a call that was cancelled is not even sent.
    ///
    /// If the deadline has passed before the call's turn has come, or its future was dropped by
    /// then, the call is not served at all.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.serve_deferred("count", |to: u64, reply: coprocess::Reply<u64>| {
    ///     std::thread::spawn(move || {
    ///         let mut count = 0;
    ///         while count < to && reply.is_wanted() {
    ///             count += 1; // a step of something long
    ///         }
    ///         reply.send(count)
    ///     });
    /// });
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn is_wanted(&self) -> bool {
        let Some((id, _)) = &self.call else { return false };
        // In this order: a cancel can be found ahead of its turn until the call is not open any
        // more.
        !self.end.is_foreign()
            && !self.is_given_up(*id)
            && self.end.check_open().is_ok()
            && self.end.peer_calls.served_later.is_open(*id)
            && !self.deadline.has_passed()
    }

    /// Returns `true` if a cancel has arrived that was not received yet.
    fn is_given_up(&self, id: CallId) -> bool {
        self.end.is_urged() && self.end.given_up(id).is_some()
    }

    /// Returns the time by which the caller wants the answer, or `None` if the caller has set no
    /// deadline.
    ///
    /// In the handler, [`current_deadline`] returns this time, too. This method works on any
    /// thread.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.serve_deferred("wait", |(): (), reply: coprocess::Reply<()>| {
    ///     std::thread::spawn(move || {
    ///         if let Some(at) = reply.deadline() {
    ///             println!("{:?} left", at.saturating_duration_since(std::time::Instant::now()));
    ///         }
    ///         reply.send(())
    ///     });
    /// });
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.instant()
    }

    /// Takes the call from those that can be cancelled: it is about to be answered. Returns `true`
    /// if the caller waits for the answer.
    fn close(&mut self) -> bool {
        let Some((id, _)) = &self.call else { return false };
        if self.closed {
            return true;
        }
        self.closed = true;
        #[cfg(feature = "tokio")]
        if let (true, Some(at)) = (self.timed, self.deadline.instant()) {
            self.end.timers.remove(at, Due::Served(*id));
        }
        // In the order of `is_wanted`.
        let given_up = self.is_given_up(*id);
        if given_up {
            self.end.peer_calls.cancels.take_effect(*id);
        }
        let wanted = (self.end.peer_calls.served_later.remove(*id)
            || self.end.check_open().is_err())
            && !given_up;
        if !wanted {
            self.call = None;
        }
        wanted
    }

    /// Sends an error in place of a result: the caller gets [`Error::Remote`](crate::Error::Remote)
    /// with this text.
    ///
    /// # Blocking
    ///
    /// As [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). If the caller has given up, nothing is sent, and `fail` returns
    /// `Ok`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.serve_deferred("half", |n: u64, reply: coprocess::Reply<u64>| {
    ///     let _ = if n % 2 == 0 { reply.send(n / 2) } else { reply.fail("an odd number") };
    /// });
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn fail(mut self, message: impl Display) -> Result<()> {
        let when_full = self.end.answers_when_full();
        self.refuse(&message.to_string(), when_full)
    }

    fn refuse(&mut self, message: &str, when_full: WhenFull) -> Result<()> {
        self.end.check_own()?;
        // Also if the caller has given up: this was the last of the call.
        self.leave();
        if !self.close() {
            return Ok(());
        }
        match self.call.take() {
            Some((id, method)) => self.end.refuse(id, &method, Failure::Remote(message), when_full),
            None => Ok(()),
        }
    }
}

impl<R: Serialize> Reply<R> {
    /// Sends the result to the caller.
    ///
    /// If the caller has given up, nothing is sent, and `send` returns `Ok`.
    ///
    /// # Blocking
    ///
    /// If the ring is full, blocks until the answer is in the ring, or the pair is over.
    ///
    /// On a thread that runs a handler of this pair, `send` does not block: the answer is kept, and
    /// sent in its turn.
    ///
    /// # Errors
    ///
    /// - [`Error::Encode`](crate::Error::Encode), [`Error::TooLarge`](crate::Error::TooLarge): the
    ///   caller gets an error in place of the result.
    /// - Every other error, such as [`Error::Closed`](crate::Error::Closed) and
    ///   [`Error::Os`](crate::Error::Os), means that the pair is over.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// co.serve_deferred("half", |n: u64, reply: coprocess::Reply<u64>| {
    ///     std::thread::spawn(move || reply.send(n / 2));
    /// });
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn send(mut self, result: R) -> Result<()> {
        let when_full = self.end.answers_when_full();
        self.answer(result, when_full)
    }

    fn answer(&mut self, result: R, when_full: WhenFull) -> Result<()> {
        self.end.check_own()?;
        // As in `refuse`.
        self.leave();
        if !self.close() {
            return Ok(());
        }
        let Some((id, method)) = &self.call else { return Ok(()) };
        let sent = self.end.answer(*id, method, self.asks, &result, || when_full);
        // Not before: if the result panics while it is encoded, the call is not answered.
        self.call = None;
        sent
    }
}

/// What the task of an `async` handler does with its reply.
#[cfg(feature = "tokio")]
impl<R: Serialize> Reply<R> {
    /// Has the task woken when the caller's deadline has passed.
    pub(crate) fn wake_at_deadline(&mut self) {
        if let (Some((id, _)), Some(at)) = (&self.call, self.deadline.instant()) {
            self.timed = true;
            self.end.time(at, Due::Served(*id));
        }
    }

    /// Returns `Ready` once the caller has given up, its deadline has passed, or the pair is over.
    /// Has the task woken for that.
    pub(crate) fn poll_unwanted(&self, context: &Context<'_>) -> Poll<()> {
        let Some((id, _)) = &self.call else { return Poll::Ready(()) };
        // In this order: the thread that ends the pair wakes the tasks that are registered by then.
        let wanted = self.end.peer_calls.served_later.tell(*id, context.waker())
            && !self.end.is_over()
            && !self.deadline.has_passed();
        if wanted { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Returns `Ready` once the answer can be sent without too many answers being kept.
    pub(crate) fn poll_space(&self, context: &Context<'_>) -> Poll<()> {
        if self.end.is_over() {
            Poll::Ready(())
        } else {
            self.end.outbox.poll_below_watermark(context)
        }
    }

    /// Answers without waiting for space, on any thread.
    pub(crate) fn complete(mut self, outcome: std::result::Result<R, String>) {
        // If this fails: `Encode` and `TooLarge` were reported to the caller; every other error
        // means that there is no caller any more.
        let _ = match outcome {
            Ok(result) => match catch_unwind(AssertUnwindSafe(|| {
                self.answer(result, WhenFull::Queue(Quota::TaskAnswers))
            })) {
                Ok(answered) => answered,
                // The result panicked while it was encoded, or when it was dropped. The panic hook
                // has reported that.
                Err(panic) => {
                    let message = panic_message(&*panic);
                    forget_panic(panic);
                    self.refuse(&message, WhenFull::Queue(Quota::TaskAnswers))
                }
            },
            Err(message) => self.refuse(&message, WhenFull::Queue(Quota::TaskAnswers)),
        };
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        if self.end.is_foreign() {
            // In a child of fork(2), the end is not there.
            return;
        }
        let unanswered = self.call.is_some();
        if unanswered
            && std::thread::panicking()
            && self.end.lead.is_mine()
            && self.run == self.end.handler_stack.running()
        {
            self.leave();
            // Its own handler panicked: the thread that dispatches tells the caller.
            if self.close() {
                self.end.handler_stack.note_dropped_reply();
            }
            return;
        }
        let panicked = if unanswered { unwinding_message() } else { None };
        // If the pair is over, no caller waits for it.
        let _ = self.refuse(panicked.as_deref().unwrap_or(DROPPED), self.end.answers_when_full());
    }
}
