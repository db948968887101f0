//! Events: backpressure, a slow peer, events that are dropped or refused, and floods.

#[path = "../common/mod.rs"]
mod common;

mod backpressure;
mod flood;
mod refusals;
mod slow_peer;
mod unheard;

coprocess::init_in_tests!();
