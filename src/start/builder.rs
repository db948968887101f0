//! Settings of a pair, and the two ways to start one.

use std::ffi::{OsStr, OsString, c_void};
use std::process::Command;
use std::time::Duration;

use coprocess_ring::{Backend, WaitStrategy, Wakeup};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::coprocess::Coprocess;
use crate::end::Terms;
use crate::error::{Error, ForkError, Result};
use crate::process::child::execute::Program;
use crate::process::handshake::Arguments;
use crate::process::identity::executable::ITSELF;
use crate::process::identity::{function, privileges};
use crate::process::{Limits, Output, TerminalSignals};
use crate::start::launch::Launch;
use crate::start::worker_function::{Shim, encode_arguments, shim};
use crate::start::entry;
use crate::types::TypeCheck;

/// Starts `worker` in a process of its own, with default settings: [`Builder::fork`].
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

/// Starts `worker` in a process of its own, with arguments and default settings: [`Builder::fork_with`].
///
/// # Errors
///
/// As [`Builder::fork_with`].
///
/// # Examples
///
/// ```no_run
/// fn main() -> coprocess::Result<()> {
///     coprocess::init();
///     let co = coprocess::fork_with(("greeting".to_owned(), 3_u64), |co, (name, times): (String, u64)| {
///         co.serve("repeat", move |(): ()| name.repeat(times as usize));
///     })?;
///     assert_eq!(co.call::<String>("repeat", ())?, "greetinggreetinggreeting");
///     Ok(())
/// }
/// ```
pub fn fork_with<A: Serialize + DeserializeOwned>(args: A, worker: fn(Coprocess, A)) -> Result<Coprocess> {
    Builder::new().fork_with(args, worker)
}

/// Starts a worker program, with default settings: [`Builder::spawn`].
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

/// Settings of a pair. They hold for both ends.
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
    /// The default settings.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new();
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Room in each direction, in bytes; rounded up to a power of two from 4 KiB to 1 GiB. Default: 256 KiB.
    ///
    /// Each message takes at least 128 bytes of it. Messages larger than the ring go through it in parts.
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

    /// The largest encoded message, in bytes, its name included. Default: 64 MiB.
    ///
    /// Besides the arguments, value or result it has a head of up to 16 bytes, and the name, rounded up to a multiple of 8 bytes.
    ///
    /// A larger one is refused by the sender with [`Error::TooLarge`]; an end that sends one nevertheless misbehaves.
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

    /// How both sides wait for each other. Default: [`WaitStrategy::Adaptive`].
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

    /// What the shared memory is made of. Default: [`Backend::Memfd`].
    ///
    /// The worker needs to be built with what that takes, too. If either is not, starting it fails with [`ForkError::FeatureMissing`], or
    /// with [`ForkError::Handshake`], which names the feature.
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

    /// What wakes a side that sleeps. Default: [`Wakeup::Futex`].
    ///
    /// Either goes with either [`backend`](Self::backend). What is missing is told as there.
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

    /// The deadline of calls that have none of their own, at both ends. Default: none, as is `Duration::MAX`.
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

    /// How long a worker may take to attach. Default: 10 s.
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

    /// How long a worker may take to end after the pair was closed, before SIGTERM, and again before SIGKILL. Default: 2 s.
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = coprocess::Builder::new().close_timeout(std::time::Duration::from_millis(100));
    /// ```
    pub fn close_timeout(mut self, timeout: Duration) -> Builder {
        self.close_timeout = timeout;
        self
    }

    /// How many calls each end may have in flight at once: sent, or about to be, and their results not taken yet. Default: eight million, which is
    /// the most that can be set; at least 1.
    ///
    /// Beyond that, also of the default, a call fails with [`Error::TooManyCalls`], and nothing is sent. A call that a handler makes counts, too, as does one
    /// that was answered and whose [`Pending`](crate::Pending) nobody has waited for; one that was forgotten does not.
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

    /// How many calls each end takes from the other without having answered them: those of
    /// [`serve_deferred`](Coprocess::serve_deferred), and of `serve_async`, whose [`Reply`](crate::Reply) is alive, also if nobody waits for the answer any
    /// more: a call that was cancelled makes room once its handler has let go of it. Default: any number; at least 1.
    ///
    /// Beyond that a call of such a method is refused: its caller gets [`Error::Overloaded`](crate::Error::Overloaded), and it is counted in
    /// [`Stats::calls_refused`](crate::Stats::calls_refused). Methods that answer at once are served as ever.
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

    /// Sets when the types of what is sent are compared with what the other end takes, at both
    /// ends. Default: [`TypeCheck::FirstUse`].
    ///
    /// What differs is [`Error::Types`](crate::Error::Types) for the caller of a method, and for the
    /// emitter of the next such event. What is sent as [bytes](Coprocess::call_bytes) has no types.
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

    /// Sets what the worker does with the signals that a terminal sends, Ctrl-C above all. Default: [`TerminalSignals::LeftToParent`].
    ///
    /// It holds from the moment the worker attaches, for workers of [`fork`](Self::fork) and of [`spawn`](Self::spawn).
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
    /// A [`Command`] brings its own environment: with variables set here, [`spawn`](Self::spawn)
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

    /// What becomes of the worker's standard output. Default: [`Output::Inherit`].
    ///
    /// For [`spawn`](Self::spawn), anything but that takes the place of what the [`Command`] says.
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

    /// What becomes of the worker's standard error. Default: [`Output::Inherit`]; otherwise as [`stdout`](Self::stdout).
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

    /// What the worker process may use at most. Default: what the parent may.
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

    /// Starts `worker`, a plain function or a closure that captures nothing, in a process of its own, and returns once it has attached.
    ///
    /// The process is made by executing the program again: it shares nothing with this one but what is sent. The function registers
    /// handlers and returns; then the worker dispatches until the pair is closed, and exits with status 0. It ends, too, if this process
    /// ends in any way.
    ///
    /// # Errors
    ///
    /// [`Error::NotInitialized`] if [`init`](crate::init) has not run; [`Error::Fork`] says why the worker could not be started. Nothing is left behind.
    ///
    /// Before anything is started: [`ForkError::ForeignFunction`] and [`ForkError::ForeignExecutable`] if
    /// the program, executed again, would not have the function; [`ForkError::SecureExecution`] if the
    /// worker must not trust its parent; [`ForkError::Unclaimed`] in a program that was started by
    /// [`spawn`](Self::spawn) and has not called [`parent`](crate::parent).
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

    /// Starts `worker` as [`fork`](Self::fork) does, and hands it `args`, which may take up to [`max_message`](Self::max_message) bytes.
    ///
    /// They are encoded before anything is started, and travel ahead of all messages. This returns once the worker has decoded them and has attached.
    ///
    /// # Errors
    ///
    /// As [`fork`](Self::fork). [`Error::Encode`], [`Error::TooLarge`]: nothing was started. [`Error::Fork`] with [`ForkError::Handshake`] says, too, that
    /// the worker could not decode them: then the function was not run, and the worker is gone.
    ///
    /// # Panics
    ///
    /// If the arguments panic while they are encoded: nothing was started.
    ///
    /// # Blocking
    ///
    /// Until the worker has attached, has ended, or [`fork_timeout`](Self::fork_timeout) has passed.
    ///
    /// # Examples
    ///
    /// See [`fork_with`].
    pub fn fork_with<A: Serialize + DeserializeOwned>(mut self, args: A, worker: fn(Coprocess, A)) -> Result<Coprocess> {
        check_fork()?;
        let function = distance(worker as *const c_void)?;
        let shim: Shim = shim::<A>;
        let shim = distance(shim as *const c_void)?;
        let bytes = encode_arguments(&args, self.max_message)?;
        let environment = std::mem::take(&mut self.environment);
        self.launch(Program::Itself { function, arguments: Some(Arguments { shim, bytes }), environment })
    }

    /// Starts a program that calls [`parent`](crate::parent), and returns once it has attached.
    ///
    /// The program may come behind another one that executes it in its place, such as `nice`. One that waits
    /// for it and goes on, such as `sh -c 'worker; …'`, hides its end: say `exec worker` there.
    ///
    /// Its standard streams are those of the [`Command`], unless [`stdout`](Self::stdout) or [`stderr`](Self::stderr) says otherwise. A piped one
    /// has no reader here: use [`Output`] for that.
    ///
    /// # Errors
    ///
    /// [`Error::Fork`] says why the worker could not be started. Nothing is left behind; but the program may have run for a moment.
    /// It has not if variables were set by [`env`](Self::env), which are for [`fork`](Self::fork): [`ForkError::EnvironmentOfSpawn`].
    ///
    /// # Examples
    ///
    /// See [`spawn`].
    pub fn spawn(self, program: Command) -> Result<Coprocess> {
        let failed = |cause| Error::Fork { program: program.get_program().to_string_lossy().into_owned(), cause };
        entry::check_claimed().map_err(failed)?;
        if !self.environment.is_empty() {
            return Err(failed(ForkError::EnvironmentOfSpawn));
        }
        self.launch(Program::Other { command: program, generation: entry::generation() })
    }

    fn launch(self, program: Program) -> Result<Coprocess> {
        let terms = Terms {
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
            terms,
            terminal_signals: self.terminal_signals,
            fork_timeout: self.fork_timeout,
            outputs: [self.stdout, self.stderr],
            limits: self.limits,
        }
        .start()
    }
}

/// The error of a start of this program itself.
fn failed(cause: ForkError) -> Error {
    Error::Fork { program: ITSELF.to_owned(), cause }
}

fn distance(function: *const c_void) -> Result<u64> {
    function::distance(function).map_err(failed)
}

/// Makes sure that this program, executed again, can be a worker, as far as that can be known before.
fn check_fork() -> Result<()> {
    entry::check_claimed().map_err(failed)?;
    if !entry::is_initialized() {
        return Err(Error::NotInitialized);
    }
    if privileges::worker_is_secure() { Err(failed(ForkError::SecureExecution)) } else { Ok(()) }
}

fn at_least_one(calls: usize) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX).max(1)
}
