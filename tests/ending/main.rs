//! The end of a pair: closing it, and the death or the stop of a process at any moment.

#[path = "../common/mod.rs"]
mod common;

mod close;
mod close_storm;
mod death;
mod ended;
mod kill_storm;
mod last_words;
mod orphans;
mod stopped;

coprocess::init_in_tests!();
