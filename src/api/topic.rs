//! Events whose type is declared once, for both ends.

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::coprocess::Coprocess;
use crate::api::emit_async::Emission;
use crate::error::Result;

/// An event with the type of its value, `T`.
///
/// Both ends use one constant. So a literal takes the declared type, and a wrong type does not
/// compile: see [`Method`](crate::Method), which does for calls what `Topic` does for events. If
/// the peer takes another type, the peer does not handle the event, and the next one fails with
/// [`Error::Types`](crate::Error::Types).
///
/// Each operation behaves as the operation of [`Coprocess`] that has its name: its waits, errors
/// and panics are described there.
///
/// # Examples
///
/// ```
/// use coprocess::Topic;
///
/// const TEMPERATURE: Topic<f64> = Topic::new("temperature");
///
/// coprocess::init_in_tests!();
///
/// # fn main() -> coprocess::Result<()> {
/// let co = coprocess::fork(|co| {
///     TEMPERATURE.listen(&co, |celsius| println!("{celsius} °C"));
/// })?;
/// TEMPERATURE.emit(&co, 21.5)?;
/// # Ok(())
/// # }
/// ```
///
/// What does not fit does not compile:
///
/// ```compile_fail,E0308
/// # use coprocess::{Coprocess, Topic};
/// const TEMPERATURE: Topic<f64> = Topic::new("temperature");
///
/// fn wrong(co: &Coprocess) -> coprocess::Result<()> {
///     TEMPERATURE.emit(co, 21)
/// }
/// ```
pub struct Topic<T> {
    name: &'static str,
    types: PhantomData<fn(T)>,
}

impl<T> Topic<T> {
    /// Declares an event of this name.
    ///
    /// # Examples
    ///
    /// ```
    /// const TICK: coprocess::Topic<u64> = coprocess::Topic::new("tick");
    /// ```
    pub const fn new(name: &'static str) -> Topic<T> {
        Topic { name, types: PhantomData }
    }

    /// Returns the name of the event.
    ///
    /// # Examples
    ///
    /// ```
    /// const TICK: coprocess::Topic<u64> = coprocess::Topic::new("tick");
    /// assert_eq!(TICK.name(), "tick");
    /// ```
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T: Serialize> Topic<T> {
    /// Sends the event: [`Coprocess::emit`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::emit`].
    ///
    /// # Errors
    ///
    /// As [`Coprocess::emit`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const TICK: coprocess::Topic<u64> = coprocess::Topic::new("tick");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// TICK.emit(&co, 7)?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    #[inline]
    pub fn emit(&self, co: &Coprocess, value: T) -> Result<()> {
        co.emit(self.name, value)
    }

    /// Sends the event, and leaves the value where it is: [`Coprocess::emit`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::emit`].
    ///
    /// # Errors
    ///
    /// As [`Coprocess::emit`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const LINES: coprocess::Topic<Vec<String>> = coprocess::Topic::new("lines");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let lines = vec!["one".to_owned(), "two".to_owned()];
    /// LINES.emit_ref(&co, &lines)?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    #[inline]
    pub fn emit_ref(&self, co: &Coprocess, value: &T) -> Result<()> {
        co.emit(self.name, value)
    }

    /// Sends the event if the ring has space now: [`Coprocess::try_emit`].
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Errors
    ///
    /// As [`Coprocess::try_emit`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const TICK: coprocess::Topic<u64> = coprocess::Topic::new("tick");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// if let Err(coprocess::Error::Full) = TICK.try_emit(&co, 7) {
    ///     println!("the worker is behind");
    /// }
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    #[inline]
    pub fn try_emit(&self, co: &Coprocess, value: T) -> Result<()> {
        co.try_emit(self.name, value)
    }

    /// Sends the event, and waits for space for at most `timeout`: [`Coprocess::emit_timeout`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::emit_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Coprocess::emit_timeout`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const TICK: coprocess::Topic<u64> = coprocess::Topic::new("tick");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// TICK.emit_timeout(&co, 7, std::time::Duration::from_millis(5))?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit_timeout(&self, co: &Coprocess, value: T, timeout: Duration) -> Result<()> {
        co.emit_timeout(self.name, value, timeout)
    }

    /// Sends the event, for a task, in any runtime: [`Coprocess::emit_async`].
    ///
    /// # Blocking
    ///
    /// As [`Coprocess::emit_async`].
    ///
    /// # Errors
    ///
    /// As [`Coprocess::emit_async`].
    ///
    /// # Cancel safety
    ///
    /// As [`Coprocess::emit_async`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const TICK: coprocess::Topic<u64> = coprocess::Topic::new("tick");
    /// # async fn example(co: coprocess::Coprocess) -> coprocess::Result<()> {
    /// TICK.emit_async(&co, 7).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn emit_async(&self, co: &Coprocess, value: T) -> Emission {
        co.emit_async(self.name, value)
    }
}

impl<T: DeserializeOwned + 'static> Topic<T> {
    /// Registers the handler of the event at this end: [`Coprocess::listen`].
    ///
    /// # Panics
    ///
    /// As [`Coprocess::listen`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # const TICK: coprocess::Topic<u64> = coprocess::Topic::new("tick");
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// TICK.listen(&co, |count| println!("{count}"));
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn listen(&self, co: &Coprocess, handler: impl Fn(T) + Send + Sync + 'static) {
        co.listen(self.name, handler);
    }
}

// Not derived: a derived implementation would ask `T` to implement the trait, too.
impl<T> Clone for Topic<T> {
    fn clone(&self) -> Topic<T> {
        *self
    }
}

impl<T> Copy for Topic<T> {}

impl<T> Debug for Topic<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name).finish()
    }
}
