//! Processes: starting workers, being one, and watching over each other's life.

mod builder;
#[expect(unsafe_code, reason = "a descriptor that is known by its number")]
mod entry;
#[expect(unsafe_code, reason = "the address of a function in another process of the same executable")]
mod function;
#[expect(unsafe_code, reason = "a descriptor that was received")]
mod handshake;
#[expect(unsafe_code, reason = "code between fork and exec, and a descriptor that was copied")]
mod launch;
#[expect(unsafe_code, reason = "system calls that no package wraps")]
mod pidfd;
#[expect(unsafe_code, reason = "ending the process at once")]
mod watcher;
mod worker;

pub use builder::{Builder, fork, spawn};
pub use entry::{init, parent};
pub(crate) use worker::Worker;

/// Tells a worker where its lifeline is: role, descriptor, inode.
const LIFELINE_VARIABLE: &str = "COPROCESS_LIFELINE";
const FUNCTION: &str = "function";
const PROGRAM: &str = "program";

/// What a worker process is to be.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// The same executable, running the function at this distance.
    Function(u64),
    /// A program that calls `parent`.
    Program,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Function(_) => FUNCTION,
            Role::Program => PROGRAM,
        }
    }
}
