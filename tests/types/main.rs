//! Types of values: a value arrives as the type that was sent, or the call is an error.

#[path = "../common/mod.rs"]
mod common;

mod beyond_serde;
mod blocks;
mod emitting_only;
mod forms;
#[cfg(feature = "interface")]
mod in_interfaces;
#[cfg(feature = "tokio")]
mod in_tasks;
mod kit;
mod many_names;
mod many_threads;
mod pairs;
mod random_types;
mod replaced_handlers;
mod ring_sizes;
mod shown_later;
mod unchecked;
mod untouched;

coprocess::init_in_tests!();
