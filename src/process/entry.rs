//! How a process becomes a worker: `init` for functions, `parent` for programs.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use coprocess_ring::{Region, Side};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{SFlag, fstat};

use crate::coprocess::Coprocess;
use crate::end::End;
use crate::error::{Error, ForkError, Result};
use crate::process::handshake::{Hello, Unacceptable, send_verdict};
use crate::process::{FUNCTION, LIFELINE_VARIABLE, PROGRAM, function, pidfd, watcher};
use crate::sync::lock;

/// Whether `init` has run.
static INITIALIZED: AtomicBool = AtomicBool::new(false);
/// Whether the descriptor that the environment names was taken.
static TAKEN: Mutex<bool> = Mutex::new(false);
/// The end towards the parent. Kept for good: the pair lives as long as this process.
static PARENT: OnceLock<Coprocess> = OnceLock::new();

/// The exit status of a worker whose function panicked, as that of any Rust program whose `main` does.
const PANICKED: i32 = 101;

/// Becomes the worker, if this process was started as one; returns otherwise.
///
/// A worker function runs in a process of its own, made by executing the program again. So this must be the first line of `main`: what stands before
/// it is run by every worker, too. In tests, where there is no `main`, use [`init_in_tests!`](crate::init_in_tests).
///
/// # Exits
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
    let Some(lifeline) = take_lifeline(FUNCTION) else { return };
    // This process is a worker, whatever comes.
    INITIALIZED.store(false, Ordering::Relaxed);
    let (end, distance) = match attach(lifeline) {
        Ok(attached) => attached,
        Err(error) => {
            eprintln!("coprocess: cannot become a worker: {error}");
            std::process::exit(1);
        }
    };
    look_like_the_program();
    let Some(worker) = function::at(distance) else {
        eprintln!("coprocess: the parent named a worker function that this executable does not have");
        std::process::exit(1);
    };
    // A worker may have workers of its own.
    INITIALIZED.store(true, Ordering::Relaxed);
    end.handlers_want_background.store(false, Ordering::Relaxed);
    let co = PARENT.get_or_init(|| Coprocess::new(end)).clone();
    if catch_unwind(AssertUnwindSafe(|| worker(co.clone()))).is_err() {
        // The panic hook has reported it.
        std::process::exit(PANICKED);
    }
    let code = match co.run() {
        Ok(()) => 0,
        Err(Error::Disconnected(_)) => 1,
        Err(error) => {
            eprintln!("coprocess: the worker ends: {error}");
            1
        }
    };
    std::process::exit(code);
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
    if let Some(co) = PARENT.get() {
        return Ok(co.clone());
    }
    let Some(lifeline) = take_lifeline(PROGRAM) else {
        return PARENT.get().cloned().ok_or(Error::NotAWorker);
    };
    let program = std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned();
    let (end, _) = attach(lifeline).map_err(|cause| Error::Fork { program, cause })?;
    Ok(PARENT.get_or_init(|| Coprocess::new(end)).clone())
}

/// The socket that the environment names, if this process was started for `role` and it is really there.
fn take_lifeline(role: &str) -> Option<OwnedFd> {
    let value = std::env::var(LIFELINE_VARIABLE).ok()?;
    let mut parts = value.split(':');
    if parts.next()? != role {
        return None;
    }
    let fd: RawFd = parts.next()?.parse().ok()?;
    let inode: u64 = parts.next()?.parse().ok()?;
    let mut taken = lock(&TAKEN);
    if *taken || fd < 0 {
        return None;
    }
    // SAFETY: whether it is open is what fstat finds out; nothing closes it meanwhile.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let stat = fstat(borrowed).ok()?;
    // A process that merely inherits the variable, a worker's own child, does not have the socket: the inode differs, or nothing is open.
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK || stat.st_ino != inode {
        return None;
    }
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    *taken = true;
    // SAFETY: the descriptor was inherited for this library alone, which takes it once.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches to the parent's segment. Returns the end, and which function is meant.
fn attach(lifeline: OwnedFd) -> std::result::Result<(std::sync::Arc<End>, u64), ForkError> {
    let refuse = |why: String| {
        // If the parent is gone, the error has one hearer less.
        let _ = send_verdict(lifeline.as_fd(), Err(&why));
        ForkError::Handshake(why)
    };
    let hello = Hello::receive(lifeline.as_fd()).map_err(|source| ForkError::Setup { action: "read the parent's hello", source })?;
    let (hello, segment) = hello.map_err(|unacceptable| match unacceptable {
        Unacceptable::Nonsense => refuse("the parent's hello makes no sense".to_owned()),
        Unacceptable::Abi => refuse("the parent speaks another version of the protocol".to_owned()),
    })?;
    let capacity = usize::try_from(hello.capacity).unwrap_or(0);
    let region = Region::attach(&segment, capacity).map_err(|e| refuse(e.to_string()))?;
    drop(segment);
    let end = End::new(&region, Side::Worker, hello.parent, hello.terms());
    // In another process id namespace the parent has another number, or none; the lifeline alone must do then.
    let pidfd = if std::os::unix::process::parent_id() == hello.parent { pidfd::open(hello.parent).ok() } else { None };
    let ours = lifeline.try_clone().map_err(|source| ForkError::Setup { action: "copy the lifeline", source })?;
    watcher::watch_parent(&end, ours, pidfd).map_err(|e| refuse(format!("cannot start the process watcher: {e}")))?;
    send_verdict(lifeline.as_fd(), Ok(())).map_err(|source| ForkError::Setup { action: "answer the parent", source })?;
    Ok((end, hello.function))
}
