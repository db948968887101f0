//! Deals with the operating system: processes, their descriptors, and the signals that they handle.
//!
//! Nothing here knows of ends or handles. `start` makes ends out of processes.
//!
//! - [`child`]: a worker process, as its parent sees it.
//! - [`handshake`]: what parent and worker exchange before they share memory.
//! - [`identity`]: what this process is, and what it was started as.
//! - [`watch`]: the thread that notices the ends of processes, and callbacks of an end.
//! - [`descriptors`], [`pidfd`]: descriptors that the program may close, and those of processes.
//! - [`terminal_signals`], [`out_of_memory`]: handlers of signals in a worker.
//! - [`stack_overflow`]: what any thread of the library needs.

pub(crate) mod child;
pub(crate) mod descriptors;
pub(crate) mod handshake;
pub(crate) mod identity;
#[expect(unsafe_code, reason = "a handler of a signal, and the unwinder")]
pub(crate) mod out_of_memory;
#[expect(unsafe_code, reason = "system calls that no package wraps")]
pub(crate) mod pidfd;
#[expect(unsafe_code, reason = "a handler of signals, and the stack that it runs on")]
pub(crate) mod stack_overflow;
#[expect(unsafe_code, reason = "handlers of signals")]
mod terminal_signals;
pub(crate) mod watch;

pub use child::Limits;
pub(crate) use child::Worker;
pub use child::output::Output;
pub(crate) use descriptors::Descriptor;
#[cfg(fuzzing)]
pub(crate) use handshake::read_verdict;
pub(crate) use stack_overflow::{handle_overflows, prepare_thread};
pub use terminal_signals::TerminalSignals;
pub(crate) use watch::{Ended, Endings};
