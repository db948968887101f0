//! Methods whose types are declared once, for both ends.

use std::fmt::{self, Debug, Display, Formatter};
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::call_async::Call;
use crate::api::coprocess::Coprocess;
use crate::api::pending::Pending;
use crate::api::reply::Reply;
use crate::error::Result;

/// A method with its types: the arguments `A`, and the result `R`.
///
/// Both ends use one constant. So a literal takes the declared type, and a wrong type does not
/// compile.
///
/// With a name alone, each end says for itself what it sends or takes. The `5` of
/// `co.call::<u64>("scale", 5)` is an `i32`: if the peer takes a `u64`, the call fails with
/// [`Error::Types`](crate::Error::Types). A call by a constant fails with that error, too, if the
/// peer was built with another type of the constant.
///
/// Several arguments are a tuple. On the wire, a method is its name: one end may use the constant,
/// and the peer the name.
///
/// Each operation behaves as the operation of [`Coprocess`] that has its name: its waits, errors
/// and panics are described there.
///
/// # Examples
///
/// ```
/// use coprocess::Method;
///
/// const SCALE: Method<(u64, u64), u64> = Method::new("scale");
///
/// coprocess::init_in_tests!();
///
/// # fn main() -> coprocess::Result<()> {
/// let co = coprocess::fork(|co| {
///     SCALE.serve(&co, |(value, factor)| value * factor);
/// })?;
/// assert_eq!(SCALE.call(&co, (5, 3))?, 15);
/// # Ok(())
/// # }
/// ```
///
/// What does not fit does not compile:
///
/// ```compile_fail,E0308
/// # use coprocess::{Coprocess, Method};
/// const SCALE: Method<(u64, u64), u64> = Method::new("scale");
///
/// fn wrong(co: &Coprocess) -> coprocess::Result<u64> {
///     SCALE.call(co, (-5_i64, 3))
/// }
/// ```
pub struct Method<A, R> {
    name: &'static str,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> Method<A, R> {
    /// Declares a method of this name.
    ///
    /// # Examples
    ///
    /// ```
    /// const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// ```
    pub const fn new(name: &'static str) -> Method<A, R> {
        Method { name, types: PhantomData }
    }

    /// Returns the name by which the method is called.
    ///
    /// # Examples
    ///
    /// ```
    /// const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// assert_eq!(ADD.name(), "add");
    /// ```
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<A: Serialize, R: DeserializeOwned> Method<A, R> {
    /// Calls the method of the peer, and blocks until the result arrives: [`Coprocess::call`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::call`].
    ///
    /// # Errors
    ///
    /// As [`Coprocess::call`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// assert_eq!(ADD.call(&co, (1, 2))?, 3);
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    #[inline]
    pub fn call(&self, co: &Coprocess, args: A) -> Result<R> {
        co.call(self.name, args)
    }

    /// Calls the method, and waits for at most `timeout`: [`Coprocess::call_timeout`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::call_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Coprocess::call_timeout`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// ADD.call_timeout(&co, (1, 2), std::time::Duration::from_millis(100))?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call_timeout(&self, co: &Coprocess, args: A, timeout: Duration) -> Result<R> {
        co.call_timeout(self.name, args, timeout)
    }

    /// Sends a call, and returns a handle to its result: [`Coprocess::start`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::start`].
    ///
    /// # Errors
    ///
    /// As [`Coprocess::start`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let (first, second) = (ADD.start(&co, (1, 2))?, ADD.start(&co, (3, 4))?);
    /// assert_eq!((first.wait()?, second.wait()?), (3, 7));
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn start(&self, co: &Coprocess, args: A) -> Result<Pending<R>> {
        co.start(self.name, args)
    }

    /// Calls the method, for a task, in any runtime: [`Coprocess::call_async`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::call_async`].
    ///
    /// # Errors
    ///
    /// As [`Coprocess::call_async`].
    ///
    /// # Cancel safety
    ///
    /// As [`Coprocess::call_async`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// # async fn example(co: coprocess::Coprocess) -> coprocess::Result<()> {
    /// assert_eq!(ADD.call_async(&co, (1, 2)).await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_async(&self, co: &Coprocess, args: A) -> Call<R> {
        co.call_async(self.name, args)
    }
}

impl<A: Serialize, R: DeserializeOwned + 'static> Method<A, R> {
    /// Sends a call, and has its result handed to a callback: [`Coprocess::call_with`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::call_with`].
    ///
    /// # Errors
    ///
    /// As [`Coprocess::call_with`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// ADD.call_with(&co, (1, 2), |sum| println!("{sum:?}"))?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn call_with(
        &self,
        co: &Coprocess,
        args: A,
        callback: impl FnOnce(Result<R>) + Send + 'static,
    ) -> Result<()> {
        co.call_with(self.name, args, callback)
    }
}

impl<A: DeserializeOwned + 'static, R: Serialize + 'static> Method<A, R> {
    /// Registers the handler of the method at this end: [`Coprocess::serve`].
    ///
    /// # Panics
    ///
    /// As [`Coprocess::serve`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// ADD.serve(&co, |(a, b)| a + b);
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn serve(&self, co: &Coprocess, handler: impl Fn(A) -> R + Send + Sync + 'static) {
        co.serve(self.name, handler);
    }

    /// Registers a handler that can fail: [`Coprocess::try_serve`].
    ///
    /// # Panics
    ///
    /// As [`Coprocess::serve`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// ADD.try_serve(&co, |(a, b)| a.checked_add(b).ok_or("the sum is too large"));
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn try_serve<E: Display>(
        &self,
        co: &Coprocess,
        handler: impl Fn(A) -> std::result::Result<R, E> + Send + Sync + 'static,
    ) {
        co.try_serve(self.name, handler);
    }

    /// Registers a handler that answers later: [`Coprocess::serve_deferred`].
    ///
    /// # Panics
    ///
    /// As [`Coprocess::serve`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const ADD: coprocess::Method<(i64, i64), i64> = coprocess::Method::new("add");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// ADD.serve_deferred(&co, |(a, b), reply| {
    ///     std::thread::spawn(move || reply.send(a + b));
    /// });
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn serve_deferred(
        &self,
        co: &Coprocess,
        handler: impl Fn(A, Reply<R>) + Send + Sync + 'static,
    ) {
        co.serve_deferred(self.name, handler);
    }
}

// Not derived: a derived implementation would ask `A` and `R` to implement the trait, too.
impl<A, R> Clone for Method<A, R> {
    fn clone(&self) -> Method<A, R> {
        *self
    }
}

impl<A, R> Copy for Method<A, R> {}

impl<A, R> Debug for Method<A, R> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.name).finish()
    }
}
