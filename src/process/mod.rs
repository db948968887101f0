//! Processes: starting workers, being one, and watching over each other's life.

#[expect(unsafe_code, reason = "a descriptor that was copied")]
mod above_streams;
#[expect(unsafe_code, reason = "the address of a function in another process of the same executable")]
mod arguments;
mod builder;
mod ended;
#[expect(unsafe_code, reason = "a descriptor that is known by its number")]
mod entry;
#[expect(unsafe_code, reason = "code between fork and exec")]
mod execute;
#[expect(unsafe_code, reason = "a handler that the C library calls in forked children")]
mod forked;
#[expect(unsafe_code, reason = "the address of a function in another process of the same executable")]
mod function;
#[expect(unsafe_code, reason = "a descriptor that was received")]
mod handshake;
mod launch;
#[expect(unsafe_code, reason = "limits of another process")]
mod limits;
#[expect(unsafe_code, reason = "a handler of a signal, and the unwinder")]
mod out_of_memory;
#[expect(unsafe_code, reason = "a place that each process of a line of forks has for itself")]
mod output;
#[expect(unsafe_code, reason = "system calls that no package wraps")]
mod pidfd;
#[expect(unsafe_code, reason = "ending the process at once")]
#[expect(clippy::arithmetic_side_effects, reason = "the clock tells of far more than the six centuries that a timeout can be")]
mod watcher;
#[expect(clippy::arithmetic_side_effects, reason = "the clock tells of far more than the six centuries that a timeout can be")]
mod worker;

pub use builder::{Builder, fork, fork_with, spawn};
pub(crate) use ended::{Ended, Endings};
#[cfg(fuzzing)]
pub(crate) use entry::attach_unwatched;
pub use entry::{init, parent};
pub(crate) use forked::Generation;
#[cfg(fuzzing)]
pub(crate) use handshake::read_verdict;
pub use limits::{Limit, Limits};
pub use output::Output;
pub(crate) use worker::Worker;

/// Tells a worker where its lifeline is: role, descriptor, inode, process id of the parent.
const LIFELINE_VARIABLE: &str = "COPROCESS_LIFELINE";
/// The roles: the same executable, to run a function; a program that calls `parent`.
const FUNCTION: &str = "function";
const PROGRAM: &str = "program";
