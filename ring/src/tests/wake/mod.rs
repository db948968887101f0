//! Tests sleeping and waking.

#[cfg(not(loom))]
mod both_asleep;
#[cfg(not(loom))]
mod doorbells;
#[cfg(all(feature = "raw-sync", not(loom)))]
mod events;
#[cfg(loom)]
mod loom_doorbell;
#[cfg(loom)]
mod loom_event;
#[cfg(loom)]
mod loom_takeover;
