//! Encodes and decodes the bytes of one message.
//!
//! [`header`] defines the layout of a message and reads its header. [`message`] is the buffer of a
//! message. [`writer`] fills the buffer word by word. [`write_header`] writes the header, and
//! [`serializer`] writes the value. [`direct`] sends a long byte string in place, without a copy.
//! [`compose`] puts a whole message together. [`deserializer`] reads a value.

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
