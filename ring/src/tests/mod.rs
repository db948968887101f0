//! Tests of the ring over heap memory and over a real segment.
//!
//! `heap_and_segment` has what every message and every end must do · `positions` the inside of the ring: laps, jumps, serials · `attach`,
//! `holes` and `padding` the segment · `at_once` and `ahead` what is sent without waiting, and seen before it is received · `doorbells` the sleeping · `both_asleep` that of both sides · `joined` messages from two places · `model_queue`
//! compares with a queue · `hostile` has the other side write what it likes · `misbehaviour` names what is found · `two_threads` runs for
//! real · `named` has segments with names, and `relayed` wake-ups by events · `loom_…` run under the model checker, by `RUSTFLAGS="--cfg loom" cargo test -p coprocess-ring --release --lib loom`.

#[cfg(not(loom))]
mod common;
#[cfg(loom)]
mod models;
mod queue;
mod shm;
mod wake;
