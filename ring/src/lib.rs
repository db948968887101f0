//! Message rings in shared memory, between two processes that do not trust each other.
//!
//! This crate moves bytes. A sealed [`Region`] of shared memory holds two rings, one for each
//! direction. A [`Sender`] publishes messages of any size, a [`Receiver`] takes them out, and a
//! [`Watch`] sleeps until there is something to do. The crate knows nothing of names, types or
//! processes: those belong to the crate `coprocess`, which programs use.
//!
//! *A doorbell says when to look; only the ring says what is there.*
//!
//! # What is assumed of the peer
//!
//! With the default wake-ups, nothing. [`Wakeup::Event`] lists what the other kind of wake-up
//! assumes.
//!
//! - Every bit of the region may change at any time to any value, and all of the region is input. A
//!   word is loaded once and checked; then only the copy is used.
//! - The *progress* of the exchange needs a correct peer. The safety of this process's memory and
//!   the end of its waits, which have deadlines, do not.
//! - Once the peer is caught breaking the protocol ([`Misbehaved`]), the channel is dead.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | side, peer | one process of a pair; the process on the other side |
//! | slot, position | 128 bytes of a ring; the number of a slot, counted without end |
//! | frame | what is published at once: a message or a fragment of one |
//! | lap | one way round the ring |
//! | jump | a return to the start of the ring before the end of the lap |
//! | skip | a frame without payload that leads behind the frames of the lap before |
//! | interior slot | a slot whose first word holds payload, not a frame word |
//! | space | slots that the producer may fill |
//! | doorbell | a word in the segment that says which thread of a side sleeps |
//! | mark | the value of a doorbell: a bit for each kind of sleeper |
//! | driver | the thread of a side that receives when no other thread of the side does |
//! | waiter | a thread that waits for something of its own |
//! | primitive | what puts a thread to sleep and wakes it: a futex or an event |
//! | proxy | what turns an event between two processes into wake-ups of threads |
//!
//! # Files
//!
//! | folder | holds | may use |
//! |---|---|---|
//! | `spin/` | how long a wait spins before it sleeps | – |
//! | `shm/` | memory that two processes share: its layout, how it is made and mapped | – |
//! | `wake/` | doorbells and primitives: puts a side to sleep and wakes it | `shm` |
//! | `pair/` | region: memory with doorbells; segment: what it takes to attach | `shm`, `wake` |
//! | `queue/` | frames and messages through the rings, and their watch | `shm`, `wake`, `pair` |
//!
//! Each folder may also use `error`, `side` and `sync`. The table of memory orderings is in
//! `queue`. The proof that no wake-up is lost is in `wake::doorbell`.
//!
//! Two files are seams, behind which different systems have different code:
//!
//! - `pair::segment`: what memory is made of (`shm::memfd`, or `shm::named`)
//! - `wake::primitive`: what puts a thread to sleep and wakes it (`wake::futex`, or `wake::event`)
//!
//! `docs/porting.md` in the repository says what another system must provide there.
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

// No input from the peer can reach a panic. Tests and models read no such input.
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
