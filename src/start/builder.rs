//! Collects the settings of a pair, and starts the pair.

use std::ffi::{OsStr, OsString, c_void};
use std::process::Command;
use std::time::Duration;

use coprocess_ring::{Backend, WaitStrategy, Wakeup};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::coprocess::Coprocess;
use crate::error::{Error, ForkError, Result};
use crate::process::child::execute::Program;
use crate::process::handshake::Arguments;
use crate::process::identity::executable::SELF_EXE;
use crate::process::identity::{function, privileges};
use crate::process::{Limits, Output, TerminalSignals};
use crate::settings::Settings;
use crate::settings::TypeCheck;
use crate::start::launch::Launch;
use crate::start::role;
use crate::start::worker_function::{Shim, encode_arguments, shim};

/// Starts `worker` in a new process, with default settings: [`Builder::fork`].
///
/// # Blocking
///
/// As [`Builder::fork`].
///
/// # Errors
///
/// As [`Builder::fork`].
///
/// # Examples
///
/// ```no_run
/// fn main() -> coprocess::Result<()> {
///     coprocess::init();
///     let co = coprocess::fork(|co| {
///         co.serve("add", |(a, b): (i64, i64)| a + b);
///     })?;
///     assert_eq!(co.call::<i64>("add", (1, 2))?, 3);
///     Ok(())
/// }
/// ```
pub fn fork(worker: fn(Coprocess)) -> Result<Coprocess> {
    Builder::new().fork(worker)
}

/// Starts `worker` in a new process, with arguments and default settings: [`Builder::fork_with`].
///
/// # Blocking
///
/// As [`Builder::fork_with`].
///
/// # Errors
///
/// As [`Builder::fork_with`].
///
/// # Panics
///
/// As [`Builder::fork_with`].
///
/// # Examples
///
/// ```no_run
/// fn main() -> coprocess::Result<()> {
///     coprocess::init();
///     let args = ("greeting".to_owned(), 3_u64);
///     let co = coprocess::fork_with(args, |co, (name, times): (String, u64)| {
///         co.serve("repeat", move |(): ()| name.repeat(times as usize));
///     })?;
///     assert_eq!(co.call::<String>("repeat", ())?, "greetinggreetinggreeting");
///     Ok(())
/// }
/// ```
pub fn fork_with<A: Serialize + DeserializeOwned>(
    args: A,
    worker: fn(Coprocess, A),
) -> Result<Coprocess> {
    Builder::new().fork_with(args, worker)
}

/// Starts a worker program, with default settings: [`Builder::spawn`].
///
/// # Blocking
///
/// As [`Builder::spawn`].
///
/// # Errors
///
/// As [`Builder::spawn`].
///
/// # Examples
///
/// ```no_run
/// let co = coprocess::spawn(std::process::Command::new("./parser-worker"))?;
/// let title: String = co.call("title_of", "paper.pdf")?;
/// # Ok::<(), coprocess::Error>(())
/// ```
pub fn spawn(program: Command) -> Result<Coprocess> {
    Builder::new().spawn(program)
}

/// Holds the settings of a pair, and starts its worker. The settings hold for both ends.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// # coprocess::init();
/// let co = coprocess::Builder::new()
///     .ring_capacity(1 << 20)
///     .call_timeout(Duration::from_secs(1))
///     .fork(|co| {
///         co.serve("add", |(a, b): (i64, i64)| a + b);
///     })?;
/// # Ok::<(), coprocess::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    ring_capacity: usize,
    max_message: usize,
    strategy: WaitStrategy,
    backend: Backend,
    wakeup: Wakeup,
    call_timeout: Option<Duration>,
    fork_timeout: Duration,
    close_timeout: Duration,
    max_calls_in_flight: usize,
    max_calls_served: usize,
    terminal_signals: TerminalSignals,
    environment: Vec<(OsString, OsString)>,
    stdout: Output,
    stderr: Output,
    limits: Limits,
    check_types: TypeCheck,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            ring_capacity: 256 * 1024,
            max_message: 64 << 20,
            strategy: WaitStrategy::Adaptive,
            backend: Backend::default(),
            wakeup: Wakeup::default(),
            call_timeout: None,
            fork_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            max_calls_in_flight: usize::MAX,
            max_calls_served: usize::MAX,
            terminal_signals: TerminalSignals::default(),
            environment: Vec::new(),
            stdout: Output::Inherit,
            stderr: Output::Inherit,
            limits: Limits::new(),
            check_types: TypeCheck::default(),
        }
    }
}

impl Builder {
    /// Makes a builder with the default settings.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new();
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets the capacity of the ring in each direction, in bytes. Default: 256 KiB.
    ///
    /// The capacity is rounded up to a power of two, from 4 KiB to 1 GiB.
    ///
    /// Each message takes at least 128 bytes of the ring. A message larger than the ring goes
    /// through it in parts.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().ring_capacity(1 << 20);
    /// ```
    pub fn ring_capacity(mut self, bytes: usize) -> Builder {
        self.ring_capacity = bytes;
        self
    }

    /// Sets the size of the largest encoded message, in bytes. Default: 64 MiB.
    ///
    /// The size counts the arguments, the value or the result; a header of up to 16 bytes; and the
    /// name, rounded up to a multiple of 8 bytes.
    ///
    /// The sender refuses a larger message with [`Error::TooLarge`]. An end that sends one
    /// nevertheless breaks the protocol.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().max_message(4096);
    /// ```
    pub fn max_message(mut self, bytes: usize) -> Builder {
        self.max_message = bytes;
        self
    }

    /// Sets how both ends wait for each other. Default: [`WaitStrategy::Adaptive`].
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().wait(coprocess::WaitStrategy::Block);
    /// ```
    pub fn wait(mut self, strategy: WaitStrategy) -> Builder {
        self.strategy = strategy;
        self
    }

    /// Sets what the shared memory is made of. Default: [`Backend::Memfd`].
    ///
    /// Both programs must be built with the feature that the backend needs. If this program was
    /// not, the start fails with [`ForkError::FeatureMissing`]. If the worker was not, the start
    /// fails with [`ForkError::Handshake`], which names the feature.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().backend(coprocess::Backend::Memfd);
    /// ```
    pub fn backend(mut self, backend: Backend) -> Builder {
        self.backend = backend;
        self
    }

    /// Sets what wakes an end that sleeps. Default: [`Wakeup::Futex`].
    ///
    /// Each wake-up works with each [`backend`](Self::backend). Without the feature that it needs,
    /// the start fails as described there.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().wakeup(coprocess::Wakeup::Futex);
    /// ```
    pub fn wakeup(mut self, wakeup: Wakeup) -> Builder {
        self.wakeup = wakeup;
        self
    }

    /// Sets the timeout of calls that have none of their own, at both ends. Default: none.
    ///
    /// `Duration::MAX` means none, too.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().call_timeout(std::time::Duration::from_secs(1));
    /// ```
    pub fn call_timeout(mut self, timeout: Duration) -> Builder {
        self.call_timeout = Some(timeout);
        self
    }

    /// Sets how long a worker may take to attach. Default: 10 s.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().fork_timeout(std::time::Duration::from_secs(1));
    /// ```
    pub fn fork_timeout(mut self, timeout: Duration) -> Builder {
        self.fork_timeout = timeout;
        self
    }

    /// Sets how long a worker may take to end after the pair was closed. Default: 2 s.
    ///
    /// After that time, the parent sends SIGTERM. After the same time again, the parent sends
    /// SIGKILL.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let builder = coprocess::Builder::new().close_timeout(Duration::from_millis(100));
    /// ```
    pub fn close_timeout(mut self, timeout: Duration) -> Builder {
        self.close_timeout = timeout;
        self
    }

    /// Sets how many calls each end may have in flight at once. Default: eight million.
    ///
    /// The default is also the most that can be set; the least is 1. At the limit, a call fails
    /// with [`Error::TooManyCalls`], and nothing is sent.
    ///
    /// A call is in flight from just before it is sent until its result is taken. So a call that
    /// was answered counts as long as its [`Pending`](crate::Pending) has not been waited for. A
    /// call that was forgotten does not count. A call that a handler makes counts, too.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().max_calls_in_flight(1000);
    /// ```
    pub fn max_calls_in_flight(mut self, calls: usize) -> Builder {
        self.max_calls_in_flight = calls;
        self
    }

    /// Sets how many calls each end serves at once without having answered them. Default: any
    /// number.
    ///
    /// The least is 1. The limit counts calls of [`serve_deferred`](Coprocess::serve_deferred) and
    /// `serve_async` whose [`Reply`](crate::Reply) is alive. A cancelled call counts until its
    /// handler drops the reply.
    ///
    /// At the limit, a further call of such a method is refused. Its caller gets
    /// [`Error::Overloaded`](crate::Error::Overloaded), and
    /// [`Stats::calls_refused`](crate::Stats::calls_refused) counts the call. Methods that answer
    /// at once are not limited.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().max_calls_served(100);
    /// ```
    pub fn max_calls_served(mut self, calls: usize) -> Builder {
        self.max_calls_served = calls;
        self
    }

    /// Sets when both ends compare the types that are sent with the types that the peer takes.
    /// Default: [`TypeCheck::FirstUse`].
    ///
    /// If the types differ, the caller of a method gets [`Error::Types`](crate::Error::Types). For
    /// an event, the sender of the next such event gets that error. Messages of
    /// [bytes](Coprocess::call_bytes) have no types.
    ///
    /// # Examples
    ///
    /// ```
    /// use coprocess::{Builder, TypeCheck};
    ///
    /// let builder = Builder::new().check_types(TypeCheck::Always);
    /// ```
    pub fn check_types(mut self, check: TypeCheck) -> Builder {
        self.check_types = check;
        self
    }

    /// Sets what the worker does with the signals of a terminal, such as Ctrl-C. Default:
    /// [`TerminalSignals::LeftToParent`].
    ///
    /// The setting holds from the moment at which the worker attaches, for workers of
    /// [`fork`](Self::fork) and of [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// // The parent handles Ctrl-C, and can still ask the worker what it has done so far.
    /// let co = coprocess::Builder::new()
    ///     .terminal_signals(coprocess::TerminalSignals::LeftToParent)
    ///     .fork(|co| {
    ///         co.serve("done_so_far", |(): ()| 42);
    ///     })?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn terminal_signals(mut self, signals: TerminalSignals) -> Builder {
        self.terminal_signals = signals;
        self
    }

    /// Adds a variable to the environment of a worker of [`fork`](Self::fork).
    ///
    /// A [`Command`] has its own environment. So if variables are set here, [`spawn`](Self::spawn)
    /// fails with [`ForkError::EnvironmentOfSpawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().env("RUST_LOG", "debug");
    /// ```
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Builder {
        self.environment.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets where the worker's standard output leads. Default: [`Output::Inherit`].
    ///
    /// With [`spawn`](Self::spawn), [`Output::Inherit`] leaves the setting of the [`Command`]. Any
    /// other value replaces that setting.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().stdout(coprocess::Output::Null);
    /// ```
    pub fn stdout(mut self, output: Output) -> Builder {
        self.stdout = output;
        self
    }

    /// Sets where the worker's standard error leads. Default: [`Output::Inherit`].
    ///
    /// The values mean the same as for [`stdout`](Self::stdout).
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().stderr(coprocess::Output::Tail(4096));
    /// ```
    pub fn stderr(mut self, output: Output) -> Builder {
        self.stderr = output;
        self
    }

    /// Sets what the worker process may use at most. Default: the limits of the parent.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().limits(coprocess::Limits::new().memory(1 << 30));
    /// ```
    pub fn limits(mut self, limits: Limits) -> Builder {
        self.limits = limits;
        self
    }

    /// Starts `worker` in a new process, and returns once the worker has attached.
    ///
    /// `worker` is a plain function, or a closure that captures nothing. The new process executes
    /// the program again. It shares nothing with this process except what is sent.
    ///
    /// The function registers handlers and returns. Then the worker dispatches until the pair is
    /// closed, and exits with status 0. If this process ends, in whatever way, the worker ends,
    /// too.
    ///
    /// # Blocking
    ///
    /// Until the worker has attached, has ended, or [`fork_timeout`](Self::fork_timeout) has
    /// passed.
    ///
    /// # Errors
    ///
    /// If the start fails, no process and no memory is left behind.
    ///
    /// - [`Error::NotInitialized`] if [`init`](crate::init) has not run.
    /// - [`Error::Fork`] if the worker could not be started. The cause says why.
    ///
    /// With these causes, no process was started:
    ///
    /// - [`ForkError::ForeignFunction`] and [`ForkError::ForeignExecutable`] if the program,
    ///   executed again, would not have the function.
    /// - [`ForkError::SecureExecution`] if the worker must not trust its parent.
    /// - [`ForkError::Unclaimed`] in a program that was started by [`spawn`](Self::spawn) and has
    ///   not called [`parent`](crate::parent).
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    pub fn fork(mut self, worker: fn(Coprocess)) -> Result<Coprocess> {
        check_fork()?;
        let function = distance(worker as *const c_void)?;
        let environment = std::mem::take(&mut self.environment);
        self.launch(Program::Itself { function, arguments: None, environment })
    }

    /// Starts `worker` as [`fork`](Self::fork) does, and hands `args` to it.
    ///
    /// The encoded arguments may take up to [`max_message`](Self::max_message) bytes. They are
    /// encoded before a process is started, and travel ahead of all messages. This method returns
    /// once the worker has decoded the arguments and has attached.
    ///
    /// # Errors
    ///
    /// As [`fork`](Self::fork), and:
    ///
    /// - [`Error::Encode`] and [`Error::TooLarge`]: no process was started.
    /// - [`Error::Fork`] with [`ForkError::Handshake`] also if the worker could not decode the
    ///   arguments. Then the function was not run, and the worker is gone.
    ///
    /// # Panics
    ///
    /// If the arguments panic while they are encoded. No process was started.
    ///
    /// # Blocking
    ///
    /// Until the worker has attached, has ended, or [`fork_timeout`](Self::fork_timeout) has
    /// passed.
    ///
    /// # Examples
    ///
    /// See [`fork_with`].
    pub fn fork_with<A: Serialize + DeserializeOwned>(
        mut self,
        args: A,
        worker: fn(Coprocess, A),
    ) -> Result<Coprocess> {
        check_fork()?;
        let function = distance(worker as *const c_void)?;
        let shim: Shim = shim::<A>;
        let shim = distance(shim as *const c_void)?;
        let bytes = encode_arguments(&args, self.max_message)?;
        let environment = std::mem::take(&mut self.environment);
        self.launch(Program::Itself {
            function,
            arguments: Some(Arguments { shim, bytes }),
            environment,
        })
    }

    /// Starts a program that calls [`parent`](crate::parent), and returns once the program has
    /// attached.
    ///
    /// The [`Command`] may name a wrapper that executes the worker program in its place, such as
    /// `nice`. A wrapper that waits for the program and goes on, such as `sh -c 'worker; …'`,
    /// hides the program's end: write `exec worker` there.
    ///
    /// The standard streams are those of the [`Command`], unless [`stdout`](Self::stdout) or
    /// [`stderr`](Self::stderr) replaces them. A piped stream of the [`Command`] has no reader: use
    /// [`Output`] instead.
    ///
    /// # Blocking
    ///
    /// Until the worker has attached, has ended, or [`fork_timeout`](Self::fork_timeout) has
    /// passed.
    ///
    /// # Errors
    ///
    /// [`Error::Fork`] if the worker could not be started. The cause says why.
    ///
    /// If the start fails, no process and no memory is left behind. But the program may have run
    /// for a moment.
    ///
    /// With these causes, the program was not started:
    ///
    /// - [`ForkError::EnvironmentOfSpawn`] if variables were set by [`env`](Self::env), which is
    ///   for [`fork`](Self::fork).
    /// - [`ForkError::Unclaimed`] as for [`fork`](Self::fork).
    ///
    /// # Examples
    ///
    /// See [`spawn`].
    pub fn spawn(self, program: Command) -> Result<Coprocess> {
        let failed = |cause| Error::Fork {
            program: program.get_program().to_string_lossy().into_owned(),
            cause,
        };
        role::check_claimed().map_err(failed)?;
        if !self.environment.is_empty() {
            return Err(failed(ForkError::EnvironmentOfSpawn));
        }
        self.launch(Program::Other { command: program, chain_length: role::chain_length() })
    }

    fn launch(self, program: Program) -> Result<Coprocess> {
        let settings = Settings {
            max_message: self.max_message,
            strategy: self.strategy,
            call_timeout: self.call_timeout,
            close_timeout: self.close_timeout,
            max_calls_in_flight: at_least_one(self.max_calls_in_flight),
            max_calls_served: at_least_one(self.max_calls_served),
            check_types: self.check_types,
        };
        Launch {
            program,
            capacity: self.ring_capacity,
            backend: self.backend,
            wakeup: self.wakeup,
            settings,
            terminal_signals: self.terminal_signals,
            fork_timeout: self.fork_timeout,
            outputs: [self.stdout, self.stderr],
            limits: self.limits,
        }
        .start()
    }
}

/// Makes the error of a start of this program itself.
fn failed(cause: ForkError) -> Error {
    Error::Fork { program: SELF_EXE.to_owned(), cause }
}

/// Returns the distance of a function from the start of the executable.
fn distance(function: *const c_void) -> Result<u64> {
    function::distance(function).map_err(failed)
}

/// Checks that this program, executed again, can become a worker, as far as that is known before.
fn check_fork() -> Result<()> {
    role::check_claimed().map_err(failed)?;
    if !role::is_initialized() {
        return Err(Error::NotInitialized);
    }
    if privileges::worker_is_secure() { Err(failed(ForkError::SecureExecution)) } else { Ok(()) }
}

/// Converts a limit, which is at least one. Larger limits become `u32::MAX`.
fn at_least_one(calls: usize) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX).max(1)
}
