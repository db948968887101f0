//! Worker processes: how they start, what they inherit, what they may use, and what they leave
//! behind.

#[path = "../common/mod.rs"]
mod common;

// Events and named memory keep descriptors that nothing looks after: see "The second backend" in
// docs/safety.md.
#[cfg(not(coprocess_second_backend))]
mod closed_descriptors;
mod fork_with;
mod isolation;
mod leftovers;
mod limits;
mod original;
mod output;
mod scarcity;
mod signals;
mod spawn;
mod terminal;
mod without_pidfd;
mod worker_in_tests;

coprocess::init_in_tests!();
