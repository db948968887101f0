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
//! `layout` draws the bytes · `region` is the memory, `mapped` its addresses · `ring` moves frames through slots, with `marks` · `copy` copies their
//! payload · `bell` sleeps and wakes · `wait` spins · `channel` makes messages of frames. The table of memory orderings is in `ring`, the proof that no
//! wake-up is lost in `bell`.
//!
//! Two seams have something different behind them for different systems: `segment`, what memory is made of (`memfd`, or `named`), and `wakeup`,
//! what puts a side to sleep and wakes it (`futex`, or `event` with `relay` and `lot`). `docs/porting.md`
//! in the repository says what another system would have to put there.
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

mod bell;
mod channel;
mod copy;
mod error;
#[cfg(any(feature = "raw-sync", all(loom, test)))]
#[cfg_attr(not(loom), expect(unsafe_code, reason = "events in shared memory"))]
mod event;
#[cfg_attr(not(loom), expect(unsafe_code, reason = "the futex system call"))]
mod futex;
#[cfg_attr(loom, expect(dead_code, reason = "no segments are made under the model checker"))]
mod layout;
#[cfg(any(feature = "raw-sync", all(loom, test)))]
mod lot;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "forming references to the atomics in mapped memory")]
mod mapped;
mod marks;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "mapping memory")]
mod memfd;
#[cfg(all(feature = "named", not(loom)))]
#[expect(unsafe_code, reason = "memory that a package has mapped")]
mod named;
mod quota;
mod region;
#[cfg(any(feature = "raw-sync", all(loom, test)))]
mod relay;
mod ring;
#[cfg(not(loom))]
mod segment;
mod sync;
mod wait;
mod wakeup;
mod yielding;

pub use bell::Sleeper;
pub use channel::{ChannelError, Next, PeerReport, Progress, Receiver, Room, Sender, Watch};
pub use error::{Misbehaved, SegmentError};
pub use layout::{ABI_VERSION, MAX_CAPACITY, MIN_CAPACITY};
pub use region::{Region, Side};
#[cfg(not(loom))]
pub use segment::{Backend, MAX_NAME, Segment};
pub use wait::{Spin, WaitStrategy};
pub use wakeup::Wakeup;

#[cfg(test)]
mod tests;
