//! Starts workers, and makes a process a worker: what makes an end of a pair out of a process.
//!
//! In the parent: the [builder](self::builder) holds the settings, and [launch](self::launch)
//! starts the process. In the worker: [entry](self::entry) has `init` and `parent`,
//! [role](self::role) finds out what the process was started as, and [attach](self::attach) makes
//! its end.

mod attach;
#[expect(unsafe_code, reason = "what the standard library does before main")]
mod before_main;
mod builder;
mod entry;
#[cfg(fuzzing)]
pub mod fuzzing;
mod launch;
mod role;
mod watch_peer;
#[expect(
    unsafe_code,
    reason = "the address of a function in another process of the same executable"
)]
mod worker_function;

#[cfg(fuzzing)]
pub(crate) use attach::attach_unwatched;
pub use builder::{Builder, fork, fork_with, spawn};
pub use entry::{init, init_before_main, parent};
