//! Which thread receives.

#[cfg(not(loom))]
pub(crate) mod driver;
pub(crate) mod driver_slot;
pub(crate) mod lead;
#[cfg(not(loom))]
pub(crate) mod poll_bias;
#[cfg(not(loom))]
pub(crate) mod ready_signal;
