//! What a worker prints, where the program wants to have it: a pipe for each stream, read by one thread of the library for all workers.
//!
//! The thread starts with the first pipe and ends with the last. Whatever a worker has written before its end is taken out of its pipes by the process watcher
//! before anything is told of the end: the thread may be busy in a callback.

mod captured;
mod reader;
mod source;
mod tail;

use std::fmt;
use std::sync::Arc;

pub(crate) use captured::{Captured, Streams, numbered};

/// What becomes of a standard stream of a worker: for [`Builder::stdout`](crate::Builder::stdout) and [`stderr`](crate::Builder::stderr).
///
/// `Tail` and `Lines` are pipes, read by one thread of the library for all workers of the process. A worker that writes faster than they are read waits in its write.
/// What children of the worker print goes there, too, also after its end, until the last of them has closed the stream.
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
/// use coprocess::{Builder, Output};
///
/// # coprocess::init();
/// let co = Builder::new()
///     .stdout(Output::Lines(Arc::new(|line| println!("worker: {line}"))))
///     .stderr(Output::Tail(4096))
///     .fork(|co| {
///         co.listen("fail", |()| panic!("as it was told"));
///     })?;
/// # Ok::<(), coprocess::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Output {
    /// The parent's own stream; with [`spawn`](crate::Builder::spawn), that of the [`Command`](std::process::Command).
    #[default]
    Inherit,
    /// It is thrown away.
    Null,
    /// The last bytes, at most this many, are kept for [`last_output`](crate::Coprocess::last_output).
    Tail(usize),
    /// Each line is handed to a callback, on a thread of the library: without its newline, and with U+FFFD in place of what is not UTF-8. A line of more than
    /// 64 KiB comes in pieces; what follows the last newline comes at the end of the output.
    ///
    /// As long as a callback runs, nothing else is read of any worker of this process: hand over what takes long. A panic of it is contained. The last
    /// 16 KiB are kept for [`last_output`](crate::Coprocess::last_output), too.
    Lines(Arc<dyn Fn(&str) + Send + Sync>),
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Inherit => f.write_str("Inherit"),
            Output::Null => f.write_str("Null"),
            Output::Tail(bytes) => f.debug_tuple("Tail").field(bytes).finish(),
            Output::Lines(_) => f.write_str("Lines(..)"),
        }
    }
}
