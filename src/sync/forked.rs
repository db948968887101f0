//! What fork(2), called by the program or by one of its libraries, means for pairs: the child has copies of the handles, and nothing behind
//! them. The shared memory is not mapped there, the library's threads do not exist, and a lock that another thread held stays locked for
//! ever. So whatever is about to touch an end finds out first whether the end is this process's own.
//!
//! A child is told from its parent by the C library, which calls a handler in the child. That costs one load of a word that is hardly ever
//! written, where asking for the process id would be a system call. A child that is made without the C library (by a bare `clone`) is
//! not known as one: it must not use a handle, nor drop one.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between this process and the one that was executed. By itself in its cache line: every message looks at it.
static GENERATION: Padded = Padded(AtomicU32::new(0));

#[repr(align(128))]
struct Padded(AtomicU32);

/// Which process of a line of forks made something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    /// This process's own. From here on its children are known as such.
    pub(crate) fn watched() -> Generation {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // Fails only for want of memory, at the start of the first pair: then forked children are not told apart, and must not use the pair.
            // SAFETY: the handler is a function of this program that neither allocates nor locks, as it must be between fork and exec.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        Generation::current()
    }

    #[inline]
    fn current() -> Generation {
        // Relaxed: written before the only thread of a child goes on.
        Generation(GENERATION.0.load(Ordering::Relaxed))
    }

    /// Whether this process is a fork of the one that this is the generation of.
    #[inline]
    pub(crate) fn is_foreign(self) -> bool {
        self != Generation::current()
    }
}

extern "C" fn in_child() {
    GENERATION.0.fetch_add(1, Ordering::Relaxed);
}
