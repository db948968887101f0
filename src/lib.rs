//! Call another process on the same host as if it were a local object.
//!
//! A **coprocess** is a pair of connected ends: the parent's, and the one in a worker process that the parent starts. Both ends are alike:
//! each can [`call`](Coprocess::call) (wait for a result), [`emit`](Coprocess::emit) (one way), and [`listen`](Coprocess::listen) or
//! [`serve`](Coprocess::serve) (handle what the other sends). Messages are encoded with [postcard](https://docs.rs/postcard) and travel through rings in
//! shared memory: while both sides are busy no system call is made. A worker that crashes is an `Err`, not an outage.
//!
//! ```no_run
//! fn main() -> coprocess::Result<()> {
//!     coprocess::init(); // first line of main: the worker is this program, executed again
//!
//!     let co = coprocess::fork(|co| {
//!         co.serve("add", |(a, b): (i64, i64)| a + b);
//!     })?;
//!
//!     let sum: i64 = co.call("add", (1, 2))?;
//!     assert_eq!(sum, 3);
//!
//!     co.close()?;
//!     Ok(())
//! }
//! ```
//!
//! # Starting
//!
//! [`fork`] runs a function of this program in a process of its own, [`spawn`] another program, which calls [`parent`]. [`Builder`] has the
//! settings. In tests, which have no `main`, one line per test binary takes the place of [`init`]: [`init_in_tests!`].
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `interface` | typed clients and servers, made of a trait: `#[coprocess::interface]` |
//! | `tokio` | handlers that are `async`, as tasks of a tokio runtime: `serve_async`, `try_serve_async`; to await calls takes no feature |
//! | `named` | shared memory with names, for where memfd is refused: [`Backend::Named`] |
//! | `raw-sync` | wake-ups by events in place of futexes: [`Wakeup::Event`] |
//!
//! # Messages
//!
//! Arguments and values are anything that serde can encode in a format that is not self-describing: no arguments are `()`, one is the value,
//! several are a tuple. `#[serde(untagged)]`, `#[serde(flatten)]`, `skip_serializing_if` and `serde_json::Value` do not work in such formats. Byte
//! strings go fast as [`serde_bytes`] types, arrays of numbers as a [`Block`]. Values of a recursive type arrive if they are nested at most 128 deep.
//!
//! Both ends must take the same types. If they do not, that is [`Error::Types`], and not another
//! value: an untyped `5` is an `i32`, and where the other end takes a `u64` the error says to write
//! `5_u64`. The ends compare the first values of each name and type, and later ones now and then:
//! [`TypeCheck`]. Messages of [bytes](Coprocess::call_bytes) have no types. A [`Method`] or a [`Topic`]
//! declares the types once, for both ends.
//!
//! # Large values
//!
//! serde hands over a `Vec<u8>` or a `Vec<f32>` one element at a time. These go as one block, by a copy:
//!
//! | to send | to receive | or, for a field |
//! |---|---|---|
//! | `serde_bytes::Bytes::new(&bytes)`, `serde_bytes::ByteBuf` | `serde_bytes::ByteBuf` | `#[serde(with = "coprocess::serde_bytes")] data: Vec<u8>` |
//! | [`block(&numbers)`](block()), [`Block<f32>`](Block) | [`Block<f32>`](Block) | `#[serde(with = "coprocess::block")] samples: Vec<f32>` |
//! | `&text` | `String` | |
//! | bytes of a codec of your own, by [`call_bytes`](Coprocess::call_bytes) or [`emit_bytes`](Coprocess::emit_bytes) | `&[u8]`, by [`serve_bytes`](Coprocess::serve_bytes) or [`listen_bytes`](Coprocess::listen_bytes) | |
//!
//! One that is all there is to a message is not even encoded: it goes into the ring from where it lies. And the buffers of messages up to 256 KiB are used again, on
//! each thread: a steady stream of messages of one size allocates nothing but what its own types do, if it is of [`call`](Coprocess::call)s that are answered by
//! [`serve`](Coprocess::serve), or of events to [`listen`](Coprocess::listen), by [`emit`](Coprocess::emit) or [`event`](Coprocess::event); or of bytes, likewise, with
//! [`call_bytes_into`](Coprocess::call_bytes_into). What outlives the method or handler that makes it takes a few small allocations for each call: the handle
//! of [`start`](Coprocess::start), the reply of [`serve_deferred`](Coprocess::serve_deferred), the callback of [`call_with`](Coprocess::call_with), the future of
//! [`call_async`](Coprocess::call_async) and [`emit_async`](Coprocess::emit_async), the task of `serve_async`.
//!
//! ```
//! use coprocess::serde_bytes::{ByteBuf, Bytes};
//!
//! coprocess::init_in_tests!();
//!
//! # fn main() -> coprocess::Result<()> {
//! let co = coprocess::fork(|co| {
//!     co.serve("length", |data: ByteBuf| data.len()).serve("mean", |samples: coprocess::Block<f64>| {
//!         samples.iter().sum::<f64>() / samples.len() as f64
//!     });
//! })?;
//! assert_eq!(co.call::<usize>("length", Bytes::new(&[7; 100_000]))?, 100_000);
//! assert_eq!(co.call::<f64>("mean", coprocess::block(&[1.0_f64, 3.0]))?, 2.0);
//! # Ok(())
//! # }
//! ```
//!
//! # When the other end is behind
//!
//! [`emit`](Coprocess::emit) waits for room. A handle for an event, [`Coprocess::event`], has other choices: to fail, to drop the newest, or to keep
//! only the latest, a gauge. How many calls may be in flight is said by [`Builder::max_calls_in_flight`] and [`Builder::max_calls_served`].
//!
//! # Order
//!
//! What one end sends, from any of its threads, is received in the order sent. Handlers start in that order and do not run at the same time,
//! except nested. So a call after a batch of events confirms that the whole batch was handled. Only a gauge sends a value later than it was
//! emitted: [`Backpressure::KeepLatest`].
//!
//! # Tasks
//!
//! [`Coprocess::call_async`] is awaited in any runtime, and so is [`Coprocess::emit_async`], where the other end may be behind. With the feature `tokio`, `Coprocess::serve_async` takes handlers that are `async`.
//! An event loop of another kind watches the descriptor of [`Coprocess::readiness`].
//!
//! # Deadlines and cancellation
//!
//! A call takes its deadline along: its handler can ask for it ([`current_deadline`], [`Reply::deadline`]), and the calls that the handler makes have it, too. A call
//! whose caller has given up, at its deadline or by dropping its future, is cancelled on the other end: it is not served if its turn has not come, and else its handler
//! can ask ([`Reply::is_wanted`]). Of a [`Pending`] that is dropped only the answer is forgotten.
//!
//! # What is trusted
//!
//! The kernel and this process. Everything that comes from the other side is input: it is copied once, checked, and only the copy is used. A
//! side that breaks the protocol gets the pair closed, [`Error::Misbehaved`].
//!
//! A message cannot ask for more than it is: a value of it is refused, as one that does not decode, if options, enums, sequences and maps are
//! nested in it more than 128 deep, or if its sequences and maps have, in all, over 65,536 elements more than it has bytes, which takes
//! elements that are encoded in none. So it costs at most its own size, or those 65,536, times the size of the elements of the types that
//! receive it.
#![cfg_attr(
    all(doc, feature = "interface", feature = "tokio"),
    doc = "

# Further reading

- [The guide](_guide): from the first call to typed, pipelined and awaited ones, in ten short steps.
- [The cookbook](_cookbook): whole programs, each with its pitfalls.
- [Migration](_migration): what to write in place of what other libraries have.
- [Safety](_safety): what is promised against a worker that crashes or turns hostile, what that rests on, and what shows it.
- [The wire format](_wire): every byte, for ends in other languages.
"
)]
// No panic can be reached from the wire. Tests are not on it.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
// Under the model checker only the parts that are modelled are compiled, for their models.
#![cfg(any(not(loom), test))]
#![cfg_attr(
    loom,
    allow(
        dead_code,
        unused_imports,
        unreachable_pub,
        reason = "the models use a part of the files"
    )
)]

#[cfg(not(target_endian = "little"))]
compile_error!("coprocess needs a little-endian machine: its messages are words in memory");

#[cfg(not(loom))]
mod api;
mod calls;
mod drive;
#[cfg(not(loom))]
mod end;
mod error;
#[cfg(feature = "interface")]
pub mod interface;
mod limits;
#[cfg(all(loom, test))]
mod models;
mod panicked;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
mod recv;
#[cfg(not(loom))]
mod send;
#[cfg(not(loom))]
mod settings;
#[cfg(not(loom))]
mod start;
mod stats;
mod sync;
mod text;
mod time;
#[cfg(not(loom))]
mod types;
mod wire;

/// As much of an end as the models need.
#[cfg(all(loom, test))]
mod end {
    pub(crate) mod crossing;

    pub(crate) struct End {
        pub(crate) lead: crate::drive::lead::Lead,
        pub(crate) watch: coprocess_ring::Watch,
    }
}

#[cfg(not(loom))]
pub use api::call_async::Call;
#[cfg(not(loom))]
pub use api::coprocess::{Coprocess, WeakCoprocess};
#[cfg(not(loom))]
pub use api::emit_async::Emission;
#[cfg(not(loom))]
pub use api::event::{Backpressure, Event};
#[cfg(not(loom))]
pub use api::method::Method;
#[cfg(not(loom))]
pub use api::pending::Pending;
#[cfg(not(loom))]
pub use api::readiness::Readiness;
#[cfg(not(loom))]
pub use api::reply::Reply;
#[cfg(not(loom))]
pub use api::topic::Topic;
/// Plain data, for a [`Block`] of structs: they derive [`Pod`](bytemuck::Pod) and [`Zeroable`](bytemuck::Zeroable) with
/// `#[bytemuck(crate = "coprocess::bytemuck")]`, unless the program depends on bytemuck itself.
#[cfg(not(loom))]
pub use bytemuck;
#[cfg(feature = "interface")]
#[cfg(not(loom))]
pub use coprocess_macros::interface;
#[cfg(not(loom))]
pub use coprocess_ring::{Backend, Misbehaved, WaitStrategy, Wakeup};
#[cfg(not(loom))]
pub use error::{Error, ForkError, Limit, Reason, Result};
#[cfg(not(loom))]
pub use panicked::{RemotePanic, RemotePlace};
#[cfg(not(loom))]
pub use process::{Limits, Output, TerminalSignals};
/// Byte strings as one block: [`Bytes`](serde_bytes::Bytes) to send them, [`ByteBuf`](serde_bytes::ByteBuf) to send and to receive them, and
/// `#[serde(with = "coprocess::serde_bytes")]` for a field of type `Vec<u8>`.
#[cfg(not(loom))]
pub use serde_bytes;
#[cfg(not(loom))]
pub use settings::TypeCheck;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use start::fuzzing;
#[doc(hidden)]
#[cfg(not(loom))]
pub use start::init_before_main;
#[cfg(not(loom))]
pub use start::{Builder, fork, fork_with, init, parent, spawn};
#[cfg(not(loom))]
pub use stats::Stats;
#[cfg(not(loom))]
pub use time::deadline::current_deadline;
#[cfg(not(loom))]
pub use types::block::{self, Block, BlockRef, block};

// The documents are pages of the reference, too: there is nothing in these modules but text. Where a document links to another, the first target that is given for
// a link counts. Their examples compile and run elsewhere, in tests/documents, where they have the dependencies of a program.
#[cfg(all(doc, not(doctest), feature = "interface", feature = "tokio"))]
#[doc = "[cookbook]: crate::_cookbook\n[migration]: crate::_migration\n[safety]: crate::_safety\n[wire]: crate::_wire\n"]
#[doc = include_str!("../docs/guide.md")]
pub mod _guide {}

#[cfg(all(doc, not(doctest), feature = "interface", feature = "tokio"))]
#[doc = "[guide]: crate::_guide\n[migration]: crate::_migration\n"]
#[doc = include_str!("../docs/cookbook.md")]
pub mod _cookbook {}

#[cfg(all(doc, not(doctest), feature = "interface", feature = "tokio"))]
#[doc = "[cookbook]: crate::_cookbook\n"]
#[doc = include_str!("../docs/migration.md")]
pub mod _migration {}

#[cfg(all(doc, not(doctest), feature = "interface", feature = "tokio"))]
#[doc = include_str!("../docs/safety.md")]
pub mod _safety {}

#[cfg(all(doc, not(doctest), feature = "interface", feature = "tokio"))]
#[doc = include_str!("../docs/wire.md")]
pub mod _wire {}

/// Makes worker functions work in a test binary: write it once, at the top level of the file.
///
/// A test binary has no `main` of one's own to call [`init`] from. This line calls it before `main`, so that the binary, when executed again
/// as a worker, becomes the worker instead of running the tests.
///
/// Such a worker finds what a worker of a program with a `main` finds: its thread is named `main`,
/// writes to closed pipes are errors, streams that were closed lead to `/dev/null`, and an overflow
/// of its stack is reported. One difference is left: if a thread that the worker itself has started
/// overflows its stack, that ends the worker by SIGSEGV, without a report. With musl,
/// [`std::env::args`] is empty in such a worker; `/proc/self/cmdline` has its arguments.
///
/// # Examples
///
/// ```
/// coprocess::init_in_tests!();
///
/// // In a test:
/// # fn main() -> coprocess::Result<()> {
/// let co = coprocess::fork(|co| {
///     co.serve("add", |(a, b): (i64, i64)| a + b);
/// })?;
/// assert_eq!(co.call::<i64>("add", (1, 2))?, 3);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! init_in_tests {
    () => {
        const _: () = {
            extern "C" fn init_before_main() {
                $crate::init_before_main();
            }
            #[allow(
                unsafe_code,
                reason = "the section of functions that the C library calls before main, which take no arguments they need"
            )]
            #[used]
            #[unsafe(link_section = ".init_array")]
            static INIT: extern "C" fn() = init_before_main;
        };
    };
}
