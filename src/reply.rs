//! Answering a call later.

use std::fmt;
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::end::End;
use crate::envelope::{CallId, Failure};
use crate::error::Result;

/// What the caller is told of a reply that was dropped.
pub(crate) const DROPPED: &str = "its handler dropped the reply without an answer";

/// The answer that a call still waits for, by [`Coprocess::serve_deferred`](crate::Coprocess::serve_deferred).
///
/// It can go to any thread. Dropped unanswered, the caller gets [`Error::Remote`](crate::Error::Remote).
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
    /// The run of the handler that it was made for.
    run: u64,
    result: PhantomData<fn(R)>,
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("call", &self.call).finish_non_exhaustive()
    }
}

impl<R> Reply<R> {
    pub(crate) fn new(end: Arc<End>, id: CallId, method: &str) -> Reply<R> {
        // Relaxed: made by the thread that runs the handler.
        let run = end.serving.load(Ordering::Relaxed);
        Reply { end, call: Some((id, method.into())), run, result: PhantomData }
    }

    /// Sends an error instead of a result: the caller gets [`Error::Remote`](crate::Error::Remote) with this text.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
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
        self.refuse(&message.to_string())
    }

    fn refuse(&mut self, message: &str) -> Result<()> {
        self.end.check_own()?;
        match self.call.take() {
            Some((id, method)) => self.end.refuse(id, &method, Failure::Remote(message)),
            None => Ok(()),
        }
    }
}

impl<R: Serialize> Reply<R> {
    /// Sends the result. Waits for room in the ring; ends when the answer is in it, or with the pair.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`](crate::Error::Encode) or [`Error::TooLarge`](crate::Error::TooLarge): the caller gets an error instead.
    /// Everything else means that the pair is over.
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
        self.end.check_own()?;
        let Some((id, method)) = &self.call else { return Ok(()) };
        let sent = self.end.answer(*id, method, &result);
        // Not before: if the result panics while it is encoded, the call is not answered.
        self.call = None;
        sent
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        let unanswered = self.call.is_some();
        if unanswered && std::thread::panicking() && self.end.lead.is_mine() && self.run == self.end.serving.load(Ordering::Relaxed) {
            // Its own handler panicked: the dispatcher tells the caller.
            self.end.unanswered.store(true, Ordering::Relaxed);
            return;
        }
        // If the pair is over, nobody waits for it.
        let _ = self.refuse(DROPPED);
    }
}
