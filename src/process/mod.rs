//! Processes: starting workers, being one, and watching over each other's life.

#[expect(unsafe_code, reason = "descriptors that were copied, and a limit that is asked for")]
mod above_streams;
#[expect(unsafe_code, reason = "the address of a function in another process of the same executable")]
mod arguments;
#[expect(unsafe_code, reason = "what the standard library does before main")]
mod before_main;
mod bell;
mod builder;
mod child;
#[expect(unsafe_code, reason = "a descriptor that is not closed where its value ends")]
mod descriptor;
mod ears;
mod ended;
mod entry;
#[expect(unsafe_code, reason = "the objects that the dynamic linker knows")]
mod executable;
#[expect(unsafe_code, reason = "code between fork and exec")]
mod execute;
#[expect(unsafe_code, reason = "the address of a function in another process of the same executable")]
mod function;
#[expect(unsafe_code, reason = "a descriptor that was received")]
mod handshake;
mod launch;
#[expect(unsafe_code, reason = "limits of another process")]
mod limits;
#[expect(unsafe_code, reason = "a descriptor that is known by its number, and the environment")]
mod mark;
#[expect(unsafe_code, reason = "a handler of a signal, and the unwinder")]
mod out_of_memory;
mod output;
#[expect(unsafe_code, reason = "system calls that no package wraps")]
mod pidfd;
#[expect(unsafe_code, reason = "what the kernel says of this process and its file")]
mod privileges;
#[expect(unsafe_code, reason = "handlers of signals")]
mod terminal;
#[expect(unsafe_code, reason = "ending the process at once")]
#[expect(clippy::arithmetic_side_effects, reason = "the clock tells of far more than the six centuries that a timeout can be")]
mod watcher;
#[expect(clippy::arithmetic_side_effects, reason = "the clock tells of far more than the six centuries that a timeout can be")]
mod worker;

pub(crate) use before_main::prepare_thread;
pub use builder::{Builder, fork, fork_with, spawn};
pub(crate) use descriptor::Descriptor;
pub(crate) use ended::{Ended, Endings};
#[cfg(fuzzing)]
pub(crate) use entry::attach_unwatched;
pub use entry::{init, init_before_main, parent};
#[cfg(fuzzing)]
pub(crate) use handshake::read_verdict;
pub use limits::Limits;
pub use output::Output;
pub use terminal::TerminalSignals;
pub(crate) use worker::Worker;
