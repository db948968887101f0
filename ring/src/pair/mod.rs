//! Puts memory and doorbells of a pair together, and hands out what it takes to attach to it.

pub(crate) mod region;
#[cfg(not(loom))]
pub(crate) mod segment;
