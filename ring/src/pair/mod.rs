//! A pair: the memory of its two rings with their doorbells, and what it takes to attach to it.

pub(crate) mod region;
#[cfg(not(loom))]
pub(crate) mod segment;
