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
use crate::stats::Counters;

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
    /// Whether it counts as a call that is being served.
    counted: bool,
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
    /// The reply to a call that has come, unless as many as may be were not answered yet: then this one is refused.
    pub(crate) fn admit(end: &Arc<End>, id: CallId, method: &str) -> Option<Reply<R>> {
        let limit = end.terms.max_calls_served;
        let counted = limit < u32::MAX;
        // Relaxed: a number, and only the thread that dispatches adds to it.
        if counted && end.served.fetch_add(1, Ordering::Relaxed) >= limit {
            end.served.fetch_sub(1, Ordering::Relaxed);
            Counters::add(&end.counters.calls_refused);
            // If this fails, nobody waits for it.
            let _ = end.refuse(
                id,
                method,
                Failure::Remote(&format!("too many calls: {limit} are not answered yet, as many as Builder::max_calls_served allows")),
            );
            return None;
        }
        // Relaxed: made by the thread that runs the handler.
        let run = end.serving.load(Ordering::Relaxed);
        Some(Reply { end: end.clone(), call: Some((id, method.into())), counted, run, result: PhantomData })
    }

    /// Makes room for another call. Before the answer: whoever has it may call again.
    fn leave(&mut self) {
        if std::mem::take(&mut self.counted) {
            // Relaxed: a number.
            self.end.served.fetch_sub(1, Ordering::Relaxed);
        }
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
        self.leave();
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
        self.leave();
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
            self.leave();
            // Its own handler panicked: the dispatcher tells the caller.
            self.end.unanswered.store(true, Ordering::Relaxed);
            return;
        }
        // If the pair is over, nobody waits for it.
        let _ = self.refuse(DROPPED);
    }
}
