//! Typed interfaces: a client and a server from a trait.
//!
//! The attribute [`#[coprocess::interface]`](macro@crate::interface) on a trait makes a client of it, and a trait that a server implements.
//! The compiler checks the names of methods, the number of arguments and their types. When a client
//! is made, the two ends of a pair compare how those are written. When values are sent, they compare
//! what is in the types. (Feature `interface`.)
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
//!     /// Divides. An error of one's own is a value.
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
//! // The server: the trait, as it is written.
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
//!     // The client: one method for each of the trait's.
//!     let calculator = CalculatorClient::new(&co)?;
//!     assert_eq!(calculator.add(1, 2)?, 3);
//!     assert_eq!(calculator.divide(1, 0)?, Err(DivideError::ByZero));
//!     calculator.note("on its way")?;
//!
//!     // The same calls with a deadline,
//!     use std::time::Duration;
//!     match calculator.within(Duration::from_millis(500)).count_words("how many are these?") {
//!         Err(Error::Timeout) => println!("too slow"),
//!         count => assert_eq!(count?, 4),
//!     }
//!
//!     // sent now and waited for later,
//!     let sums = (0..100).map(|n| calculator.pipelined().add(n, n)).collect::<Result<Vec<_>, _>>()?;
//!     for (n, sum) in (0..).zip(sums) {
//!         assert_eq!(sum.wait()?, 2 * n);
//!     }
//!
//!     // or awaited, under any runtime.
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
//! Methods take `&self`: handlers of one end run one at a time, but nested, and on different threads. Arguments and results are anything that
//! can be a message ([crate docs](crate#messages)). An argument may be borrowed as a whole: `&str`, `&[T]`, `&T`; it is encoded from
//! where it lies, and what arrives is lent to the server. `&[u8]` travels as one block, as the types of [`serde_bytes`] do.
//! There are no generic parameters, no async methods, no bodies; a method can have a `#[cfg(..)]`. Its documentation is the client's,
//! too, and so are `#[deprecated]`, `#[allow(..)]` and `#[must_use = ".."]`. The client has functions of its own, so
//! methods cannot be called `new`, `new_async`, `unchecked`, `within`, `pipelined` or `asynchronous`, nor `serve`, which the trait has.
//!
//! `#[event]` makes a method one way: the client [emits](crate::Coprocess::emit), nobody answers.
//!
//! A method that returns `Result<T, E>` answers with that very value, whatever it is: the client gets `coprocess::Result<Result<T, E>>`. The
//! outer error is for what happens on the way, and for panics of the server ([`Error::Remote`](crate::Error::Remote)).
//!
//! # The server
//!
//! `server.serve(&co)` registers all methods in one step. Both ends of a pair can serve, the same interface or others, and one server can serve
//! many pairs, in an `Arc`: an `Arc` of a server is a server. A server that calls back through its own pair holds a
//! [`WeakCoprocess`](crate::WeakCoprocess), as any handler does.
//!
//! Where the traits of two interfaces are in scope, the compiler has to be told whose `serve` is meant. A server of both is shared by them:
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
//! `#[deferred]` on a method lets its server answer when it can, from any thread, while other calls are handled: in place of a result, the server's method has one
//! argument more, a [`Reply`](crate::Reply). For the client it is a method like any other, and for what is compared, too. A reply that is dropped fails the call
//! ([`Error::Remote`](crate::Error::Remote)).
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
//!             let found = query.len() as u64; // what takes long, and looks from time to time at reply.is_wanted()
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
//! assert_eq!(index.len()?, 1); // is not kept waiting
//! assert_eq!(search.wait()?, 6);
//! # Ok(())
//! # }
//! ```
//!
//! # The client
//!
//! A client is as cheap to clone as a [`Coprocess`](crate::Coprocess), and keeps the pair open as one does.
//!
//! | | |
//! |---|---|
//! | `client.add(1, 2)?` | waits, as [`call`](crate::Coprocess::call) |
//! | `client.within(timeout).add(1, 2)?` | waits until the deadline, as [`call_timeout`](crate::Coprocess::call_timeout) |
//! | `client.pipelined().add(1, 2)?` | returns a [`Pending`](crate::Pending), as [`start`](crate::Coprocess::start) |
//! | `client.asynchronous().add(1, 2).await?` | a future, as [`call_async`](crate::Coprocess::call_async) |
//! | `client.within(timeout).asynchronous().add(1, 2).await?` | with a deadline, as [`call_async_timeout`](crate::Coprocess::call_async_timeout) |
//! | `client.note("..")?` | an event, as [`emit`](crate::Coprocess::emit); `within(timeout)` as [`emit_timeout`](crate::Coprocess::emit_timeout), `asynchronous()` as [`emit_async`](crate::Coprocess::emit_async) |
//!
//! # What is compared
//!
//! `CalculatorClient::new` asks the other end what it serves under this name, once. It compares the
//! name of each method, whether it is an event, and how its types are written. Where they differ it
//! fails with [`Error::Interface`](crate::Error::Interface), which names the method and says what it
//! is at either end. The other end may serve more methods than the client has. It must serve the
//! interface before the client asks.
//!
//! Types are compared as they are written in the trait: so `u64` and an alias of it differ. Spaces do
//! not matter, nor what arguments are called, nor whether they are borrowed.
//!
//! The text of a type does not say what is in it. That is compared at its first use, as for
//! [any call or event](crate::TypeCheck), down to the last field:
//!
//! | what differs | is found by |
//! |---|---|
//! | the name of a method, call or event, the types as they are written | `CalculatorClient::new`: [`Error::Interface`](crate::Error::Interface) |
//! | what is in an argument: fields, their names and their order, variants, what an alias stands for, the elements of a [`Block`](crate::Block) | the first call: [`Error::Types`](crate::Error::Types), and the server's method does not run |
//! | what is in a result | the first call: [`Error::Types`](crate::Error::Types); the server's method has run |
//! | what is in an event | the first event is not handled, and counted ([`Stats::events_mistyped`](crate::Stats::events_mistyped)); a later one of this type is [`Error::Types`](crate::Error::Types) |
//!
//! A value shows only what it contains. So some differences are found later than at the first use,
//! when a value shows them:
//!
//! - another variant of an enum than those that were sent: its place, its name and what is in it;
//! - what is in an `Option` that was `None`, in an empty `Vec` or map;
//! - the error of a `Result` that was `Ok`.
//!
//! A release build looks at the first value, the second, the fourth and so on, unless
//! [`Builder::check_types`](crate::Builder::check_types) says otherwise: a difference that only
//! another value shows is not found before one that shows it is looked at.
//!
//! The names of structs and enums are not compared, and a newtype is what it contains: `Metres(f64)`
//! reads what was sent as `Feet(f64)`. **Give a method, or a type that it names, another name when
//! its meaning changes**: `new` finds that.
//!
//! To compare, no value is made that was not sent: `Deserialize` runs once for each, as it does
//! without a check. `Serialize` runs once more for each value that is looked at.
//!
//! `CalculatorClient::new_async` is the same for a task. `CalculatorClient::unchecked` does not ask;
//! its values are compared as those of any client.
//!
//! # What is underneath
//!
//! Ordinary calls and events: the method `add` of `Calculator` is `"Calculator.add"`, its arguments are those of [`call`](crate::Coprocess::call), `()` for
//! none, the value for one, a tuple for several. `co.call::<i64>("Calculator.add", (1_i64, 2_i64))` is the same call. What is served by that name after `serve`
//! replaces the one method: so one that is `async` can be served by `serve_async` (feature `tokio`). [`emit`](crate::Coprocess::emit) and its variants
//! send the events. The description is the answer to `"Calculator::interface"`. Where two interfaces of the same
//! name meet on one end, `#[interface(name = "other.Calculator")]` gives one another name there.

mod call_mode;
mod description;
mod served;

pub use crate::error::InterfaceError;
pub use call_mode::{Asynchronous, CallMode, Emit, Pipelined, Within, call, emit};
pub use description::{Described, Description, Method, check, check_async};
pub use served::Served;
