//! Tests messages and frames.

#[cfg(not(loom))]
mod ahead;
#[cfg(not(loom))]
mod at_once;
#[cfg(not(loom))]
mod heap_and_segment;
#[cfg(not(loom))]
mod hostile;
#[cfg(not(loom))]
mod joined;
#[cfg(loom)]
mod loom_jump;
#[cfg(loom)]
mod loom_ring;
#[cfg(not(loom))]
mod misbehaviour;
#[cfg(not(loom))]
mod model_queue;
#[cfg(not(loom))]
mod positions;
#[cfg(not(loom))]
mod two_threads;
