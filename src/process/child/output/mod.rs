//! Captures what a worker prints, where the program wants it: a pipe for each stream.
//!
//! One thread of the library, the [reader](self::reader), reads the pipes of all workers. The
//! thread starts with the first pipe and ends with the last.
//!
//! When a worker has ended, the process watcher takes what the worker has written out of the pipes,
//! before anything is told of the end. The watcher does not leave that to the reader, which may be
//! busy in a callback.

mod captured;
mod destination;
mod reader;
mod source;
mod tail;

pub(crate) use captured::{Captured, Streams, numbered};
pub use destination::Output;
