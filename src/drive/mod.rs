//! Decides which thread of an end receives.
//!
//! - [`lead`]: one thread at a time has the right to receive.
//! - [`driver_slot`]: one thread at a time is the driver, which leads while no other thread waits.
//! - [`poll_bias`]: learns whether a task should look for its answer itself.
//! - [`ready_signal`]: makes a descriptor readable, so that an event loop polls.

#[cfg(not(loom))]
pub(crate) mod driver;
pub(crate) mod driver_slot;
pub(crate) mod lead;
#[cfg(not(loom))]
pub(crate) mod poll_bias;
#[cfg(not(loom))]
pub(crate) mod ready_signal;
