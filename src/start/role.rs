//! Finds out what this process was started as, and whether it may start workers itself.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::api::coprocess::Coprocess;
use crate::error::ForkError;
use crate::process::handshake::Lifeline;
use crate::process::identity::executable;
use crate::process::identity::mark::{Mark, StartedAs};
use crate::sync::lock;

/// `true` once `init` has run.
static INITIALIZED: AtomicBool = AtomicBool::new(false);
/// `true` once this process has examined its mark.
static EXAMINED: AtomicBool = AtomicBool::new(false);
/// `true` if this process was started as a worker, and has not become one. First written before
/// [`EXAMINED`].
static UNCLAIMED: AtomicBool = AtomicBool::new(false);
/// Counts the processes that have started one another, up to this one, without attaching. Written
/// before [`EXAMINED`].
static CHAIN_LENGTH: AtomicU32 = AtomicU32::new(0);
/// Is the chain length from which a process starts no workers. A program that has not attached may
/// start another one on purpose; such chains are shorter.
const MAX_CHAIN_LENGTH: u32 = 3;
/// This process's way to its parent.
pub(super) static PARENT: Mutex<Parent> = Mutex::new(Parent::None);

/// This process's way to its parent.
pub(super) enum Parent {
    /// No parent started this process, or this process does not know yet.
    None,
    /// The lifeline that the mark has led to, for `parent` to attach through.
    Found(Lifeline),
    /// This process must end, for this reason.
    Lost(&'static str),
    /// `parent` has failed.
    Refused(ForkError),
    /// The end. Kept for good: the pair lives as long as this process.
    Attached(Coprocess),
}

/// Returns the lifeline if this process was started to run a worker function, at the first call.
///
/// Ends the process if it was started to run a worker function, and cannot.
pub(super) fn worker_lifeline() -> Option<Lifeline> {
    executable::learn();
    let first = !INITIALIZED.swap(true, Ordering::Relaxed);
    if !first {
        return None;
    }
    let examined = examine(&mut lock(&PARENT));
    examined.unwrap_or_else(|why| give_up(why))
}

/// Examines the mark, once. Returns the lifeline if this process was started to run a worker
/// function. Such a process must become the worker, or end: it may start no workers any more.
///
/// # Errors
///
/// Why this process must end. The caller releases the lock first, since other threads may need it
/// until then.
fn examine(parent: &mut Parent) -> Result<Option<Lifeline>, &'static str> {
    // Relaxed: ordered by the lock of `parent`.
    if EXAMINED.load(Ordering::Relaxed) {
        // Another thread may have found the reason, and be about to end the process.
        return if let Parent::Lost(why) = parent { Err(*why) } else { Ok(None) };
    }
    let role = Mark::examine();
    match role {
        StartedAs::NoWorker { chain_length } => CHAIN_LENGTH.store(chain_length, Ordering::Relaxed),
        _ => UNCLAIMED.store(true, Ordering::Relaxed),
    }
    // Release: pairs with the Acquire of `check_claimed`, which reads the two others after this
    // one.
    EXAMINED.store(true, Ordering::Release);
    match role {
        StartedAs::NoWorker { .. } => Ok(None),
        StartedAs::Function(lifeline) => Ok(Some(lifeline)),
        StartedAs::Program(lifeline) => {
            *parent = Parent::Found(lifeline);
            Ok(None)
        }
        StartedAs::Lost(why) => {
            *parent = Parent::Lost(why);
            Err(why)
        }
    }
}

/// Examines the mark, once, at a point that a worker of `fork` reaches only if it has not called
/// `init`.
///
/// # Errors
///
/// Why this process must end, as for [`examine`].
pub(super) fn examine_without_init(parent: &mut Parent) -> Result<(), &'static str> {
    if examine(parent)?.is_none() {
        return Ok(());
    }
    let why = "coprocess::init() has not run: it must be the first line of main()";
    *parent = Parent::Lost(why);
    Err(why)
}

/// Records that this process has become the worker that it was started as. From then on it may
/// start workers.
pub(super) fn set_claimed() {
    UNCLAIMED.store(false, Ordering::Relaxed);
}

/// Checks that this process may start workers.
///
/// A process that was started as a worker, and has not become one, may not. Otherwise a program
/// that starts itself, and ignores that it was started, would do so for ever.
///
/// # Errors
///
/// [`ForkError::Unclaimed`] in a program that has not called `parent`, or whose `parent` has
/// failed; and in a program at the end of a chain of programs that have started one another.
pub(super) fn check_claimed() -> Result<(), ForkError> {
    // Without the lock once the mark was examined: in a child of fork(2) the lock may be held for
    // ever. Acquire: pairs with the Release of `examine`.
    if !EXAMINED.load(Ordering::Acquire) {
        let examined = examine_without_init(&mut lock(&PARENT));
        examined.unwrap_or_else(|why| give_up(why));
    }
    let is_chain = chain_length() >= MAX_CHAIN_LENGTH;
    if UNCLAIMED.load(Ordering::Relaxed) || is_chain { Err(ForkError::Unclaimed) } else { Ok(()) }
}

/// Returns how many processes have started one another, up to this one, without attaching.
pub(super) fn chain_length() -> u32 {
    CHAIN_LENGTH.load(Ordering::Relaxed)
}

/// Returns `true` if `init` has run.
pub(super) fn is_initialized() -> bool {
    INITIALIZED.load(Ordering::Relaxed)
}

/// Ends this process, which must be a worker and cannot. Says why on standard error.
pub(super) fn give_up(why: &str) -> ! {
    // Not `eprintln`, which would panic: a worker that cannot say why it ends must end
    // nevertheless.
    let _ = writeln!(std::io::stderr(), "coprocess: the worker ends: {why}");
    std::process::exit(1);
}
