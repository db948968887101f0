//! How a process becomes a worker: `init` for functions, `parent` for programs.

use std::ffi::CString;
#[cfg(fuzzing)]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use coprocess_ring::{SegmentError, Side};
use nix::sys::signal::{SigSet, Signal};

use crate::coprocess::Coprocess;
use crate::end::End;
use crate::error::{Error, ForkError, Reason, Result};
use crate::process::arguments::Start;
use crate::process::handshake::{Hello, Unacceptable, send_secure, send_verdict};
#[cfg(fuzzing)]
use crate::process::mark::Nonce;
use crate::process::mark::{Found, Lifeline, Mark};
use crate::process::{arguments, before_main, executable, execute, function, out_of_memory, privileges, watcher};
use crate::sync::lock;

/// Whether `init` has run.
static INITIALIZED: AtomicBool = AtomicBool::new(false);
/// Whether this process knows what it was started to be.
static LOOKED: AtomicBool = AtomicBool::new(false);
/// Whether it was started by `spawn`, and `parent` has not run.
static UNCLAIMED: AtomicBool = AtomicBool::new(false);
/// The end towards the parent.
static PARENT: Mutex<Parent> = Mutex::new(Parent { lifeline: None, co: None });

struct Parent {
    /// What was found and `parent` is to use.
    lifeline: Option<Lifeline>,
    /// Kept for good: the pair lives as long as this process.
    co: Option<Coprocess>,
}

/// The exit status of a worker whose function panicked, as that of any Rust program whose `main` does.
const PANICKED: i32 = 101;

/// Becomes the worker, if this process was started as one; returns otherwise.
///
/// A worker function runs in a process of its own, made by executing the program again. So this must be the first line of `main`: what stands before
/// it is run by every worker, too. In tests, where there is no `main`, use [`init_in_tests!`](crate::init_in_tests).
///
/// # Exits
///
/// A worker whose parent is gone ends by itself; one that does not, stuck in code of its own, is ended after 250 ms, with status 137.
///
/// In a process that was started to be a worker and cannot become one, this does not return, either: one
/// line on its standard error says why, and the process ends with status 1. Its `main` does not go on.
///
/// In a worker of [`fork`](crate::fork) this does not return: the process ends with status 0 once the other end has closed, with 101 if
/// the worker function panicked, with 1 if the pair ended otherwise or the worker could not attach.
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
    if let Some(lifeline) = worker_lifeline() {
        look_like_the_program();
        become_worker(lifeline);
    }
}

/// Becomes the worker of a program that has no `main` of its own, before the C library calls `main`:
/// what [`init_in_tests!`](crate::init_in_tests) stands for.
#[doc(hidden)]
pub fn init_before_main() {
    if let Some(lifeline) = worker_lifeline() {
        look_like_the_program();
        before_main::run_as_main(|| become_worker(lifeline));
    }
}

/// What leads to the parent, if this process was started to run a worker function. Ends the process if
/// it was, and cannot.
fn worker_lifeline() -> Option<Lifeline> {
    executable::learn();
    let first = !INITIALIZED.swap(true, Ordering::Relaxed);
    if first { look(&mut lock(&PARENT)) } else { None }
}

/// Finds out what this process was started to be, once.
fn look(parent: &mut Parent) -> Option<Lifeline> {
    // Relaxed, as the next: ordered by the lock of `parent`.
    if LOOKED.swap(true, Ordering::Relaxed) {
        return None;
    }
    match Mark::examine() {
        Found::Nothing => None,
        Found::Function(lifeline) => Some(lifeline),
        // For `parent`.
        Found::Program(lifeline) => {
            parent.lifeline = Some(lifeline);
            UNCLAIMED.store(true, Ordering::Relaxed);
            None
        }
        Found::Lost(why) => give_up(why),
    }
}

/// As [`look`], where `init` has had its chance.
fn look_without_init(parent: &mut Parent) {
    if look(parent).is_some() {
        give_up("coprocess::init() has not run: it must be the first line of main()");
    }
}

/// Makes sure that this process may start workers: not if it was started to be one and has not become
/// one. Otherwise a program that starts itself, and forgets that it was started, would do so for ever.
///
/// # Errors
///
/// [`ForkError::Unclaimed`] in a program that has not called `parent`.
pub(crate) fn check_claimed() -> std::result::Result<(), ForkError> {
    // Not under the lock once that is known: in a child of fork(2) it may be locked for ever.
    if !LOOKED.load(Ordering::Relaxed) {
        look_without_init(&mut lock(&PARENT));
    }
    if UNCLAIMED.load(Ordering::Relaxed) { Err(ForkError::Unclaimed) } else { Ok(()) }
}

fn become_worker(lifeline: Lifeline) -> ! {
    let (end, worker) = attach(lifeline, start).unwrap_or_else(|error| give_up(&error.to_string()));
    end.handlers_want_background.store(false, Ordering::Relaxed);
    let co = Coprocess::new(end);
    lock(&PARENT).co = Some(co.clone());
    if catch_unwind(AssertUnwindSafe(|| worker(co.clone()))).is_err() {
        // The panic hook has reported it.
        std::process::exit(PANICKED);
    }
    let ran = co.run();
    // Callbacks that were told of the end elsewhere.
    co.end().endings.wait_until_told();
    let code = match ran {
        Ok(()) => 0,
        Err(Error::Disconnected(reason)) if reason != Reason::DescriptorsClosed => 1,
        Err(error) => give_up(&error.to_string()),
    };
    std::process::exit(code);
}

/// What the parent wants to be run, with its arguments.
fn start(hello: &Hello, arguments: &[u8]) -> std::result::Result<Start, String> {
    let missing = || "the executable does not have the function".to_owned();
    if hello.shim == 0 {
        return Ok(Box::new(function::at(hello.function).ok_or_else(missing)?));
    }
    let shim = function::shim_at(hello.shim).ok_or_else(missing)?;
    shim(function::address(hello.function).ok_or_else(missing)?.expose_provenance(), arguments)
}

fn give_up(why: &str) -> ! {
    eprintln!("coprocess: the worker ends: {why}");
    std::process::exit(1);
}

/// Undoes what executing `/proc/self/exe` from any thread leaves behind. Called on the first thread,
/// whose name the process has.
fn look_like_the_program() {
    // The kernel calls the process `exe`; show the program's name where processes are listed.
    if let Some(name) = execute::own_name() {
        let name = std::path::Path::new(&name).file_name().unwrap_or(&name);
        if let Ok(name) = CString::new(name.as_encoded_bytes()) {
            // A matter of looks: if the system refuses, the name stays.
            let _ = nix::sys::prctl::set_name(&name);
        }
    }
    // The thread that forked may have blocked SIGTERM, by which the parent asks a worker to end.
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    // Cannot fail: the set is a valid one.
    let _ = term.thread_unblock();
}

pub(crate) fn is_initialized() -> bool {
    INITIALIZED.load(Ordering::Relaxed)
}

/// The end towards the parent, in a program that a parent started by [`spawn`](crate::spawn).
///
/// The first call attaches; later ones return the same end. It stays open until it is closed, or either process ends.
///
/// # Errors
///
/// [`Error::NotAWorker`] if no parent started this program through this library. [`Error::Fork`] if the parent's segment
/// cannot be attached, or with [`ForkError::SecureExecution`]; the parent gets an error, too.
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
    // Held throughout: a second thread gets the same end, not an error.
    let mut parent = lock(&PARENT);
    if let Some(co) = &parent.co {
        return Ok(co.clone());
    }
    look_without_init(&mut parent);
    UNCLAIMED.store(false, Ordering::Relaxed);
    let lifeline = parent.lifeline.take().ok_or(Error::NotAWorker)?;
    let program = execute::own_name().unwrap_or_default().to_string_lossy().into_owned();
    let (end, ()) = attach(lifeline, |_, _| Ok(())).map_err(|cause| Error::Fork { program, cause })?;
    Ok(parent.co.insert(Coprocess::new(end)).clone())
}

/// Attaches to the parent's segment. `ready` says whether this process can be what the parent wants.
fn attach<T>(
    lifeline: Lifeline,
    ready: impl FnOnce(&Hello, &[u8]) -> std::result::Result<T, String>,
) -> std::result::Result<(Arc<End>, T), ForkError> {
    if privileges::is_secure() {
        // The parent is told. If the parent is gone, the caller's error is all there is.
        let _ = send_secure(lifeline.socket.as_fd());
        return Err(ForkError::SecureExecution);
    }
    let parent = lifeline.parent();
    match prepare(&lifeline, parent.as_ref().map(AsFd::as_fd), ready) {
        Ok((end, what, limits_memory)) => {
            let socket = Arc::new(lifeline.socket);
            // Before the parent hears that all is well: this can fail, for want of a thread or of descriptors.
            if let Err(source) = watcher::watch_parent(&end, socket.clone(), parent) {
                let _ = send_verdict(socket.as_fd(), Err(&format!("the worker cannot start its process watcher: {source}")));
                return Err(ForkError::setup("start the process watcher")(source));
            }
            if limits_memory && let Err(source) = out_of_memory::tell_through(socket.as_fd()) {
                let _ = send_verdict(socket.as_fd(), Err(&format!("the worker cannot handle SIGABRT: {source}")));
                return Err(ForkError::setup("handle SIGABRT")(source));
            }
            let told = send_verdict(socket.as_fd(), Ok(()));
            told.map_err(ForkError::setup("answer the parent"))?;
            Ok((end, what))
        }
        Err(why) => {
            // If the parent is gone, the error has one hearer less.
            let _ = send_verdict(lifeline.socket.as_fd(), Err(&why));
            Err(ForkError::Handshake(why))
        }
    }
}

fn prepare<T>(
    lifeline: &Lifeline,
    parent: Option<BorrowedFd<'_>>,
    ready: impl FnOnce(&Hello, &[u8]) -> std::result::Result<T, String>,
) -> std::result::Result<(Arc<End>, T, bool), String> {
    let hello = Hello::receive(lifeline, parent).map_err(|e| format!("cannot read the parent's hello: {e}"))?;
    let (hello, access) = hello.map_err(|unacceptable| match unacceptable {
        Unacceptable::Nonsense => "the parent's hello makes no sense".to_owned(),
        Unacceptable::Abi => "the parent speaks another version of the protocol".to_owned(),
        Unacceptable::Gone => "the parent is gone".to_owned(),
        Unacceptable::Taken => "another process has become the worker already".to_owned(),
    })?;
    // Before all that can fail: what is not read stands before the answer in the parent's eyes.
    let arguments = match usize::try_from(hello.arguments) {
        Ok(0) => Vec::new(),
        Ok(length) if hello.arguments <= hello.max_message() => arguments::receive(lifeline.socket.as_fd(), parent, length)
            .map_err(|e| format!("cannot read the arguments of the worker function: {e}"))?
            .ok_or("the arguments of the worker function do not come")?,
        _ => return Err("the parent's hello makes no sense".to_owned()),
    };
    let region = access.attach(hello.capacity).map_err(|error| match error {
        SegmentError::FeatureMissing(feature) => format!("the worker was built without the feature `{feature}` of coprocess"),
        other => other.to_string(),
    })?;
    region.mind(parent, lifeline.socket.as_fd()).map_err(|e| format!("cannot copy a descriptor: {e}"))?;
    let what = ready(&hello, &arguments)?;
    hello.terminal_signals().apply();
    let end = End::new(&region, Side::Worker, hello.parent, hello.terms());
    Ok((end, what, hello.limits_memory != 0))
}

/// As [`attach`], without an answer, and with nobody who watches over the parent.
#[cfg(fuzzing)]
pub(crate) fn attach_unwatched(socket: OwnedFd) -> std::result::Result<Arc<End>, String> {
    prepare(&Lifeline { socket, nonce: Nonce::from_bytes([0; 8]) }, None, |_, _| Ok(())).map(|(end, (), _)| end)
}
