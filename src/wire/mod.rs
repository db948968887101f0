//! The bytes of one message.
//!
//! [`header`] has the layout, and reads it. [`message`] is the buffer of a message, [`writer`] fills
//! it word by word, and [`write_header`] and [`serializer`] say with what. [`direct`] sends a long
//! byte string from where it lies. [`compose`] puts a whole message together. [`deserializer`] reads
//! a value.

#[cfg(not(loom))]
pub(crate) mod compose;
#[cfg(not(loom))]
pub(crate) mod deserializer;
#[cfg(not(loom))]
pub(crate) mod direct;
pub(crate) mod header;
#[cfg(not(loom))]
pub(crate) mod message;
#[cfg(not(loom))]
pub(crate) mod mismatch;
#[cfg(not(loom))]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "it counts bytes of this process's own values, in memory"
)]
pub(crate) mod serializer;
#[cfg(not(loom))]
pub(crate) mod write_header;
#[cfg(not(loom))]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "it counts bytes of this process's own values, in memory"
)]
pub(crate) mod writer;

#[cfg(all(test, not(loom)))]
mod tests;
