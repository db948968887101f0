//! How a process becomes a worker: `init` for functions, `parent` for programs.

use std::ffi::CString;
use std::io::Write;
#[cfg(fuzzing)]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use coprocess_ring::{SegmentError, Side};
use nix::sys::signal::{SigSet, Signal};

use crate::coprocess::Coprocess;
use crate::end::End;
use crate::error::{Error, ForkError, Reason, Result};
use crate::process::arguments::Start;
use crate::process::handshake::{self, Hello, send_secure, send_verdict};
#[cfg(fuzzing)]
use crate::process::mark::Nonce;
use crate::process::mark::{Found, Lifeline, Mark};
use crate::process::{arguments, before_main, executable, execute, function, out_of_memory, privileges, watcher};
use crate::sync::lock;

/// Whether `init` has run.
static INITIALIZED: AtomicBool = AtomicBool::new(false);
/// Whether this process knows what it was started to be.
static LOOKED: AtomicBool = AtomicBool::new(false);
/// Whether it was started to be a worker, and is none. Written before [`LOOKED`].
static UNCLAIMED: AtomicBool = AtomicBool::new(false);
/// How many processes have started one another, up to this one, of which none has attached. Written
/// before [`LOOKED`].
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// How many there may be: more than a program that is started on purpose by one that has not attached.
const MOST_GENERATIONS: u32 = 3;
/// The end towards the parent.
static PARENT: Mutex<Parent> = Mutex::new(Parent::None);

enum Parent {
    /// No parent started this process, or this process does not know yet.
    None,
    /// What was found and `parent` is to use.
    Found(Lifeline),
    /// This process must end: why.
    Lost(&'static str),
    /// `parent` has failed.
    Refused(ForkError),
    /// Kept for good: the pair lives as long as this process.
    Attached(Coprocess),
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
    if !first {
        return None;
    }
    let looked = look(&mut lock(&PARENT));
    looked.unwrap_or_else(|why| give_up(why))
}

/// Finds out what this process was started to be, once. If it was started to run a worker function, it
/// must do so, or end: it starts no workers any more.
///
/// # Errors
///
/// Why this process must end: with the lock released, since other threads may want it until then.
fn look(parent: &mut Parent) -> std::result::Result<Option<Lifeline>, &'static str> {
    // Relaxed: ordered by the lock of `parent`.
    if LOOKED.load(Ordering::Relaxed) {
        // Another thread may have found that, and be on the way to end the process.
        return if let Parent::Lost(why) = parent { Err(*why) } else { Ok(None) };
    }
    let found = Mark::examine();
    match found {
        Found::Nothing { generation } => GENERATION.store(generation, Ordering::Relaxed),
        _ => UNCLAIMED.store(true, Ordering::Relaxed),
    }
    // Release: pairs with the Acquire of `check_claimed`, which reads `UNCLAIMED` after this.
    LOOKED.store(true, Ordering::Release);
    match found {
        Found::Nothing { .. } => Ok(None),
        Found::Function(lifeline) => Ok(Some(lifeline)),
        Found::Program(lifeline) => {
            *parent = Parent::Found(lifeline);
            Ok(None)
        }
        Found::Lost(why) => {
            *parent = Parent::Lost(why);
            Err(why)
        }
    }
}

/// As [`look`], where `init` has had its chance.
fn look_without_init(parent: &mut Parent) -> std::result::Result<(), &'static str> {
    if look(parent)?.is_none() {
        return Ok(());
    }
    let why = "coprocess::init() has not run: it must be the first line of main()";
    *parent = Parent::Lost(why);
    Err(why)
}

/// Makes sure that this process may start workers: not if it was started to be one and has not become
/// one. Otherwise a program that starts itself, and forgets that it was started, would do so for ever.
///
/// # Errors
///
/// [`ForkError::Unclaimed`] in a program whose `parent` has not been called, or has failed; or that is
/// one of many that have started one another.
pub(crate) fn check_claimed() -> std::result::Result<(), ForkError> {
    // Not under the lock once that is known: in a child of fork(2) it may be locked for ever.
    // Acquire: pairs with the Release of `look`.
    if !LOOKED.load(Ordering::Acquire) {
        let looked = look_without_init(&mut lock(&PARENT));
        looked.unwrap_or_else(|why| give_up(why));
    }
    let is_chain = GENERATION.load(Ordering::Relaxed) >= MOST_GENERATIONS;
    if UNCLAIMED.load(Ordering::Relaxed) || is_chain { Err(ForkError::Unclaimed) } else { Ok(()) }
}

fn become_worker(lifeline: Lifeline) -> ! {
    let (end, worker) = attach(lifeline, start).unwrap_or_else(|error| give_up(&error.to_string()));
    end.handlers_want_background.store(false, Ordering::Relaxed);
    let co = Coprocess::new(end);
    *lock(&PARENT) = Parent::Attached(co.clone());
    UNCLAIMED.store(false, Ordering::Relaxed);
    if catch_unwind(AssertUnwindSafe(|| worker(co.clone()))).is_err() {
        // The panic hook has reported it.
        std::process::exit(PANICKED);
    }
    let ran = co.run();
    // Another thread may have found the end, and be on the way to tell it.
    co.end().endings.tell(co.end().how_it_went());
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
    // A worker that cannot say why it ends must end nevertheless: `eprintln` would panic.
    let _ = writeln!(std::io::stderr(), "coprocess: the worker ends: {why}");
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

/// How many processes have started one another, up to this one, of which none has attached.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

pub(crate) fn is_initialized() -> bool {
    INITIALIZED.load(Ordering::Relaxed)
}

/// The end towards the parent, in a program that a parent started by [`spawn`](crate::spawn).
///
/// The first call attaches; later ones return the same end. It stays open until it is closed, or either process ends.
///
/// If the first call fails, later ones fail for the same reason, and this process starts no workers:
/// [`fork`](crate::fork) and [`spawn`](crate::spawn) fail with [`ForkError::Unclaimed`]. Otherwise a program that
/// starts itself where it has no parent would do so for ever.
///
/// # Errors
///
/// [`Error::NotAWorker`] if no parent started this program through this library. [`Error::Fork`] if the parent's segment
/// cannot be attached; with [`ForkError::SecureExecution`], or with [`ForkError::Handshake`] if the parent belongs to
/// another user, who is not root. The parent gets an error, too.
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
    if let Err(why) = look_without_init(&mut parent) {
        drop(parent);
        give_up(why);
    }
    let attached = match std::mem::replace(&mut *parent, Parent::None) {
        Parent::None | Parent::Lost(_) => return Err(Error::NotAWorker),
        Parent::Found(lifeline) => attach(lifeline, |_, _| Ok(())).map(|(end, ())| Coprocess::new(end)),
        Parent::Refused(cause) => Err(cause),
        Parent::Attached(co) => Ok(co),
    };
    match attached {
        Ok(co) => {
            UNCLAIMED.store(false, Ordering::Relaxed);
            *parent = Parent::Attached(co.clone());
            Ok(co)
        }
        Err(cause) => {
            *parent = Parent::Refused(again(&cause));
            let program = execute::own_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(Error::Fork { program, cause })
        }
    }
}

/// The same error, for the next call.
fn again(error: &ForkError) -> ForkError {
    match error {
        ForkError::SecureExecution => ForkError::SecureExecution,
        ForkError::Handshake(why) => ForkError::Handshake(why.clone()),
        ForkError::Setup { action, source } => ForkError::Setup {
            action,
            source: source
                .raw_os_error()
                .map_or_else(|| std::io::Error::new(source.kind(), source.to_string()), std::io::Error::from_raw_os_error),
        },
        other => ForkError::Handshake(other.to_string()),
    }
}

/// Attaches to the parent's segment. `ready` says whether this process can be what the parent wants.
fn attach<T>(
    lifeline: Lifeline,
    ready: impl FnOnce(&Hello, &[u8]) -> std::result::Result<T, String>,
) -> std::result::Result<(Arc<End>, T), ForkError> {
    // What is said through the socket is the worker's word: another process says nothing.
    take_claim(&lifeline)?;
    if privileges::is_secure() {
        // The parent is told. If the parent is gone, the caller's error is all there is.
        let _ = send_secure(lifeline.socket.as_fd());
        return Err(ForkError::SecureExecution);
    }
    if !lifeline.is_trusted() {
        let why = "the process that started this one belongs to another user, who is not root";
        let _ = send_verdict(lifeline.socket.as_fd(), Err(why));
        return Err(ForkError::Handshake(why.to_owned()));
    }
    let parent = lifeline.parent();
    match prepare(&lifeline, parent.as_ref().map(AsFd::as_fd), ready) {
        Ok((end, what, limits_memory)) => {
            let socket = Arc::new(lifeline.socket);
            // Before the parent hears that all is well: this can fail, for want of a thread or of descriptors.
            if let Err(source) = watcher::watch_parent(&end, socket.clone(), parent, lifeline.child_of) {
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
    let (hello, access) = hello.map_err(|unacceptable| unacceptable.to_string())?;
    // Before all that can fail: what is not read stands before the answer in the parent's eyes.
    let arguments = match usize::try_from(hello.arguments) {
        Ok(0) => Vec::new(),
        Ok(length) if hello.arguments <= hello.max_message() => arguments::receive(lifeline, parent, length)
            .map_err(|e| format!("cannot read the arguments of the worker function: {e}"))?
            .ok_or("the arguments of the worker function do not come")?,
        _ => return Err("the parent's hello makes no sense".to_owned()),
    };
    let region = access.attach(hello.capacity).map_err(|error| match error {
        SegmentError::FeatureMissing(feature) => format!("the worker was built without the feature `{feature}` of coprocess"),
        other => other.to_string(),
    })?;
    region.set_peer_liveness(parent, lifeline.socket.as_fd()).map_err(|e| format!("cannot copy a descriptor: {e}"))?;
    let what = ready(&hello, &arguments)?;
    hello.terminal_signals().apply();
    let end = End::new(&region, Side::Worker, hello.parent, hello.terms());
    Ok((end, what, hello.limits_memory()))
}

/// Makes this process the worker.
fn take_claim(lifeline: &Lifeline) -> std::result::Result<(), ForkError> {
    let taken = handshake::take_claim(lifeline.socket.as_fd(), lifeline.nonce);
    let taken = taken.map_err(|e| ForkError::Handshake(format!("cannot read the parent's claim: {e}")))?;
    taken.map_err(|unacceptable| ForkError::Handshake(unacceptable.to_string()))
}

/// As [`attach`], without an answer, and with nobody who watches over the parent.
#[cfg(fuzzing)]
pub(crate) fn attach_unwatched(socket: OwnedFd) -> std::result::Result<Arc<End>, String> {
    let lifeline = Lifeline { socket, nonce: Nonce::from_bytes([0; 8]), child_of: None };
    take_claim(&lifeline).map_err(|refused| refused.to_string())?;
    prepare(&lifeline, None, |_, _| Ok(())).map(|(end, (), _)| end)
}
