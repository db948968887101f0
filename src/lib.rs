//! Calls another process on the same host as if it were a local object.
//!
//! A **coprocess** is a pair of connected ends. One end belongs to the parent process, and the
//! other to a worker process that the parent starts. Each end's counterpart is its *peer*. Both
//! ends are alike:
//!
//! - [`call`](Coprocess::call) sends arguments to the peer, and waits for the result.
//! - [`emit`](Coprocess::emit) sends an event, one way.
//! - [`serve`](Coprocess::serve) and [`listen`](Coprocess::listen) handle the peer's calls and
//!   events.
//!
//! Messages are encoded with [postcard](https://docs.rs/postcard) and travel through rings in
//! shared memory. While both ends are busy, no system call is made. If a worker crashes, its parent
//! gets an `Err`, and goes on.
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
//! [`fork`] runs a function of this program in a process of its own. [`spawn`] runs another
//! program, which calls [`parent`]. [`Builder`] has the settings. Tests have no `main`: in each
//! test binary, write the line [`init_in_tests!`] in place of [`init`].
//!
//! # Features
//!
//! No feature is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `interface` | typed clients and servers, made from a trait: `#[coprocess::interface]` |
//! | `tokio` | `async` handlers, as tasks of a tokio runtime: `serve_async`, `try_serve_async` |
//! | `named` | shared memory with names, where memfd is refused: [`Backend::Named`] |
//! | `raw-sync` | wake-ups by events in place of futexes: [`Wakeup::Event`] |
//!
//! Awaiting calls and events needs no feature.
//!
//! # Messages
//!
//! Arguments and values are anything that serde can encode in a format that is not self-describing.
//! No arguments are `()`, one argument is the value, and several are a tuple. Byte strings go fast
//! as [`serde_bytes`] types, and arrays of numbers as a [`Block`].
//!
//! `#[serde(untagged)]`, `#[serde(flatten)]`, `skip_serializing_if` and `serde_json::Value` do not
//! work in such formats. Values of a recursive type arrive if they are nested at most 128 deep.
//!
//! Both ends must use the same types. If they do not, the result is [`Error::Types`], and not
//! another value. An untyped `5` is an `i32`: if the peer takes a `u64`, the error says to write
//! `5_u64`. The ends compare the first values of each name and type, and later ones now and then:
//! [`TypeCheck`]. Messages of [bytes](Coprocess::call_bytes) have no types. A [`Method`] or a
//! [`Topic`] declares the types once, for both ends.
//!
//! # Large values
//!
//! serde hands over a `Vec<u8>` or a `Vec<f32>` one element at a time. These types go as one block,
//! by a copy:
//!
//! | to send | to receive |
//! |---|---|
//! | `serde_bytes::Bytes::new(&bytes)`, `serde_bytes::ByteBuf` | `serde_bytes::ByteBuf` |
//! | [`block(&numbers)`](block()), [`Block<f32>`](Block) | [`Block<f32>`](Block) |
//! | `&text` | `String` |
//! | bytes of a codec of your own, by [`call_bytes`] | `&[u8]`, by [`serve_bytes`] |
//! | bytes of a codec of your own, by [`emit_bytes`] | `&[u8]`, by [`listen_bytes`] |
//!
//! [`call_bytes`]: Coprocess::call_bytes
//! [`emit_bytes`]: Coprocess::emit_bytes
//! [`serve_bytes`]: Coprocess::serve_bytes
//! [`listen_bytes`]: Coprocess::listen_bytes
//!
//! For a field of a struct, write
//!
//! - `#[serde(with = "coprocess::serde_bytes")] data: Vec<u8>`
//! - `#[serde(with = "coprocess::block")] samples: Vec<f32>`
//!
//! ```
//! use coprocess::serde_bytes::{ByteBuf, Bytes};
//!
//! coprocess::init_in_tests!();
//!
//! # fn main() -> coprocess::Result<()> {
//! let co = coprocess::fork(|co| {
//!     co.serve("length", |data: ByteBuf| data.len());
//!     co.serve("mean", |samples: coprocess::Block<f64>| {
//!         samples.iter().sum::<f64>() / samples.len() as f64
//!     });
//! })?;
//! assert_eq!(co.call::<usize>("length", Bytes::new(&[7; 100_000]))?, 100_000);
//! assert_eq!(co.call::<f64>("mean", coprocess::block(&[1.0_f64, 3.0]))?, 2.0);
//! # Ok(())
//! # }
//! ```
//!
//! A block or a byte string that is the whole message is not even encoded: it is copied into the
//! ring from where it lies. Each thread reuses the buffers of messages up to 256 KiB. So a steady
//! stream of messages of one size allocates only what its own types allocate, if the stream
//! consists of
//!
//! - [`call`](Coprocess::call)s that [`serve`](Coprocess::serve) answers,
//! - events that [`emit`](Coprocess::emit) or [`event`](Coprocess::event) sends to
//!   [`listen`](Coprocess::listen),
//! - or bytes, sent likewise, with [`call_bytes_into`](Coprocess::call_bytes_into).
//!
//! A part that outlives the method or handler that makes it costs a few small allocations for each
//! call or event:
//!
//! - the handle of [`start`](Coprocess::start),
//! - the reply of [`serve_deferred`](Coprocess::serve_deferred),
//! - the callback of [`call_with`](Coprocess::call_with),
//! - the future of [`call_async`](Coprocess::call_async) and [`emit_async`](Coprocess::emit_async),
//! - the task of `serve_async`.
//!
//! # When the peer is slow
//!
//! [`emit`](Coprocess::emit) waits for space in the ring. [`Coprocess::event`] returns a handle
//! with other choices: fail, drop the newest value, or keep only the latest value, a gauge.
//! [`Builder::max_calls_in_flight`] and [`Builder::max_calls_served`] bound how many calls may be
//! in flight.
//!
//! # Order
//!
//! What one end sends, from any of its threads, its peer receives in the order of sending. Handlers
//! start in that order, one at a time unless nested. So a call after a batch of events confirms
//! that the whole batch was handled. Only a gauge sends a value later than it was emitted:
//! [`Backpressure::KeepLatest`].
//!
//! # Tasks
//!
//! [`Coprocess::call_async`] is awaited in any runtime. If the peer may be slow, await
//! [`Coprocess::emit_async`], too. With the feature `tokio`, `Coprocess::serve_async` takes `async`
//! handlers. An event loop of another kind watches the descriptor of [`Coprocess::readiness`].
//!
//! # Deadlines and cancellation
//!
//! A call takes its deadline along. Its handler can ask for the deadline ([`current_deadline`],
//! [`Reply::deadline`]), and the calls that the handler makes have the deadline, too.
//!
//! A caller gives up a call at its deadline, or by dropping its future. Then the peer is told, and
//! skips the call if its turn has not come. If the handler has started, the handler can ask
//! ([`Reply::is_wanted`]). Dropping a [`Pending`] does not cancel the call; the answer is
//! discarded.
//!
//! # What is trusted
//!
//! The library trusts the kernel and this process. Everything that comes from the peer is input: it
//! is copied once and checked, and only the copy is used. If a peer breaks the protocol, the pair
//! is closed, with [`Error::Misbehaved`].
//!
//! A small message cannot ask for much memory. A value is refused, as one that does not decode, in
//! two cases:
//!
//! - Its options, enums, sequences and maps are nested more than 128 deep.
//! - Its sequences and maps have, in all, over 65,536 elements more than the message has bytes.
//!   That takes elements that are encoded in no bytes.
//!
//! So a message costs at most its own size, or those 65,536 elements, times the size of the
//! elements of the types that receive it.
#![cfg_attr(
    all(doc, feature = "interface", feature = "tokio"),
    doc = "

# Further reading

- [The guide](_guide): from the first call to typed, pipelined and awaited calls, in ten short
  steps.
- [The cookbook](_cookbook): whole programs, each with its pitfalls.
- [Migration](_migration): what to write in place of what other libraries have.
- [Waits](_waits): what ends each wait, order, and which thread does what.
- [Safety](_safety): what is promised against a worker that crashes or turns hostile, what the
  promises rest on, and what shows them.
- [The wire format](_wire): every byte, for ends in other languages.
"
)]
//! # Glossary
//!
//! One word for one thing, in these pages and in the sources.
//!
//! | word | meaning |
//! |---|---|
//! | parent | the process that starts a worker |
//! | worker | the process that a parent starts |
//! | end | one of the two halves of a pair, in one process |
//! | pair | the two connected ends, and the shared memory between them |
//! | peer | the other end of a pair, or its process |
//! | caller | the thread or task that makes a call |
//! | handler | the function that an end runs for a call or an event of its peer |
//! | leader | the thread of an end that receives messages, for all threads of the end |
//! | follower | a thread that waits while another leads: for its own answer, or for the lead |
//! | driver | the library's thread that leads while no other waits; one in `run` takes its place |
//! | driver slot | the right to be the driver, or to take its place: at most one thread has it |
//! | waiter | a thread that waits for something of its own: an answer, space, the end of the pair |
//! | park | to sleep as the driver, while any thread that waits may take the lead |
//! | interrupt | to wake a thread that sleeps on the ring, to look at deadlines and state again |
//! | doorbell | a word in shared memory that says which thread of an end sleeps |
//! | ring | the queue in shared memory for the messages of one direction |
//! | slot | 128 bytes of a ring |
//! | publish | to make a message in the ring visible to the peer |
//! | space | slots of a ring that its sender may fill |
//! | outbox | what an end sends: it decides which message is published next |
//! | queued message | a message that waits in the process for space; its sender does not wait |
//! | turn | the right of one thread to publish; other senders wait for it, or queue |
//! | high watermark | the bytes of unsent answers above which an end takes no more calls |
//! | inbox | what an end receives: the ring and the backlog |
//! | backlog | messages that were moved out of the ring and wait for a handler |
//! | in flight | said of a call: sent, or about to be sent, and its result not taken yet |
//! | served later | said of a call: answered through a [`Reply`], after its handler has returned |
//! | gauge | an event of which only the latest value is kept |
//! | kinds | the description of a value: what it is made of, in serde's data model |
//! | introduce | to tell the peer a number that stands for a name and kinds |
//! | sent type | a name and a type that this end sends, with the numbers introduced for it |
//! | peer type | a name and kinds that the peer has introduced, by its number |
//! | terminal error | the error of each operation once the pair has ended |
//! | protocol violation | what no honest peer sends: it closes the pair, [`Error::Misbehaved`] |
// No input from the peer can reach a panic. Tests read no such input.
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
// Under the model checker, only the modelled parts are compiled, for their models.
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
#[cfg(all(test, not(loom)))]
mod rig;
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

/// Has as much of an end as the models need.
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
/// Plain data, for a [`Block`] of structs.
///
/// The structs derive [`Pod`](bytemuck::Pod) and [`Zeroable`](bytemuck::Zeroable) with
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
/// Byte strings as one block.
///
/// - [`Bytes`](serde_bytes::Bytes) sends them.
/// - [`ByteBuf`](serde_bytes::ByteBuf) sends and receives them.
/// - `#[serde(with = "coprocess::serde_bytes")]` is for a field of type `Vec<u8>`.
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

// The documents are also pages of the reference: these modules hold only text. If a document links
// to another document, the first target that is given for the link counts. The examples of the
// documents compile and run elsewhere, in tests/documents, where they have the dependencies of a
// program.
#[cfg(all(doc, not(doctest), feature = "interface", feature = "tokio"))]
#[doc = "[cookbook]: crate::_cookbook\n[migration]: crate::_migration\n"]
#[doc = "[safety]: crate::_safety\n[waits]: crate::_waits\n[wire]: crate::_wire\n"]
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
#[doc = "[guide]: crate::_guide\n[named]: crate::_safety#the-second-backend\n"]
#[doc = "[relays]: crate::_migration#relays\n[safety]: crate::_safety\n"]
#[doc = include_str!("../docs/waits.md")]
pub mod _waits {}

#[cfg(all(doc, not(doctest), feature = "interface", feature = "tokio"))]
#[doc = include_str!("../docs/wire.md")]
pub mod _wire {}

/// Makes worker functions work in a test binary: write it once, at the top level of the file.
///
/// A test binary has no `main` that could call [`init`]. This line calls `init` before `main`. So
/// if the binary is executed again as a worker, it becomes the worker instead of running the tests.
///
/// Such a worker finds what a worker of a program with a `main` finds:
///
/// - Its thread is named `main`.
/// - Writes to closed pipes are errors.
/// - Streams that were closed lead to `/dev/null`.
/// - An overflow of its stack is reported.
///
/// One difference is left. If a thread that the worker itself has started overflows its stack, the
/// worker ends by SIGSEGV, without a report. With musl, [`std::env::args`] is empty in such a
/// worker; `/proc/self/cmdline` has its arguments.
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
                reason = "the C library runs this section before main; the arguments are not needed"
            )]
            #[used]
            #[unsafe(link_section = ".init_array")]
            static INIT: extern "C" fn() = init_before_main;
        };
    };
}
