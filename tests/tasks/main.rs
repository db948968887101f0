//! Calls, events and handlers of async tasks.

#[path = "../common/mod.rs"]
mod common;

mod async_calls;
mod async_events;
#[cfg(feature = "tokio")]
mod async_handlers;
mod futures;

coprocess::init_in_tests!();
