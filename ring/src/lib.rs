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
//! Nothing. Every bit of the region may change at any time to any value, and all of it is input: a word is loaded once, checked,
//! and then only the copy is used. A correct other side is needed for the *progress* of the exchange, never for the safety of this process's memory nor
//! for the end of its waits, which have deadlines. Once the other side is caught breaking the protocol ([`Misbehaved`]) the
//! channel is dead.
//!
//! # Files
//!
//! `layout` draws the bytes · `region` makes and maps them · `ring` moves frames through slots, with `marks` · `copy` copies their payload · `futex` and `bell` sleep and wake ·
//! `wait` spins · `channel` makes messages of frames. The table of memory orderings is in `ring`, the proof that no wake-up is lost in
//! `bell`.
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

#[cfg(not(target_os = "linux"))]
compile_error!("coprocess runs on Linux only: it needs memfd, seals, shared futexes and pidfd");

mod bell;
mod channel;
mod copy;
mod error;
#[cfg_attr(not(loom), expect(unsafe_code, reason = "the futex system call"))]
mod futex;
#[cfg_attr(loom, expect(dead_code, reason = "no segments are made under the model checker"))]
mod layout;
mod marks;
mod quota;
mod region;
mod ring;
mod sync;
mod wait;
mod yielding;

pub use bell::Sleeper;
pub use channel::{ChannelError, Next, Progress, Receiver, Room, Sender, Watch};
pub use error::{Misbehaved, SegmentError};
pub use layout::{ABI_VERSION, MAX_CAPACITY, MIN_CAPACITY};
pub use region::{Region, Side};
pub use wait::{Spin, WaitStrategy};

#[cfg(test)]
mod tests;
