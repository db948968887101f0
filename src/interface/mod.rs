//! Makes a typed client and a typed server from a trait.
//!
//! Write the attribute [`#[coprocess::interface]`](macro@crate::interface) on a trait. It makes a
//! client, and a trait that a server implements. (Feature `interface`.)
//!
//! - The compiler checks the names of methods, the number of arguments and their types.
//! - When a client is made, the two ends of a pair compare how the types are written.
//! - When values are sent, the ends compare what is in the types.
//!
//! ```
//! use coprocess::Error;
//! use serde::{Deserialize, Serialize};
//!
//! /// Arithmetic in a process of its own.
//! #[coprocess::interface]
//! pub trait Calculator {
//!     /// Adds.
//!     fn add(&self, a: i64, b: i64) -> i64;
//!     /// Divides. An error of the program is a value.
//!     fn divide(&self, a: i64, b: i64) -> Result<i64, DivideError>;
//!     /// Arguments can be borrowed.
//!     fn count_words(&self, text: &str) -> usize;
//!     /// Events go one way.
//!     #[event]
//!     fn note(&self, text: &str);
//! }
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! pub enum DivideError {
//!     ByZero,
//! }
//!
//! // The server implements the trait as it is written.
//! struct Plain;
//!
//! impl Calculator for Plain {
//!     fn add(&self, a: i64, b: i64) -> i64 {
//!         a + b
//!     }
//!     fn divide(&self, a: i64, b: i64) -> Result<i64, DivideError> {
//!         a.checked_div(b).ok_or(DivideError::ByZero)
//!     }
//!     fn count_words(&self, text: &str) -> usize {
//!         text.split_whitespace().count()
//!     }
//!     fn note(&self, text: &str) {
//!         println!("{text}");
//!     }
//! }
//!
//! fn main() -> coprocess::Result<()> {
//!     coprocess::init();
//!     let co = coprocess::fork(|co| Plain.serve(&co))?;
//!
//!     // The client has one method for each method of the trait.
//!     let calculator = CalculatorClient::new(&co)?;
//!     assert_eq!(calculator.add(1, 2)?, 3);
//!     assert_eq!(calculator.divide(1, 0)?, Err(DivideError::ByZero));
//!     calculator.note("on its way")?;
//!
//!     // The client's calls can have a deadline,
//!     use std::time::Duration;
//!     match calculator.within(Duration::from_millis(500)).count_words("how many are these?") {
//!         Err(Error::Timeout) => println!("too slow"),
//!         count => assert_eq!(count?, 4),
//!     }
//!
//!     // be sent now and waited for later,
//!     let sums: Result<Vec<_>, _> = (0..100).map(|n| calculator.pipelined().add(n, n)).collect();
//!     for (n, sum) in (0..).zip(sums?) {
//!         assert_eq!(sum.wait()?, 2 * n);
//!     }
//!
//!     // or be awaited, under any runtime.
//!     let sum = async { calculator.asynchronous().add(3, 4).await };
//!     assert_eq!(block_on(sum)?, 7);
//!     co.close()?;
//!     Ok(())
//! }
//! # fn block_on<T>(future: impl Future<Output = T>) -> T {
//! #     struct Unpark(std::thread::Thread);
//! #     impl std::task::Wake for Unpark {
//! #         fn wake(self: std::sync::Arc<Self>) {
//! #             self.0.unpark();
//! #         }
//! #     }
//! #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
//! #     let mut future = std::pin::pin!(future);
//! #     loop {
//! #         match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
//! #             std::task::Poll::Ready(value) => return value,
//! #             std::task::Poll::Pending => std::thread::park(),
//! #         }
//! #     }
//! # }
//! ```
//!
//! # The trait
//!
//! Methods take `&self`. The handlers of one end run one at a time, unless nested, and on different
//! threads. Arguments and results are anything that can be a message ([crate
//! docs](crate#messages)).
//!
//! - An argument may be borrowed as a whole: `&str`, `&[T]`, `&T`. The client encodes it from where
//!   it lies, and the server borrows what arrives. `&[u8]` travels as one block, as the types of
//!   [`serde_bytes`] do.
//! - There are no generic parameters, no async methods and no bodies. A method can have a
//!   `#[cfg(..)]`.
//! - The client's methods take over the documentation, `#[deprecated]`, `#[allow(..)]` and
//!   `#[must_use = ".."]` of the trait's methods.
//! - The client has functions of its own, so a method cannot be called `new`, `new_async`,
//!   `unchecked`, `within`, `pipelined` or `asynchronous`. Nor can it be called `serve`, which the
//!   trait has.
//!
//! `#[event]` makes a method one way: the client [emits](crate::Coprocess::emit), and no answer
//! comes.
//!
//! A method that returns `Result<T, E>` answers with that value, `Ok` or `Err`: the client gets
//! `coprocess::Result<Result<T, E>>`. The outer error is for what fails on the way, and for panics
//! of the server ([`Error::Remote`](crate::Error::Remote)).
//!
//! # The server
//!
//! `server.serve(&co)` registers all methods in one step.
//!
//! - Both ends of a pair can serve, and they can serve one interface or different ones.
//! - One server can serve many pairs, in an `Arc`: an `Arc` of a server is a server.
//! - A server that calls back through its own pair holds a [`WeakCoprocess`](crate::WeakCoprocess),
//!   as any handler does.
//!
//! If the traits of two interfaces are in scope, name the trait whose `serve` is meant. The two
//! interfaces share one server:
//!
//! ```
//! # use coprocess::Coprocess;
//! # #[coprocess::interface]
//! # trait Reader { fn read(&self) -> u64; }
//! # #[coprocess::interface]
//! # trait Writer { fn write(&self, number: u64); }
//! # struct Cell;
//! # impl Reader for Cell { fn read(&self) -> u64 { 1 } }
//! # impl Writer for Cell { fn write(&self, _: u64) {} }
//! use std::sync::Arc;
//!
//! fn worker(co: Coprocess) {
//!     let cell = Arc::new(Cell);
//!     Reader::serve(Arc::clone(&cell), &co);
//!     Writer::serve(cell, &co);
//! }
//! ```
//!
//! # Answers that come later
//!
//! `#[deferred]` on a method lets its server answer later, from any thread, while other calls are
//! handled. The server's method then has no result, and one argument more: a
//! [`Reply`](crate::Reply). The client has a method like any other, and the comparison sees no
//! difference. Dropping a reply fails the call ([`Error::Remote`](crate::Error::Remote)).
//!
//! ```
//! use coprocess::Reply;
//!
//! #[coprocess::interface]
//! trait Index {
//!     #[deferred]
//!     fn search(&self, query: String) -> u64;
//!     fn len(&self) -> usize;
//! }
//!
//! struct Texts;
//!
//! impl Index for Texts {
//!     fn search(&self, query: String, reply: Reply<u64>) {
//!         std::thread::spawn(move || {
//!             // What takes long should ask reply.is_wanted() from time to time.
//!             let found = query.len() as u64;
//!             reply.send(found)
//!         });
//!     }
//!     fn len(&self) -> usize {
//!         1
//!     }
//! }
//!
//! coprocess::init_in_tests!();
//!
//! # fn main() -> coprocess::Result<()> {
//! let co = coprocess::fork(|co| Texts.serve(&co))?;
//! let index = IndexClient::new(&co)?;
//! let search = index.pipelined().search("needle".into())?;
//! assert_eq!(index.len()?, 1); // does not wait for the search
//! assert_eq!(search.wait()?, 6);
//! # Ok(())
//! # }
//! ```
//!
//! # The client
//!
//! A client is as cheap to clone as a [`Coprocess`](crate::Coprocess), and also keeps the pair
//! open.
//!
//! | to | write | as |
//! |---|---|---|
//! | wait for the result | `client.add(1, 2)?` | [`call`] |
//! | wait until a deadline | `client.within(timeout).add(1, 2)?` | [`call_timeout`] |
//! | get a [`Pending`](crate::Pending) | `client.pipelined().add(1, 2)?` | [`start`] |
//! | await the result | `client.asynchronous().add(1, 2).await?` | [`call_async`] |
//! | send an event | `client.note("..")?` | [`emit`] |
//! | send an event before a deadline | `client.within(timeout).note("..")?` | [`emit_timeout`] |
//! | await that an event is sent | `client.asynchronous().note("..").await?` | [`emit_async`] |
//!
//! `client.within(timeout).asynchronous()` awaits with a deadline, as [`call_async_timeout`] and
//! [`emit_async_timeout`] do.
//!
//! [`call`]: crate::Coprocess::call
//! [`call_timeout`]: crate::Coprocess::call_timeout
//! [`start`]: crate::Coprocess::start
//! [`call_async`]: crate::Coprocess::call_async
//! [`call_async_timeout`]: crate::Coprocess::call_async_timeout
//! [`emit`]: crate::Coprocess::emit
//! [`emit_timeout`]: crate::Coprocess::emit_timeout
//! [`emit_async`]: crate::Coprocess::emit_async
//! [`emit_async_timeout`]: crate::Coprocess::emit_async_timeout
//!
//! # What is compared
//!
//! `CalculatorClient::new` asks the peer once what the peer serves under this name. `new` compares
//! the name of each method, whether the method is an event, and how its types are written. If they
//! differ, `new` fails with [`Error::Interface`](crate::Error::Interface), which names the method
//! and its signature at either end. The peer may serve more methods than the client has. The peer
//! must serve the interface before the client asks.
//!
//! Types are compared as they are written in the trait: so `u64` and an alias of `u64` differ. The
//! comparison ignores spaces, the names of arguments, and whether arguments are borrowed.
//!
//! The text of a type does not say what is in the type. The ends compare that at the first use, as
//! for [any call or event](crate::TypeCheck), down to the last field:
//!
//! | what differs | is found by | as |
//! |---|---|---|
//! | a name, call or event, the types as written | `CalculatorClient::new` | [`Interface`] |
//! | what is in an argument | the first call; the server's method does not run | [`Types`] |
//! | what is in a result | the first call; the server's method has run | [`Types`] |
//! | what is in an event | the first event, which is not handled | [`events_mistyped`] |
//! | what is in an event | a later event of this type | [`Types`] |
//!
//! [`Interface`]: crate::Error::Interface
//! [`Types`]: crate::Error::Types
//! [`events_mistyped`]: crate::Stats::events_mistyped
//!
//! The rows on arguments, results and events cover all that is in a type: fields, their names and
//! their order, variants, what an alias stands for, and the elements of a [`Block`](crate::Block).
//!
//! A value shows only what it contains. So the ends find some differences later than at the first
//! use, when a value shows them:
//!
//! - a variant of an enum that was not sent before: its place, its name and what is in it;
//! - what is in an `Option` that was `None`, or in an empty `Vec` or map;
//! - the error of a `Result` that was `Ok`.
//!
//! A release build compares the first value, the second, the fourth and so on, unless
//! [`Builder::check_types`](crate::Builder::check_types) says otherwise. If only some values show a
//! difference, it is found once such a value is compared.
//!
//! The names of structs and enums are not compared, and a newtype is what it contains:
//! `Metres(f64)` reads what was sent as `Feet(f64)`. **Give a method, or a type that it names,
//! another name when its meaning changes**: `new` finds that.
//!
//! The comparison makes no value that was not sent: `Deserialize` runs once for each value, as
//! without a check. `Serialize` runs once more for each value that is compared.
//!
//! `CalculatorClient::new_async` compares as `new` does, for a task. `CalculatorClient::unchecked`
//! does not ask; the ends compare its values as those of any client.
//!
//! # What is underneath
//!
//! A client makes ordinary calls and events:
//!
//! - The method `add` of `Calculator` is `"Calculator.add"`. Its arguments are those of [`call`]:
//!   `()` for none, the value for one, a tuple for several. So `co.call::<i64>("Calculator.add",
//!   (1_i64, 2_i64))` makes the call of `client.add(1, 2)`.
//! - A handler that is registered by that name after `serve` replaces the one method. So
//!   `serve_async` (feature `tokio`) can serve a method by an `async` handler.
//! - [`emit`] and its variants send the events.
//! - The answer to `"Calculator::interface"` is the description.
//!
//! If two interfaces of one name meet on one end, `#[interface(name = "other.Calculator")]` gives
//! one of them another name there.

mod call_mode;
mod description;
mod served;

pub use crate::error::InterfaceError;
pub use call_mode::{Asynchronous, CallMode, Emit, Pipelined, Within, call, emit};
pub use description::{Described, Description, Method, check, check_async};
pub use served::Served;
