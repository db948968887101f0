//! How a process becomes a worker: `init` for functions, `parent` for programs.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::parent_id;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use coprocess_ring::{SegmentError, Side};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{SFlag, fstat};

use crate::coprocess::Coprocess;
use crate::end::End;
use crate::error::{Error, ForkError, Result};
use crate::process::arguments::Start;
use crate::process::handshake::{Hello, Unacceptable, send_verdict};
use crate::process::{FUNCTION, LIFELINE_VARIABLE, PROGRAM, arguments, function, out_of_memory, pidfd, watcher};
use crate::sync::lock;

/// Whether `init` has run.
static INITIALIZED: AtomicBool = AtomicBool::new(false);
/// The end towards the parent.
static PARENT: Mutex<Parent> = Mutex::new(Parent { lifeline: None, tried: false, co: None });

struct Parent {
    /// What `init` has found and `parent` is to use.
    lifeline: Option<Lifeline>,
    /// Whether `parent` has taken it.
    tried: bool,
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
    if INITIALIZED.swap(true, Ordering::Relaxed) {
        return;
    }
    let lifeline = match find_lifeline() {
        Found::Nothing => return,
        // For `parent`; nobody else is to inherit it.
        Found::Program(lifeline) => return lock(&PARENT).lifeline = Some(lifeline),
        Found::Function(lifeline) => lifeline,
        Found::Lost => give_up("the parent's socket was closed before init() was called: it must be the first line of main"),
    };
    look_like_the_program();
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
        Err(Error::Disconnected(_)) => 1,
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

/// Undoes what executing `/proc/self/exe` from any thread leaves behind.
fn look_like_the_program() {
    // The kernel calls the process `exe`; show the program's name where processes are listed.
    if let Some(name) = std::env::args_os().next() {
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
/// cannot be attached; the parent gets an error, too.
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
    let lifeline = match (parent.lifeline.take(), INITIALIZED.load(Ordering::Relaxed)) {
        (Some(lifeline), _) => lifeline,
        // `init` has looked already.
        (None, true) => return Err(Error::NotAWorker),
        (None, false) if parent.tried => return Err(Error::NotAWorker),
        (None, false) => match find_lifeline() {
            Found::Program(lifeline) => lifeline,
            _ => return Err(Error::NotAWorker),
        },
    };
    parent.tried = true;
    let program = std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned();
    let (end, ()) = attach(lifeline, |_, _| Ok(())).map_err(|cause| Error::Fork { program, cause })?;
    Ok(parent.co.insert(Coprocess::new(end)).clone())
}

/// What leads to the parent.
struct Lifeline {
    socket: OwnedFd,
    /// The parent itself. In another process id namespace, or behind a wrapper, it has another number; the socket alone must do then.
    parent: Option<OwnedFd>,
}

/// What the environment says of a parent.
enum Found {
    /// There is none.
    Nothing,
    /// A worker function is wanted.
    Function(Lifeline),
    /// This program is wanted.
    Program(Lifeline),
    /// A worker function is wanted, and what leads to the parent is gone.
    Lost,
}

/// Finds the socket that the environment names, and makes sure that nobody inherits it.
fn find_lifeline() -> Found {
    // SAFETY: reads a number that the kernel gave this process when it was executed.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        // Executed with more rights than its caller has: the environment is not to be trusted.
        return Found::Nothing;
    }
    let Ok(value) = std::env::var(LIFELINE_VARIABLE) else { return Found::Nothing };
    let parts: Vec<&str> = value.split(':').collect();
    let [role, fd, inode, parent] = parts[..] else { return Found::Nothing };
    let parent = parent.parse().ok().filter(|id| *id == parent_id());
    let lifeline = open_socket(fd, inode).map(|socket| Lifeline { socket, parent: parent.and_then(|id| pidfd::open(id).ok()) });
    match (role, lifeline) {
        (FUNCTION, Some(lifeline)) => Found::Function(lifeline),
        (PROGRAM, Some(lifeline)) => Found::Program(lifeline),
        // Not a process that merely inherited the variable: its parent is the one that is named. If it went on as if it were no worker, it would
        // run the program once more, workers and all.
        (FUNCTION, None) if parent.is_some() => Found::Lost,
        _ => Found::Nothing,
    }
}

fn open_socket(fd: &str, inode: &str) -> Option<OwnedFd> {
    let fd: RawFd = fd.parse().ok().filter(|fd| *fd >= 0)?;
    // SAFETY: whether it is open is what fstat finds out; nothing closes it meanwhile.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let stat = fstat(borrowed).ok()?;
    // A process that merely inherits the variable, a worker's own child, does not have the socket: the inode differs, or nothing is open.
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK || inode.parse() != Ok(stat.st_ino) {
        return None;
    }
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: the descriptor was inherited for this library alone, which takes it once: `init` or `parent`, under the lock of the latter.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches to the parent's segment. `ready` says whether this process can be what the parent wants.
fn attach<T>(
    lifeline: Lifeline,
    ready: impl FnOnce(&Hello, &[u8]) -> std::result::Result<T, String>,
) -> std::result::Result<(Arc<End>, T), ForkError> {
    match prepare(&lifeline, ready) {
        Ok((end, what, limits_memory)) => {
            let socket = Arc::new(lifeline.socket);
            // Before the parent hears that all is well: this can fail, for want of a thread or of descriptors.
            if let Err(source) = watcher::watch_parent(&end, socket.clone(), lifeline.parent) {
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
    ready: impl FnOnce(&Hello, &[u8]) -> std::result::Result<T, String>,
) -> std::result::Result<(Arc<End>, T, bool), String> {
    let hello = Hello::receive(lifeline.socket.as_fd(), lifeline.parent.as_ref().map(AsFd::as_fd))
        .map_err(|e| format!("cannot read the parent's hello: {e}"))?;
    let (hello, access) = hello.map_err(|unacceptable| match unacceptable {
        Unacceptable::Nonsense => "the parent's hello makes no sense".to_owned(),
        Unacceptable::Abi => "the parent speaks another version of the protocol".to_owned(),
        Unacceptable::Gone => "the parent is gone".to_owned(),
        Unacceptable::Taken => "another process has become the worker already".to_owned(),
    })?;
    let parent = lifeline.parent.as_ref().map(AsFd::as_fd);
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
    let end = End::new(&region, Side::Worker, hello.parent, hello.terms());
    Ok((end, what, hello.limits_memory != 0))
}

/// As [`attach`], without an answer, and with nobody who watches over the parent.
#[cfg(fuzzing)]
pub(crate) fn attach_unwatched(socket: OwnedFd) -> std::result::Result<Arc<End>, String> {
    prepare(&Lifeline { socket, parent: None }, |_, _| Ok(())).map(|(end, (), _)| end)
}
