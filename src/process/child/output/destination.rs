//! Says where the standard streams of a worker lead.

use std::fmt;
use std::sync::Arc;

/// Says where a standard stream of a worker leads: for [`Builder::stdout`](crate::Builder::stdout)
/// and [`stderr`](crate::Builder::stderr).
///
/// `Tail` and `Lines` are pipes. One thread of the library reads the pipes of all workers of the
/// process. A worker that writes faster than the thread reads waits in its write.
///
/// What children of the worker print goes there, too. The pipe stays open after the worker's end,
/// until the last of these children has closed the stream.
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
    /// The stream of the parent. With [`spawn`](crate::Builder::spawn), that of the
    /// [`Command`](std::process::Command).
    #[default]
    Inherit,
    /// `/dev/null`: the output is thrown away.
    Null,
    /// Keeps the last bytes, at most this many, for [`last_output`](crate::Coprocess::last_output).
    Tail(usize),
    /// Hands each line to a callback, on a thread of the library.
    ///
    /// The line comes without its newline, and with U+FFFD in place of bytes that are not UTF-8. A
    /// line of more than 64 KiB comes in pieces. Text after the last newline comes at the end of
    /// the output.
    ///
    /// While a callback runs, the library reads no output of any worker of this process. So hand
    /// work that takes long to another thread. A panic of the callback is caught.
    ///
    /// The last 16 KiB are also kept for [`last_output`](crate::Coprocess::last_output).
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
