//! Types of values: a value arrives as the type that was sent, or the call is an error.

#[path = "../common/mod.rs"]
mod common;

mod blocks;
mod random_types;
mod types;

coprocess::init_in_tests!();
