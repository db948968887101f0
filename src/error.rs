//! What can go wrong, as one typed error.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::{fmt, io};

use crate::limits::{MAX_NAME, PATIENCE};
use crate::panicked::{RemotePanic, without_backtrace};
use crate::text::OneLine;

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
/// Each variant says what was and what was not done. `Display` is one lower-case line that tells
/// everything, causes included, but for the backtrace of a [panic](Error::remote_panic);
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
    ///
    /// `message` is the handler's own text, of any length. `Display` shows one line of at most
    /// 4 KiB of it, with control characters escaped. For a panic, `message` holds the place and the
    /// backtrace, too, as far as they are known: [`remote_panic`](Error::remote_panic) takes them apart.
    #[error("`{method}` failed on the other end: {}", OneLine(without_backtrace(message)))]
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
    /// The ring is full, the other end has registered no handler, and it has taken nothing for
    /// 5 seconds. Nothing was sent.
    ///
    /// The event can be emitted again. Until the other end takes something or registers a handler,
    /// that fails at once. A worker that prepares for long should register its handlers first.
    ///
    /// Events that the other end takes and drops, for want of a handler, are no error:
    /// [`Stats::events_unheard_by_peer`](crate::Stats::events_unheard_by_peer) counts them.
    #[error(
        "`{event}` was not sent: the ring is full, the other end has registered no handler and has taken nothing for {} s; \
         it must listen, or call run or poll", PATIENCE.as_secs()
    )]
    Unheard {
        /// The name of the event.
        event: String,
    },
    /// As many calls of this end as [`Builder::max_calls_in_flight`](crate::Builder::max_calls_in_flight) allows are in flight. Nothing was sent.
    #[error(
        "too many calls: {limit} are in flight, as many as Builder::max_calls_in_flight allows; wait for one of them"
    )]
    TooManyCalls {
        /// Calls allowed.
        limit: usize,
    },
    /// The encoded message, name included, exceeds
    /// [`Builder::max_message`](crate::Builder::max_message); or the name has 16 MiB or more; or
    /// the operation may not wait, and even an empty ring does not take as much at once. Nothing
    /// was sent.
    #[error("{}", too_large(*size, *max))]
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
    /// What was sent is not of the type that the other end takes.
    ///
    /// This value was not read as one of another type. Values that were not looked at may have been:
    /// see [`TypeCheck`](crate::TypeCheck).
    ///
    /// - If the arguments of a call differ, the handler did not run.
    /// - If a result differs, the handler did run. `wanted` then ends with "as its result".
    /// - If the value of an event differs, nothing was sent. An earlier event of this name, type
    ///   and content was not handled.
    ///
    /// Both texts show types as Rust writes them. `_` is what is not known, and `..` what follows
    /// the place where the two differ. An integer literal without a type is an `i32`.
    #[error("`{name}` takes {wanted}, but was sent {sent}{}", hint(sent, wanted))]
    Types {
        /// The method or event.
        name: String,
        /// The type of what was sent.
        sent: String,
        /// The type that was wanted.
        wanted: String,
    },
    /// The other side broke the protocol of the shared memory. The pair is closed.
    #[error("the other side misbehaved: {0}")]
    Misbehaved(coprocess_ring::Misbehaved),
    /// A worker function was to be forked, but [`init`](crate::init) has not run in this process.
    #[error(
        "not initialized: call coprocess::init() as the first line of main() (in tests: coprocess::init_in_tests!())"
    )]
    NotInitialized,
    /// [`parent`](crate::parent) was called in a process that no parent started.
    #[error(
        "not a worker: no parent process started this program through coprocess, or its socket was closed, or another process has become the worker"
    )]
    NotAWorker,
    /// [`kill`](crate::Coprocess::kill) was called on the worker's end.
    #[error("not the parent: only the parent's end can kill the other side")]
    NotTheParent,
    /// This process was made by fork(2) of the one that the pair belongs to: only that one can use it.
    #[error(
        "forked: the pair belongs to the process that this one was forked from; start another one here"
    )]
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
        cause: Box<InterfaceError>,
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

impl Error {
    /// Returns what is known of the panic, if this is the [`Error::Remote`] of a handler that
    /// panicked.
    ///
    /// All of it is read from the error's `message`. An untrusted peer writes there what it likes,
    /// so it may be wrong.
    ///
    /// # Examples
    ///
    /// ```
    /// coprocess::init_in_tests!();
    ///
    /// # fn main() -> coprocess::Result<()> {
    /// let co = coprocess::fork(|co| {
    ///     co.serve("head", |list: Vec<u64>| list[0]);
    /// })?;
    /// let error = co.call::<u64>("head", Vec::<u64>::new()).unwrap_err();
    /// let panic = error.remote_panic().expect("it has panicked");
    /// assert!(panic.message().starts_with("index out of bounds"));
    /// assert!(panic.place().expect("a worker tells it").file().ends_with(".rs"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn remote_panic(&self) -> Option<RemotePanic<'_>> {
        match self {
            Error::Remote { message, .. } => RemotePanic::read(message),
            _ => None,
        }
    }
}

/// Says what to write if a literal has taken the type that literals have.
fn hint(sent: &str, wanted: &str) -> String {
    const NUMBERS: [&str; 12] =
        ["i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64", "u128", "f32", "f64"];
    let Some((at, _)) =
        sent.bytes().zip(wanted.bytes()).enumerate().find(|(_, (sent, wanted))| sent != wanted)
    else {
        return String::new();
    };
    // Back to where the word starts: i32 and i8 start alike.
    let start = sent
        .get(..at)
        .map_or(0, |before| before.trim_end_matches(|c: char| c.is_alphanumeric()).len());
    let word = |text: &str| -> String {
        text.get(start..).unwrap_or_default().chars().take_while(|c| c.is_alphanumeric()).collect()
    };
    let (sent, wanted) = (word(sent), word(wanted));
    let literal = match sent.as_str() {
        "i32" => "5",
        "f64" => "0.5",
        _ => return String::new(),
    };
    if NUMBERS.contains(&wanted.as_str()) && (sent == "i32" || wanted == "f32") {
        format!(": write {literal}_{wanted}")
    } else {
        String::new()
    }
}

/// Says what to do. For a name that is longer than any may be, no setting helps.
fn too_large(size: usize, max: usize) -> String {
    if max == MAX_NAME {
        return format!(
            "name too long: {size} bytes where the name of a method or event may have {max}; shorten it"
        );
    }
    format!(
        "message too large: {size} bytes or more, its name included, where {max} are allowed; \
         raise Builder::max_message, or Builder::ring_capacity for what may not wait, or shorten the name or the value"
    )
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
    #[error(
        "it speaks version {theirs} of the shared-memory protocol, this program version {ours}; build both with the same coprocess"
    )]
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
    #[error(
        "this program's coprocess was built without its feature `{0}`; add it to the features of the dependency"
    )]
    FeatureMissing(&'static str),
    /// The worker function is not part of the executable itself, or this library is not: in a plug-in, for one. A new process would run the
    /// `main` of the executable, which knows nothing of the function.
    #[error(
        "the worker function, or this copy of coprocess, is not in the program's own executable, but in a library that it has loaded; use spawn() with a worker program instead"
    )]
    ForeignFunction,
    /// The program was started through another one, such as the dynamic linker, which a new process would run in its place.
    #[error(
        "the program was started through `{}`, which would run in its place; start it directly, or use spawn() with a worker program", .0.display()
    )]
    ForeignExecutable(PathBuf),
    /// This process was itself started by [`spawn`](crate::spawn), and has not become a worker: it has not called
    /// [`parent`](crate::parent) yet, or that has failed. Otherwise a program that starts itself would do so for ever.
    #[error(
        "this process was itself started by spawn() and has not called coprocess::parent() yet, or that has failed; call that first"
    )]
    Unclaimed,
    /// The worker would run, or does run, in the system's secure-execution mode, since the program gains rights by being executed (file
    /// capabilities, a set-user-ID bit), or its effective user is not its real one. It must not trust its environment, which tells it that it is a worker.
    #[error(
        "its executable gains rights when it is executed (file capabilities, set-user-ID), or its effective user or group is not the real one: such a process must not trust what starts it; give up the rights, or use spawn() with a program that has none"
    )]
    SecureExecution,
    /// The [`Builder`](crate::Builder) has variables for the environment, and [`spawn`](crate::Builder::spawn) does not use them. Nothing was started.
    #[error(
        "variables of Builder::env are for fork(); give the Command for spawn() its own, by Command::env"
    )]
    EnvironmentOfSpawn,
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
    LimitExceeded(Limit),
    /// It closed its end in good order.
    Closed,
    /// The parent process ended without closing.
    ParentDied,
    /// This process closed descriptors of the library, as daemons and sandboxes do with
    /// `close_range`. Without them the other side cannot be watched: all pairs of this process ended.
    /// Close descriptors before the first pair starts, or leave those of the library open.
    DescriptorsClosed,
    /// It ended, and its exit status was taken by somebody else (a `wait` of this program for any child, or ignored SIGCHLD); or, told by
    /// [`on_end`](crate::Coprocess::on_end) on the worker's end, the parent broke the protocol.
    Unknown,
}

/// Which limit: one of [`Limits`](crate::Limits).
///
/// # Examples
///
/// ```
/// assert_eq!(coprocess::Limit::CpuTime.to_string(), "processor time");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::memory`](crate::Limits::memory).
    Memory,
    /// [`Limits::cpu_time`](crate::Limits::cpu_time).
    CpuTime,
    /// [`Limits::open_files`](crate::Limits::open_files).
    OpenFiles,
    /// [`Limits::processes`](crate::Limits::processes).
    Processes,
    /// [`Limits::file_size`](crate::Limits::file_size).
    FileSize,
    /// [`Limits::core`](crate::Limits::core).
    Core,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Memory => "memory",
            Limit::CpuTime => "processor time",
            Limit::OpenFiles => "open files",
            Limit::Processes => "processes",
            Limit::FileSize => "file size",
            Limit::Core => "core dumps",
        })
    }
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
            Reason::DescriptorsClosed => f.write_str(
                "this process closed descriptors of the library, and can no longer watch the other side; leave them open, or close before pairs start",
            ),
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

/// Why an interface cannot be used as the client has it; see [`mod@crate::interface`].
///
/// # Examples
///
/// ```no_run
/// use coprocess::interface::InterfaceError;
///
/// #[coprocess::interface]
/// trait Clock {
///     fn now(&self) -> u64;
/// }
///
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// match ClockClient::new(&co) {
///     Err(coprocess::Error::Interface { cause, .. }) if matches!(*cause, InterfaceError::NotServed) => println!("there is no clock"),
///     clock => println!("{}", clock?.now()?),
/// }
/// # Ok::<(), coprocess::Error>(())
/// ```
#[cfg(feature = "interface")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// The other end serves no interface of this name.
    #[error("the other end does not serve it; it must before a client asks")]
    NotServed,
    /// The other end serves the interface, without this method.
    #[error(
        "the other end has no `{method}`, which is `{ours}` here; build both from the same interface"
    )]
    Missing {
        /// The method.
        method: &'static str,
        /// What it is at this end.
        ours: &'static str,
    },
    /// A method is something else at the other end.
    #[error(
        "`{method}` is `{ours}` here, and `{theirs}` at the other end; build both from the same interface"
    )]
    Differs {
        /// The method.
        method: &'static str,
        /// What it is at this end.
        ours: &'static str,
        /// What the other end says it is there.
        theirs: String,
    },
}
