//! Processes: starting workers, being one, and watching over each other's life.

pub(crate) mod child;
pub(crate) mod descriptors;
#[expect(unsafe_code, reason = "a handler that the C library calls in forked children")]
mod forked;
pub(crate) mod handshake;
pub(crate) mod identity;
#[expect(unsafe_code, reason = "a handler of a signal, and the unwinder")]
pub(crate) mod out_of_memory;
#[expect(unsafe_code, reason = "a pointer to a value that is never freed")]
mod own;
#[expect(unsafe_code, reason = "system calls that no package wraps")]
pub(crate) mod pidfd;
#[expect(unsafe_code, reason = "a handler of signals, and the stack that it runs on")]
mod stack_overflow;
#[expect(unsafe_code, reason = "handlers of signals")]
mod terminal_signals;
pub(crate) mod watch;

pub(crate) use child::Worker;
pub use child::output::Output;
pub use child::{Limit, Limits};
pub(crate) use descriptors::Descriptor;
pub(crate) use forked::Generation;
#[cfg(fuzzing)]
pub(crate) use handshake::read_verdict;
pub(crate) use own::Own;
pub(crate) use stack_overflow::{handle_overflows, prepare_thread};
pub use terminal_signals::TerminalSignals;
pub(crate) use watch::{Ended, Endings};
