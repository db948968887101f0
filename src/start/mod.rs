//! Starting workers, and being one: what makes an end of a process.

#[expect(unsafe_code, reason = "what the standard library does before main")]
mod before_main;
mod builder;
mod entry;
mod launch;
mod watched;
#[expect(unsafe_code, reason = "the address of a function in another process of the same executable")]
mod worker_function;

pub use builder::{Builder, fork, fork_with, spawn};
#[cfg(fuzzing)]
pub(crate) use entry::attach_unwatched;
pub use entry::{init, init_before_main, parent};
