//! Defines the ways in which a typed client calls: with a deadline, pipelined, or awaited.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::call_async::Call;
use crate::api::coprocess::Coprocess;
use crate::api::emit_async::Emission;
use crate::api::pending::Pending;
use crate::error::Result;

/// Decides how a typed client waits for a call.
#[doc(hidden)]
pub trait CallMode {
    /// The type that a call returns if its result is an `R`.
    type Returns<R>;

    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Self::Returns<R>;
}

/// Calls a method, for all forms of a client's method. So the compiler reports a fault of a type
/// once, and not for each form.
#[doc(hidden)]
#[inline]
pub fn call<T: CallMode, A: Serialize, R: DeserializeOwned>(
    mode: &T,
    method: &str,
    args: A,
) -> T::Returns<R> {
    mode.call(method, args)
}

/// Decides how a typed client sends events.
#[doc(hidden)]
pub trait Emit {
    /// The type that sending an event returns.
    type Returns;

    fn emit(&self, event: &str, value: impl Serialize) -> Self::Returns;
}

/// Sends an event, for all forms of a client's event.
#[doc(hidden)]
#[inline]
pub fn emit<T: Emit, V: Serialize>(mode: &T, event: &str, value: V) -> T::Returns {
    mode.emit(event, value)
}

impl Emit for Coprocess {
    type Returns = Result<()>;

    #[inline]
    fn emit(&self, event: &str, value: impl Serialize) -> Result<()> {
        Coprocess::emit(self, event, value)
    }
}

impl CallMode for Coprocess {
    type Returns<R> = Result<R>;

    #[inline]
    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Result<R> {
        Coprocess::call(self, method, args)
    }
}

/// Calls with a deadline; a client's `within(timeout)` returns this.
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
    type Returns = Result<()>;

    #[inline]
    fn emit(&self, event: &str, value: impl Serialize) -> Result<()> {
        self.co.emit_timeout(event, value, self.timeout)
    }
}

impl CallMode for Within<'_> {
    type Returns<R> = Result<R>;

    #[inline]
    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Result<R> {
        self.co.call_timeout(method, args, self.timeout)
    }
}

/// Sends calls now, to wait for them later; a client's `pipelined()` returns this.
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

impl CallMode for Pipelined<'_> {
    type Returns<R> = Result<Pending<R>>;

    #[inline]
    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Result<Pending<R>> {
        self.co.start(method, args)
    }
}

/// Makes futures of calls and events; a client's `asynchronous()` returns this.
///
/// # Examples
///
/// See [`mod@crate::interface`].
#[derive(Debug, Clone, Copy)]
pub struct Asynchronous<'a> {
    co: &'a Coprocess,
    timeout: Option<Duration>,
}

impl<'a> Asynchronous<'a> {
    #[doc(hidden)]
    #[inline]
    pub fn new(co: &'a Coprocess) -> Asynchronous<'a> {
        Asynchronous { co, timeout: None }
    }
}

impl<'a> From<Within<'a>> for Asynchronous<'a> {
    #[inline]
    fn from(within: Within<'a>) -> Asynchronous<'a> {
        Asynchronous { co: within.co, timeout: Some(within.timeout) }
    }
}

impl Emit for Asynchronous<'_> {
    type Returns = Emission;

    #[inline]
    fn emit(&self, event: &str, value: impl Serialize) -> Emission {
        match self.timeout {
            None => self.co.emit_async(event, value),
            Some(timeout) => self.co.emit_async_timeout(event, value, timeout),
        }
    }
}

impl CallMode for Asynchronous<'_> {
    type Returns<R> = Call<R>;

    #[inline]
    fn call<R: DeserializeOwned>(&self, method: &str, args: impl Serialize) -> Call<R> {
        match self.timeout {
            None => self.co.call_async(method, args),
            Some(timeout) => self.co.call_async_timeout(method, args, timeout),
        }
    }
}
