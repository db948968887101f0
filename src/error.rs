//! What can go wrong, as one typed error.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// The result of everything in this crate that can fail.
///
/// # Examples
///
/// ```no_run
/// fn title_of(co: &coprocess::Coprocess, file: &str) -> coprocess::Result<String> {
///     co.call("title_of", file)
/// }
/// ```
pub type Result<T> = std::result::Result<T, Error>;

/// As [`Result`], in one or two registers: for the steps of a call, where moving a whole [`Error`] about would cost more than the step.
pub(crate) type Step<T> = std::result::Result<T, Box<Error>>;

impl From<Box<Error>> for Error {
    fn from(error: Box<Error>) -> Error {
        *error
    }
}

/// Why an operation failed.
///
/// Each variant says what was and what was not done. `Display` is one lower-case line that tells everything, causes included;
/// [`source`](std::error::Error::source) is the underlying error where there is one, for programs to look at.
///
/// # Examples
///
/// ```
/// use coprocess::Error;
///
/// assert_eq!(Error::Timeout.to_string(), "the deadline passed before the operation was complete");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The other end serves no method of this name.
    #[error("method not found: `{method}` is not served by the other end")]
    MethodNotFound {
        /// The name that was called.
        method: String,
    },
    /// The handler on the other end returned an error, panicked, or dropped its [`Reply`](crate::Reply) unanswered.
    #[error("`{method}` failed on the other end: {message}")]
    Remote {
        /// The name that was called.
        method: String,
        /// What the handler said.
        message: String,
    },
    /// The other end has not answered as many calls as [`Builder::max_calls_served`](crate::Builder::max_calls_served) allows: it did not take this one. It may
    /// once it has answered some.
    #[error(
        "overloaded: the other end did not take the call of `{method}`; as many as Builder::max_calls_served allows are not answered yet"
    )]
    Overloaded {
        /// The name that was called.
        method: String,
    },
    /// The other side is gone. What it had sent before was delivered first.
    #[error("disconnected: {0}")]
    Disconnected(Reason),
    /// This end was closed, by [`close`](crate::Coprocess::close) on one of its handles.
    #[error("this end was closed")]
    Closed,
    /// The deadline of this operation passed. For a send: nothing was sent. For a call: its late answer will be dropped.
    #[error("the deadline passed before the operation was complete")]
    Timeout,
    /// There is no room in the ring right now, and the operation may not wait for it. Nothing was sent.
    #[error("the ring is full: try again later, or use the waiting form")]
    Full,
    /// As many calls of this end as [`Builder::max_calls_in_flight`](crate::Builder::max_calls_in_flight) allows are in flight. Nothing was sent.
    #[error("too many calls: {limit} are in flight, as many as Builder::max_calls_in_flight allows; wait for one of them")]
    TooManyCalls {
        /// Calls allowed.
        limit: usize,
    },
    /// The encoded message exceeds [`Builder::max_message`](crate::Builder::max_message), or a name is longer than 16 MiB, or the operation may not wait and the
    /// ring, even if it is empty, does not take as much at once. Nothing was sent.
    #[error(
        "message too large: {size} bytes or more where {max} are allowed; raise Builder::max_message, or Builder::ring_capacity for what may not wait"
    )]
    TooLarge {
        /// Bytes needed, as far as they were counted: encoding stops at the bound.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The arguments or the value could not be encoded. Nothing was sent.
    #[error("cannot encode the arguments or value of `{what}`: {source}")]
    Encode {
        /// The method or event.
        what: String,
        /// What serde or postcard said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer arrived but is not of the expected type. Only this message is affected.
    #[error("cannot decode what came for `{what}`: {source}; do both ends use the same types?")]
    Decode {
        /// The method or event.
        what: String,
        /// What serde or postcard said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The other side broke the protocol of the shared memory. The pair is closed.
    #[error("the other side misbehaved: {0}")]
    Misbehaved(coprocess_ring::Misbehaved),
    /// A worker function was to be forked, but [`init`](crate::init) has not run in this process.
    #[error("not initialized: call coprocess::init() as the first line of main() (in tests: coprocess::init_in_tests!())")]
    NotInitialized,
    /// [`parent`](crate::parent) was called in a process that no parent started.
    #[error("not a worker: no parent process started this program through coprocess")]
    NotAWorker,
    /// [`kill`](crate::Coprocess::kill) was called on the worker's end.
    #[error("not the parent: only the parent's end can kill the other side")]
    NotTheParent,
    /// This process was made by fork(2) of the one that the pair belongs to: only that one can use it.
    #[error("forked: the pair belongs to the process that this one was forked from; start another one here")]
    Forked,
    /// The worker could not be started. No process and no memory is left behind.
    #[error("cannot start the worker `{program}`: {cause}")]
    Fork {
        /// The program that was to run.
        program: String,
        /// What happened.
        #[source]
        cause: ForkError,
    },
    /// The other end does not serve an interface as this end's client has it; see [`mod@crate::interface`]. Nothing else was called.
    #[cfg(feature = "interface")]
    #[error("the interface `{interface}` does not fit: {cause}")]
    Interface {
        /// Its name.
        interface: &'static str,
        /// What does not fit.
        #[source]
        cause: Box<crate::interface::InterfaceError>,
    },
    /// The operating system refused something that a running pair needs, such as a thread or a futex.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why a worker could not be started.
///
/// # Examples
///
/// ```
/// use coprocess::{Error, ForkError};
///
/// let error = coprocess::spawn(std::process::Command::new("/no/such/program")).unwrap_err();
/// assert!(matches!(error, Error::Fork { cause: ForkError::Exec(_), .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForkError {
    /// Something the pair is made of could not be had: shared memory, a socket, a thread.
    #[error("cannot {action}: {source}")]
    Setup {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The program could not be executed: not found, not executable, too many processes, and the like.
    #[error("cannot execute it: {0}")]
    Exec(#[source] io::Error),
    /// The worker ended before it attached.
    #[error("it {} before it attached; does it call coprocess::parent(), or coprocess::init() first thing in main()?", describe(.0))]
    Ended(ExitStatus),
    /// The worker did not attach within [`Builder::fork_timeout`](crate::Builder::fork_timeout), and was killed.
    #[error("it did not attach within {0:?} and was killed; does it call coprocess::parent()?")]
    NeverAttached(Duration),
    /// The worker was built with another version of this library's shared-memory protocol.
    #[error("it speaks version {theirs} of the shared-memory protocol, this program version {ours}; build both with the same coprocess")]
    AbiMismatch {
        /// This side's version.
        ours: u32,
        /// The worker's version.
        theirs: u32,
    },
    /// The worker refused to attach, or its answer made no sense.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The [`Builder`](crate::Builder) asks for something that this program's coprocess was built without: the name of the feature of this package.
    #[error("this program's coprocess was built without its feature `{0}`; add it to the features of the dependency")]
    FeatureMissing(&'static str),
    /// The worker function is not part of the executable itself, so that a new process cannot find it.
    #[error("the worker function is not in the program's own executable; use spawn() with a worker program instead")]
    ForeignFunction,
}

impl ForkError {
    /// Makes one of what the system says of `action`.
    pub(crate) fn setup(action: &'static str) -> impl Fn(io::Error) -> ForkError {
        move |source| ForkError::Setup { action, source }
    }
}

/// How the other side went away.
///
/// # Examples
///
/// ```
/// use coprocess::Reason;
///
/// assert_eq!(Reason::Killed(9).to_string(), "the worker was killed by signal 9");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It exited with this code.
    Exited(i32),
    /// It was killed by this signal.
    Killed(i32),
    /// It was ended for having reached this limit of [`Limits`](crate::Limits), as far as that is certain: [`Killed`](Self::Killed) otherwise.
    ///
    /// Of processor time: by SIGXCPU. Of the size of a file: by SIGXFSZ. Of memory: it aborted where Rust gives up on an allocation that failed.
    LimitExceeded(crate::Limit),
    /// It closed its end in good order.
    Closed,
    /// The parent process ended without closing.
    ParentDied,
    /// It ended, and its exit status was taken by somebody else (a `wait` of this program for any child, or ignored SIGCHLD); or, told by
    /// [`on_end`](crate::Coprocess::on_end) on the worker's end, the parent broke the protocol.
    Unknown,
}

impl Reason {
    pub(crate) fn from_status(status: ExitStatus) -> Reason {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Reason::Exited(code),
            (None, Some(signal)) => Reason::Killed(signal),
            (None, None) => Reason::Unknown,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Exited(code) => write!(f, "the worker exited with code {code}"),
            Reason::Killed(signal) => write!(f, "the worker was killed by signal {signal}"),
            Reason::LimitExceeded(limit) => write!(f, "the worker was ended by its limit of {limit}"),
            Reason::Closed => f.write_str("the other end closed"),
            Reason::ParentDied => f.write_str("the parent process died"),
            Reason::Unknown => f.write_str("the other side ended, its exit status is not known"),
        }
    }
}

fn describe(status: &ExitStatus) -> String {
    match Reason::from_status(*status) {
        Reason::Exited(code) => format!("exited with code {code}"),
        Reason::Killed(signal) => format!("was killed by signal {signal}"),
        _ => format!("ended ({status})"),
    }
}
