//! Defines the errors of this library: one type, with a variant for each cause.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::{fmt, io};

use crate::limits::{MAX_NAME, PATIENCE};
use crate::panicked::{RemotePanic, without_backtrace};
use crate::text::OneLine;

/// Holds the result of an operation of this crate that can fail.
///
/// # Examples
///
/// ```no_run
/// fn title_of(co: &coprocess::Coprocess, file: &str) -> coprocess::Result<String> {
///     co.call("title_of", file)
/// }
/// ```
pub type Result<T> = std::result::Result<T, Error>;

/// Holds the result of a step of a call, in one or two registers.
///
/// Moving a whole [`Error`] about would cost more than the step itself.
pub(crate) type Step<T> = std::result::Result<T, Box<Error>>;

impl From<Box<Error>> for Error {
    fn from(error: Box<Error>) -> Error {
        *error
    }
}

/// Says why an operation failed.
///
/// Each variant says what was done and what was not. `Display` is one lower-case line with all of
/// it, causes included. Only the backtrace of a [panic](Error::remote_panic) is left out. If there
/// is an underlying error, [`source`](std::error::Error::source) returns it to the program.
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
    /// The peer serves no method of this name.
    #[error("method not found: the peer does not serve `{method}`")]
    MethodNotFound {
        /// The name that was called.
        method: String,
    },
    /// The peer's handler returned an error, panicked, or dropped its [`Reply`](crate::Reply)
    /// without an answer.
    ///
    /// `message` is the handler's own text, of any length. `Display` shows one line of at most 4
    /// KiB of the text, with control characters escaped. After a panic, `message` also holds the
    /// place and the backtrace, as far as they are known. [`remote_panic`](Error::remote_panic)
    /// takes them apart.
    #[error("the peer's handler of `{method}` failed: {}", OneLine(without_backtrace(message)))]
    Remote {
        /// The name that was called.
        method: String,
        /// The text of the handler.
        message: String,
    },
    /// The peer did not take this call: its limit of unanswered calls is reached
    /// ([`Builder::max_calls_served`](crate::Builder::max_calls_served)).
    ///
    /// The peer takes calls again once it has answered some.
    #[error(
        "overloaded: the peer refused the call of `{method}`, because as many calls as \
         Builder::max_calls_served allows are not answered yet; call again later"
    )]
    Overloaded {
        /// The name that was called.
        method: String,
    },
    /// The peer is gone. Everything that the peer had sent before was delivered first.
    #[error("disconnected: {0}")]
    Disconnected(Reason),
    /// This end was closed, by [`close`](crate::Coprocess::close) on one of its handles.
    #[error("this end was closed")]
    Closed,
    /// The deadline of this operation passed.
    ///
    /// If the operation was a send, nothing was sent. If it was a call, its late answer will be
    /// dropped.
    #[error("the deadline passed before the operation was complete")]
    Timeout,
    /// The ring has no space right now, and the operation may not wait for space. Nothing was sent.
    #[error(
        "the ring is full, and this operation does not wait: try again later, or use the form that \
         waits"
    )]
    Full,
    /// The ring is full, and the peer has registered no handler and has taken nothing for 5
    /// seconds. Nothing was sent.
    ///
    /// The event can be emitted again. Until the peer takes a message or registers a handler,
    /// emitting fails at once. A worker that prepares for long should register its handlers first.
    ///
    /// If the peer takes an event and drops it for want of a handler, that is no error:
    /// [`Stats::events_unheard_by_peer`](crate::Stats::events_unheard_by_peer) counts such events.
    #[error(
        "`{event}` was not sent: the ring is full, and the peer has registered no handler and has \
         taken nothing for {} s; the peer must listen, or call run or poll",
        PATIENCE.as_secs()
    )]
    Unheard {
        /// The name of the event.
        event: String,
    },
    /// As many calls of this end are in flight as
    /// [`Builder::max_calls_in_flight`](crate::Builder::max_calls_in_flight) allows. Nothing was
    /// sent.
    #[error(
        "too many calls: {limit} are in flight, as many as Builder::max_calls_in_flight allows; \
         wait for one of them, or raise the limit"
    )]
    TooManyCalls {
        /// Calls that may be in flight.
        limit: usize,
    },
    /// The message is too large, in one of three ways. Nothing was sent.
    ///
    /// - The encoded message, name included, exceeds
    ///   [`Builder::max_message`](crate::Builder::max_message).
    /// - The name has 16 MiB or more.
    /// - The operation may not wait, and even an empty ring does not take the message at once.
    #[error("{}", too_large(*size, *max))]
    TooLarge {
        /// Bytes needed, as far as they were counted. Encoding stops at the bound.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The arguments or the value could not be encoded. Nothing was sent.
    #[error("cannot encode the arguments or value of `{what}`: {source}")]
    Encode {
        /// The method or event.
        what: String,
        /// The error of serde or postcard.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer arrived, but does not decode as the expected type. Only this message is affected.
    #[error("cannot decode the answer of `{what}`: {source}; do both ends use the same types?")]
    Decode {
        /// The method or event.
        what: String,
        /// The error of serde or postcard.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value is not of the type that its receiver takes.
    ///
    /// The receiver did not read this value as one of another type. Values that were not compared
    /// may have been read so: see [`TypeCheck`](crate::TypeCheck).
    ///
    /// - If the arguments of a call differ, the handler did not run.
    /// - If a result differs, the handler did run. `wanted` then ends with "as its result".
    /// - If the value of an event differs, nothing was sent. The peer did not handle an earlier
    ///   event with this name, type and content.
    ///
    /// Both texts show types as Rust writes them. `_` stands for what is not known. `..` stands for
    /// what follows the place where the two types differ. An integer literal without a type is an
    /// `i32`.
    #[error("`{name}` takes {wanted}, but was sent {sent}{}", hint(sent, wanted))]
    Types {
        /// The method or event.
        name: String,
        /// The type of the value that was sent.
        sent: String,
        /// The type that was wanted.
        wanted: String,
    },
    /// The peer broke the protocol of the shared memory. The pair is closed.
    #[error("the peer misbehaved, and the pair is closed: {0}")]
    Misbehaved(coprocess_ring::Misbehaved),
    /// [`init`](crate::init) has not run in this process, so no worker function can be forked.
    #[error(
        "not initialized: call coprocess::init() as the first line of main() (in tests: \
         coprocess::init_in_tests!())"
    )]
    NotInitialized,
    /// [`parent`](crate::parent) was called in a process that no parent started.
    #[error(
        "not a worker: no parent process started this program through coprocess, or its socket was \
         closed, or another process has become the worker"
    )]
    NotAWorker,
    /// [`kill`](crate::Coprocess::kill) was called on the worker's end.
    #[error("not the parent: only the parent's end can kill the worker")]
    NotTheParent,
    /// This process was made by fork(2) from the process that the pair belongs to. Only that
    /// process can use the pair.
    #[error(
        "forked: the pair belongs to the process that this process was forked from; start another \
         pair here"
    )]
    Forked,
    /// The worker could not be started. No process and no memory is left behind.
    #[error("cannot start the worker `{program}`: {cause}")]
    Fork {
        /// The program that was to run.
        program: String,
        /// The reason.
        #[source]
        cause: ForkError,
    },
    /// The peer does not serve the interface that this end's client has; see
    /// [`mod@crate::interface`]. Nothing else was called.
    #[cfg(feature = "interface")]
    #[error("the interface `{interface}` does not fit: {cause}")]
    Interface {
        /// The name of the interface.
        interface: &'static str,
        /// The difference.
        #[source]
        cause: Box<InterfaceError>,
    },
    /// The operating system refused a resource that a running pair needs, such as a thread or a
    /// futex.
    #[error("cannot {action}: {source}")]
    Os {
        /// The action that failed.
        action: &'static str,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Returns the message, place and backtrace of the panic, as far as they are known.
    ///
    /// Returns `None` unless this is the [`Error::Remote`] of a handler that panicked.
    ///
    /// All of it is read from the error's `message`. An untrusted peer writes any text there, so
    /// the result may be wrong.
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

/// Says what to write if a number literal has taken the type that literals have by default.
fn hint(sent: &str, wanted: &str) -> String {
    const NUMBERS: [&str; 12] =
        ["i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64", "u128", "f32", "f64"];
    let Some((at, _)) =
        sent.bytes().zip(wanted.bytes()).enumerate().find(|(_, (sent, wanted))| sent != wanted)
    else {
        return String::new();
    };
    // Goes back to the start of the word: `i32` and `i8` start alike.
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

/// Says what to do about a message that is too large.
///
/// If the name alone is longer than any name may be, no setting helps.
fn too_large(size: usize, max: usize) -> String {
    if max == MAX_NAME {
        return format!(
            "name too long: {size} bytes where the name of a method or event may have {max}; \
             shorten it"
        );
    }
    format!(
        "message too large: {size} bytes or more, its name included, where {max} are allowed; \
         raise Builder::max_message, or Builder::ring_capacity for an operation that may not wait, \
         or shorten the name or the value"
    )
}

/// Says why a worker could not be started.
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
    /// The system refused a part that the pair is made of: shared memory, a socket, a thread.
    #[error("cannot {action}: {source}")]
    Setup {
        /// The action that failed.
        action: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The system could not execute the program: not found, not executable, too many processes, and
    /// the like.
    #[error("cannot execute the program: {0}")]
    Exec(#[source] io::Error),
    /// The worker ended before it attached.
    #[error(
        "the worker {} before it attached; does it call coprocess::parent(), or coprocess::init() \
         first thing in main()?",
        describe(.0)
    )]
    Ended(ExitStatus),
    /// The worker did not attach within [`Builder::fork_timeout`](crate::Builder::fork_timeout),
    /// and was killed.
    #[error(
        "the worker did not attach within {0:?} and was killed; does it call coprocess::parent()?"
    )]
    NeverAttached(Duration),
    /// The worker was built with another version of this library's shared-memory protocol.
    #[error(
        "the worker speaks version {theirs} of the shared-memory protocol, and this program \
         version {ours}; build both with the same coprocess"
    )]
    AbiMismatch {
        /// The version of this program.
        ours: u32,
        /// The version of the worker.
        theirs: u32,
    },
    /// The worker refused to attach, or its answer made no sense.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The [`Builder`](crate::Builder) asks for a part that this program's coprocess was built
    /// without. The field is the name of the missing feature of this package.
    #[error(
        "this program's coprocess was built without its feature `{0}`; add it to the features of \
         the dependency"
    )]
    FeatureMissing(&'static str),
    /// The worker function, or this library, is not part of the executable itself, but of a
    /// plug-in, for example. A new process would run the `main` of the executable, which does not
    /// know the function.
    #[error(
        "the worker function, or this copy of coprocess, is not in the program's own executable, \
         but in a library that the program has loaded; use spawn() with a worker program instead"
    )]
    ForeignFunction,
    /// The program was started through another program, such as the dynamic linker. A new process
    /// would run that other program instead.
    #[error(
        "the program was started through `{}`, which would run in place of the worker; start the \
         program directly, or use spawn() with a worker program",
        .0.display()
    )]
    ForeignExecutable(PathBuf),
    /// This process was itself started by [`spawn`](crate::spawn), and has not become a worker: its
    /// call of [`parent`](crate::parent) is missing, or has failed.
    ///
    /// Without this error, a program that starts itself would do so for ever.
    #[error(
        "this process was itself started by spawn() and has not called coprocess::parent() yet, or \
         that has failed; call coprocess::parent() first"
    )]
    Unclaimed,
    /// The worker runs, or would run, in the system's secure-execution mode.
    ///
    /// The mode has two causes. The program gains rights when it is executed (file capabilities, a
    /// set-user-ID bit); or the effective user of the process is not its real user. A process in
    /// this mode must not trust its environment, and the environment says that the process is a
    /// worker.
    #[error(
        "the worker's executable gains rights when it is executed (file capabilities, \
         set-user-ID), or its effective user or group is not the real one: such a process must not \
         trust what starts it; give up the rights, or use spawn() with a program that has none"
    )]
    SecureExecution,
    /// The [`Builder`](crate::Builder) has variables for the environment, and
    /// [`spawn`](crate::Builder::spawn) does not use them. Nothing was started.
    #[error(
        "variables of Builder::env are for fork(); for spawn(), set them on the Command, by \
         Command::env"
    )]
    EnvironmentOfSpawn,
}

impl ForkError {
    /// Returns a function that makes an error from what the system says of `action`.
    pub(crate) fn setup(action: &'static str) -> impl Fn(io::Error) -> ForkError {
        move |source| ForkError::Setup { action, source }
    }
}

/// Says how the peer went away.
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
    /// The worker exited with this code.
    Exited(i32),
    /// A signal with this number killed the worker.
    Killed(i32),
    /// The worker ended because it reached this limit of [`Limits`](crate::Limits).
    ///
    /// The reason is [`Killed`](Self::Killed) unless the cause is certain:
    ///
    /// - processor time: SIGXCPU ended the worker;
    /// - the size of a file: SIGXFSZ ended the worker;
    /// - memory: the worker aborted where Rust gives up on a failed allocation.
    LimitExceeded(Limit),
    /// The peer closed its end in good order.
    Closed,
    /// The parent process ended without closing.
    ParentDied,
    /// This process closed descriptors of the library, as daemons and sandboxes do with
    /// `close_range`.
    ///
    /// Without the descriptors the library cannot watch the peer, so all pairs of this process
    /// ended. Close descriptors before the first pair starts, or leave the library's descriptors
    /// open.
    DescriptorsClosed,
    /// The peer ended, and its exit status is not known, or the parent broke the protocol.
    ///
    /// - A `wait` of this program for any child took the exit status, or SIGCHLD is ignored.
    /// - [`on_end`](crate::Coprocess::on_end) on the worker's end reports that the parent broke the
    ///   protocol.
    Unknown,
}

/// Names one limit of [`Limits`](crate::Limits).
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
            Reason::LimitExceeded(limit) => write!(
                f,
                "the worker was ended by its limit of \
             {limit}"
            ),
            Reason::Closed => f.write_str("the peer closed its end"),
            Reason::ParentDied => f.write_str("the parent process died"),
            Reason::DescriptorsClosed => f.write_str(
                "this process closed descriptors of the library, and can no longer watch the peer; \
                 leave them open, or close them before the first pair starts",
            ),
            Reason::Unknown => f.write_str("the peer ended, and its exit status is not known"),
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

/// Says why a client cannot use an interface; see [`mod@crate::interface`].
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
///     Err(coprocess::Error::Interface { cause, .. })
///         if matches!(*cause, InterfaceError::NotServed) =>
///     {
///         println!("there is no clock")
///     }
///     clock => println!("{}", clock?.now()?),
/// }
/// # Ok::<(), coprocess::Error>(())
/// ```
#[cfg(feature = "interface")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// The peer serves no interface of this name.
    #[error("the peer does not serve it; the peer must serve the interface before a client asks")]
    NotServed,
    /// The peer serves the interface, without this method.
    #[error(
        "the peer has no `{method}`, which is `{ours}` here; build both ends from the same \
         interface"
    )]
    Missing {
        /// The method.
        method: &'static str,
        /// The signature of the method at this end.
        ours: &'static str,
    },
    /// A method has another signature at the peer.
    #[error(
        "`{method}` is `{ours}` here, and `{theirs}` at the peer; build both ends from the same \
         interface"
    )]
    Differs {
        /// The method.
        method: &'static str,
        /// The signature of the method at this end.
        ours: &'static str,
        /// The signature at the peer, in the peer's words.
        theirs: String,
    },
}
