//! Tests the rings over heap memory and over real segments.
//!
//! | file | tests |
//! |---|---|
//! | `shm/attach`, `holes`, `padding` | the segment: what is refused, its memory, its bytes |
//! | `shm/named` | segments with names |
//! | `wake/doorbells`, `both_asleep` | sleeping, by a futex; sleeping of both sides |
//! | `wake/events` | wake-ups by events |
//! | `queue/heap_and_segment` | what every message and every end must do |
//! | `queue/positions` | the inside of the ring: laps, jumps, serials |
//! | `queue/at_once`, `ahead` | what is sent without waiting; what is seen before it is received |
//! | `queue/joined` | messages from two places |
//! | `queue/model_queue` | a comparison with a queue |
//! | `queue/hostile`, `misbehaviour` | a peer that writes what it likes; the name of each breach |
//! | `queue/two_threads` | two threads and real sleep |
//!
//! The files `loom_…` run under the model checker:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p coprocess-ring --release --lib loom
//! ```

#[cfg(not(loom))]
mod common;
#[cfg(loom)]
mod models;
mod queue;
mod shm;
mod wake;
