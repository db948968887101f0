//! What goes wrong, and what the program is told: each variant of the errors, their texts, and
//! panics in the program's own code.

#[path = "../common/mod.rs"]
mod common;

mod drops;
mod fork_errors;
mod panics;
mod texts;
mod variants;

coprocess::init_in_tests!();
