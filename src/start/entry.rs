//! Makes a process a worker: `init` for functions, `parent` for programs.

use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use nix::sys::signal::{SigSet, Signal};

use crate::api::coprocess::Coprocess;
use crate::error::{Error, ForkError, Reason, Result};
use crate::process::child::execute;
use crate::process::handshake::{Hello, Lifeline};
use crate::process::identity::function;
use crate::start::attach::attach;
use crate::start::before_main;
use crate::start::role::{self, PARENT, Parent, give_up};
use crate::start::worker_function::{self, WorkerFunction};
use crate::sync::lock;

/// Is the exit status of a worker whose function panicked: that of a Rust program whose `main`
/// panics.
const PANICKED: i32 = 101;

/// Becomes the worker if this process was started as one, and returns otherwise.
///
/// A worker function runs in a process that executes the program again. So `init` must be the first
/// line of `main`: each worker also runs the lines before it. In tests, which have no `main`, use
/// [`init_in_tests!`](crate::init_in_tests).
///
/// # Exits
///
/// In a worker of [`fork`](crate::fork) `init` does not return. The process ends with status
///
/// - 0 once the peer has closed its end,
/// - 101 if the worker function panicked,
/// - 1 if the pair ended otherwise, or the worker could not attach.
///
/// If this process was started as a worker, and cannot become one, `init` does not return, either.
/// The process writes one line to its standard error that says why, and ends with status 1. Its
/// `main` does not go on.
///
/// When the parent is gone, the worker ends. A worker that does not end, stuck in code of the
/// user's, is ended after 250 ms, with status 137.
///
/// # Blocking
///
/// Does not block, unless this process was started as a worker of [`fork`](crate::fork).
///
/// # Examples
///
/// ```no_run
/// fn main() -> coprocess::Result<()> {
///     coprocess::init();
///     let co = coprocess::fork(|co| {
///         co.serve("add", |(a, b): (i64, i64)| a + b);
///     })?;
///     println!("{}", co.call::<i64>("add", (1, 2))?);
///     Ok(())
/// }
/// ```
pub fn init() {
    if let Some(lifeline) = role::worker_lifeline() {
        look_like_the_program();
        become_worker(lifeline);
    }
}

/// Becomes the worker before the C library calls `main`, in a program without a `main` of its own.
///
/// Called by the code of [`init_in_tests!`](crate::init_in_tests).
#[doc(hidden)]
pub fn init_before_main() {
    if let Some(lifeline) = role::worker_lifeline() {
        look_like_the_program();
        before_main::run_as_main(|| become_worker(lifeline));
    }
}

/// Attaches, runs the worker function, and dispatches until the pair has ended. Ends the process.
fn become_worker(lifeline: Lifeline) -> ! {
    let (end, worker) =
        attach(lifeline, find_function).unwrap_or_else(|error| give_up(&error.to_string()));
    end.driver.handlers_want_it.store(false, Ordering::Relaxed);
    let co = Coprocess::new(end);
    *lock(&PARENT) = Parent::Attached(co.clone());
    role::set_claimed();
    if catch_unwind(AssertUnwindSafe(|| worker(co.clone()))).is_err() {
        // The panic hook has reported the panic.
        std::process::exit(PANICKED);
    }
    let ran = co.run();
    // Another thread may have found the end, and be about to call the callbacks.
    co.end().endings.tell(co.end().how_it_went());
    co.end().endings.wait_until_told();
    let code = match ran {
        Ok(()) => 0,
        Err(Error::Disconnected(reason)) if reason != Reason::DescriptorsClosed => 1,
        Err(error) => give_up(&error.to_string()),
    };
    std::process::exit(code);
}

/// Finds the worker function that the parent wants to be run, and decodes its arguments.
fn find_function(hello: &Hello, arguments: &[u8]) -> std::result::Result<WorkerFunction, String> {
    let missing = || "the executable does not have the function".to_owned();
    if hello.shim == 0 {
        return Ok(Box::new(worker_function::at(hello.function).ok_or_else(missing)?));
    }
    let shim = worker_function::shim_at(hello.shim).ok_or_else(missing)?;
    shim(function::address(hello.function).ok_or_else(missing)?.expose_provenance(), arguments)
}

/// Undoes what executing `/proc/self/exe` from any thread leaves behind. Called on the first
/// thread, whose name is the name of the process.
fn look_like_the_program() {
    // The kernel calls the process `exe`. Lists of processes should show the program's name.
    if let Some(name) = execute::own_name() {
        let name = std::path::Path::new(&name).file_name().unwrap_or(&name);
        if let Ok(name) = CString::new(name.as_encoded_bytes()) {
            // If the system refuses, the name stays: it has no other use.
            let _ = nix::sys::prctl::set_name(&name);
        }
    }
    // The thread that forked may have blocked SIGTERM, by which the parent asks a worker to end.
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    // Cannot fail: the set is valid.
    let _ = term.thread_unblock();
}

/// Returns the end towards the parent, in a program that a parent started by
/// [`spawn`](crate::spawn).
///
/// The first call attaches. Later calls return the same end, which stays open until it is closed or
/// either process ends.
///
/// If the first call fails, later calls fail for the same reason, and this process starts no
/// workers: [`fork`](crate::fork) and [`spawn`](crate::spawn) fail with [`ForkError::Unclaimed`].
/// Otherwise a program that starts itself where it has no parent would do so for ever.
///
/// # Blocking
///
/// The first call blocks until one of these happens. A call of another thread waits for the first.
///
/// - The settings that the parent sends have arrived.
/// - The parent gives up the start, after [`Builder::fork_timeout`](crate::Builder::fork_timeout)
///   at the latest.
/// - The parent has ended.
///
/// # Errors
///
/// - [`Error::NotAWorker`] if no parent started this program through this library.
/// - [`Error::Fork`] if this process cannot attach to the parent's segment. The cause is
///   [`ForkError::SecureExecution`] in secure execution, and [`ForkError::Handshake`] if the parent
///   belongs to another user, who is not root. The parent gets an error, too.
///
/// # Examples
///
/// ```no_run
/// fn main() -> coprocess::Result<()> {
///     let co = coprocess::parent()?;
///     co.serve("double", |n: u64| 2 * n);
///     co.run()
/// }
/// ```
pub fn parent() -> Result<Coprocess> {
    // Held throughout: a second thread waits, and gets the same end rather than an error.
    let mut parent = lock(&PARENT);
    if let Err(why) = role::examine_without_init(&mut parent) {
        drop(parent);
        give_up(why);
    }
    let attached = match std::mem::replace(&mut *parent, Parent::None) {
        Parent::None | Parent::Lost(_) => return Err(Error::NotAWorker),
        Parent::Found(lifeline) => {
            attach(lifeline, |_, _| Ok(())).map(|(end, ())| Coprocess::new(end))
        }
        Parent::Refused(cause) => Err(cause),
        Parent::Attached(co) => Ok(co),
    };
    match attached {
        Ok(co) => {
            role::set_claimed();
            *parent = Parent::Attached(co.clone());
            Ok(co)
        }
        Err(cause) => {
            *parent = Parent::Refused(copy_error(&cause));
            let program = execute::own_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(Error::Fork { program, cause })
        }
    }
}

/// Copies an error, for the next call of `parent`.
fn copy_error(error: &ForkError) -> ForkError {
    match error {
        ForkError::SecureExecution => ForkError::SecureExecution,
        ForkError::Handshake(why) => ForkError::Handshake(why.clone()),
        ForkError::Setup { action, source } => ForkError::Setup {
            action,
            source: source.raw_os_error().map_or_else(
                || std::io::Error::new(source.kind(), source.to_string()),
                std::io::Error::from_raw_os_error,
            ),
        },
        other => ForkError::Handshake(other.to_string()),
    }
}
