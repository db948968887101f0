//! What a client calls through: the forms of a call other than to wait for it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::Pending;
use crate::coprocess::Coprocess;
use crate::error::{Error, Result};

/// What a typed client calls through: it says how a call is waited for.
#[doc(hidden)]
pub trait Through {
    /// What a call returns whose result is an `R`.
    type Returns<R>;

    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Self::Returns<R>;
}

/// All forms of a method of a client are this call: so what is wrong with a type is said once, and not by each form.
#[doc(hidden)]
#[inline]
pub fn call<T: Through, A: Serialize, R: DeserializeOwned>(through: &T, method: &str, args: A) -> T::Returns<R> {
    through.call(method, args)
}

/// What a typed client sends events through.
#[doc(hidden)]
pub trait Emit {
    fn emit(&self, event: &str, value: impl Serialize) -> Result<()>;
}

/// As [`call`], for events.
#[doc(hidden)]
#[inline]
pub fn emit<T: Emit, V: Serialize>(through: &T, event: &str, value: V) -> Result<()> {
    through.emit(event, value)
}

impl Emit for Coprocess {
    #[inline]
    fn emit(&self, event: &str, value: impl Serialize) -> Result<()> {
        Coprocess::emit(self, event, value)
    }
}

impl Through for Coprocess {
    type Returns<R> = Result<R>;

    #[inline]
    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Result<R> {
        Coprocess::call(self, method, args)
    }
}

/// Calls with a deadline: what a client's `within(timeout)` goes through.
///
/// # Examples
///
/// See [`mod@crate::interface`].
#[derive(Debug, Clone, Copy)]
pub struct Within<'a> {
    co: &'a Coprocess,
    timeout: Duration,
}

impl<'a> Within<'a> {
    #[doc(hidden)]
    #[inline]
    pub fn new(co: &'a Coprocess, timeout: Duration) -> Within<'a> {
        Within { co, timeout }
    }
}

impl Emit for Within<'_> {
    #[inline]
    fn emit(&self, event: &str, value: impl Serialize) -> Result<()> {
        self.co.emit_timeout(event, value, self.timeout)
    }
}

impl Through for Within<'_> {
    type Returns<R> = Result<R>;

    #[inline]
    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Result<R> {
        self.co.call_timeout(method, args, self.timeout)
    }
}

/// Calls that are sent now and waited for later: what a client's `pipelined()` goes through.
///
/// # Examples
///
/// See [`mod@crate::interface`].
#[derive(Debug, Clone, Copy)]
pub struct Pipelined<'a> {
    co: &'a Coprocess,
}

impl<'a> Pipelined<'a> {
    #[doc(hidden)]
    #[inline]
    pub fn new(co: &'a Coprocess) -> Pipelined<'a> {
        Pipelined { co }
    }
}

impl Through for Pipelined<'_> {
    type Returns<R> = Result<Pending<R>>;

    #[inline]
    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Result<Pending<R>> {
        self.co.start(method, args)
    }
}

/// Calls that are awaited: what a client's `asynchronous()` goes through.
///
/// # Examples
///
/// See [`mod@crate::interface`].
#[derive(Debug, Clone, Copy)]
pub struct Asynchronous<'a> {
    co: &'a Coprocess,
}

impl<'a> Asynchronous<'a> {
    #[doc(hidden)]
    #[inline]
    pub fn new(co: &'a Coprocess) -> Asynchronous<'a> {
        Asynchronous { co }
    }
}

impl Through for Asynchronous<'_> {
    type Returns<R> = Answer<R>;

    #[inline]
    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Answer<R> {
        Answer { call: self.co.start(method, args).map_err(Some) }
    }
}

/// The result of a call of a typed client, to be awaited; it needs no particular runtime.
///
/// The call was sent when this was made, after a wait for room where the ring was full. This borrows nothing of the client: it can go to a task
/// of its own. If the call could not be sent, the error comes as the result. Dropping it forgets the answer.
///
/// # Examples
///
/// See [`mod@crate::interface`].
#[must_use = "dropping it forgets the answer"]
pub struct Answer<R> {
    /// The error is taken once.
    call: std::result::Result<Pending<R>, Option<Error>>,
}

impl<R> fmt::Debug for Answer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answer").field(&self.call).finish()
    }
}

impl<R: DeserializeOwned> Future for Answer<R> {
    type Output = Result<R>;

    /// # Panics
    ///
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R>> {
        match &mut self.call {
            Ok(pending) => Pin::new(pending).poll(cx),
            #[expect(clippy::expect_used, reason = "as documented: what the user of the future does wrong, and no peer can")]
            Err(error) => Poll::Ready(Err(error.take().expect("an answer must not be polled after it was ready"))),
        }
    }
}
