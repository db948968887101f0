//! Keeps the books of calls, without input or output.

#[cfg(not(loom))]
pub(crate) mod answer;
#[cfg(not(loom))]
pub(crate) mod cancels;
#[cfg(not(loom))]
pub(crate) mod ids;
pub(crate) mod in_flight;
#[cfg(not(loom))]
pub(crate) mod peer_calls;
#[cfg(not(loom))]
pub(crate) mod served_later;
#[cfg(not(loom))]
pub(crate) mod timers;
