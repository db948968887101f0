//! Processes: starting workers, being one, and watching over each other's life.

#[expect(unsafe_code, reason = "descriptors that were copied, and a limit that is asked for")]
pub(crate) mod above_streams;
pub(crate) mod arguments;
pub(crate) mod bell;
pub(crate) mod child;
#[expect(unsafe_code, reason = "a descriptor that is not closed where its value ends")]
pub(crate) mod descriptor;
pub(crate) mod ears;
mod ended;
#[expect(unsafe_code, reason = "the objects that the dynamic linker knows")]
pub(crate) mod executable;
#[expect(unsafe_code, reason = "code between fork and exec")]
pub(crate) mod execute;
#[expect(unsafe_code, reason = "a handler that the C library calls in forked children")]
mod forked;
pub(crate) mod function;
#[expect(unsafe_code, reason = "a descriptor that was received")]
pub(crate) mod handshake;
#[expect(unsafe_code, reason = "limits of another process")]
pub(crate) mod limits;
#[expect(unsafe_code, reason = "a descriptor that is known by its number, and the environment")]
pub(crate) mod mark;
#[expect(unsafe_code, reason = "a handler of a signal, and the unwinder")]
pub(crate) mod out_of_memory;
pub(crate) mod output;
#[expect(unsafe_code, reason = "a pointer to a value that is never freed")]
mod own;
#[expect(unsafe_code, reason = "system calls that no package wraps")]
pub(crate) mod pidfd;
#[expect(unsafe_code, reason = "what the kernel says of this process and its file")]
pub(crate) mod privileges;
#[expect(unsafe_code, reason = "a handler of signals, and the stack that it runs on")]
mod stack_overflow;
#[expect(unsafe_code, reason = "handlers of signals")]
pub(crate) mod terminal;
#[expect(unsafe_code, reason = "ending the process at once")]
#[expect(clippy::arithmetic_side_effects, reason = "the clock tells of far more than the six centuries that a timeout can be")]
pub(crate) mod watcher;
#[expect(clippy::arithmetic_side_effects, reason = "the clock tells of far more than the six centuries that a timeout can be")]
pub(crate) mod worker;

pub(crate) use descriptor::Descriptor;
pub(crate) use ended::{Ended, Endings};
pub(crate) use forked::Generation;
#[cfg(fuzzing)]
pub(crate) use handshake::read_verdict;
pub use limits::{Limit, Limits};
pub use output::Output;
pub(crate) use own::Own;
pub(crate) use stack_overflow::{handle_overflows, prepare_thread};
pub use terminal::TerminalSignals;
pub(crate) use watcher::News;
pub(crate) use worker::Worker;
