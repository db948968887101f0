//! Message rings in shared memory, between two processes that do not trust each other.
//!
//! This crate moves bytes: a sealed [`Region`] of shared memory holds two rings, one for each direction; a [`Sender`] publishes messages
//! of any size, a [`Receiver`] takes them out, and a [`Watch`] sleeps until there is something to do. It knows nothing of names, types or
//! processes: that is the business of the crate `coprocess`, which is what programs use.
//!
//! *A semaphore says when to look; only the ring says what is there.*
//!
//! # What is assumed of the other side
//!
//! Nothing, with the default wake-ups; see [`Wakeup::Event`] for what the others take. Every bit of the region may change at any time to any value, and all of it is input: a word is loaded once, checked,
//! and then only the copy is used. A correct other side is needed for the *progress* of the exchange, never for the safety of this process's memory nor
//! for the end of its waits, which have deadlines. Once the other side is caught breaking the protocol ([`Misbehaved`]) the
//! channel is dead.
//!
//! # Files
//!
//! | folder | holds | may use |
//! |---|---|---|
//! | `spin/` | how long a wait spins before it sleeps | – |
//! | `shm/` | memory that two processes share: its layout, how it is made and mapped | – |
//! | `wake/` | puts a side to sleep and wakes it: doorbells, over a futex or an event | `shm` |
//! | `pair/` | the region of a pair: memory with doorbells; the segment: what it takes to attach | `shm`, `wake` |
//! | `queue/` | frames and messages through the rings, and what waits for them | `shm`, `wake`, `pair` |
//!
//! Each folder may use the files beside this one: `error`, `side` and `sync`. The table of memory orderings is in `queue`, the proof that no wake-up is
//! lost in `wake::doorbell`.
//!
//! Two seams have something different behind them for different systems: `pair::segment`, what memory is made of (`shm::memfd`, or `shm::named`), and
//! `wake::primitive`, what puts a side to sleep and wakes it (`wake::futex`, or `wake::event`). `docs/porting.md` in the repository says what another
//! system would have to put there.
//!
//! # Examples
//!
//! ```
//! use coprocess_ring::{Progress, Receiver, Region, Sender, Side};
//!
//! let (region, _file) = Region::create(4096)?;
//! let mut sender = Sender::new(&region, Side::Parent);
//! let mut receiver = Receiver::new(&region, Side::Worker, 1 << 20);
//!
//! assert_eq!(sender.send(&[7, 8], 16)?, Progress::Sent);
//! let mut message = Vec::new();
//! assert_eq!(receiver.receive(&mut message)?, Some(16));
//! assert_eq!(message, [7, 8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// No panic can be reached from the wire. Tests and models are not on it.
#![cfg_attr(
    not(any(loom, test)),
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

mod error;
mod pair;
mod queue;
mod shm;
mod side;
mod spin;
mod sync;
mod wake;

pub use error::{ChannelError, Misbehaved, SegmentError};
pub use pair::region::Region;
#[cfg(not(loom))]
pub use pair::segment::{Backend, MAX_NAME, Segment};
pub use queue::cursor::NextFrame;
pub use queue::progress::{Progress, Space};
pub use queue::receiver::Receiver;
pub use queue::sender::Sender;
pub use queue::watch::{PeerReport, Watch};
pub use shm::layout::{ABI_VERSION, MAX_CAPACITY, MIN_CAPACITY};
pub use side::Side;
pub use spin::strategy::WaitStrategy;
pub use spin::wait::Spin;
pub use wake::doorbell::Sleeper;
pub use wake::wakeup::Wakeup;

#[cfg(test)]
mod tests;
