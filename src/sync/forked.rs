//! Tells a child of fork(2) from the process that made a pair.
//!
//! The program, or one of its libraries, may call fork(2). The child has copies of the handles, and
//! nothing behind them: the shared memory is not mapped, and the library's threads do not exist. A
//! lock that another thread held stays locked for ever. So before a thread touches an end, the
//! thread checks that the end belongs to this process.
//!
//! In each child, the C library calls a handler, which counts. So the check costs one load of a
//! word that is hardly ever written; asking for the process id would be a system call. A child that
//! is made without the C library, by a bare `clone`, is not recognized: such a child must neither
//! use nor drop a handle.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the forks between this process and the process that was executed. The word is alone in
/// its cache line, since each message loads it.
static GENERATION: Padded = Padded(AtomicU32::new(0));

#[repr(align(128))]
struct Padded(AtomicU32);

/// Identifies a process in a line of forks: the process that made a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    /// Returns the generation of this process, and has children of fork(2) counted from here on.
    pub(crate) fn watched() -> Generation {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // Fails only for want of memory, at the start of the first pair. Then forked children
            // are not recognized, and must not use the pair.
            // SAFETY: the handler is a function of this program that neither allocates nor locks,
            // as code between fork and exec must not.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        Generation::current()
    }

    #[inline]
    fn current() -> Generation {
        // Relaxed: a child writes the word before its only thread goes on.
        Generation(GENERATION.0.load(Ordering::Relaxed))
    }

    /// Returns `true` if this process is a fork of the process of this generation.
    #[inline]
    pub(crate) fn is_foreign(self) -> bool {
        self != Generation::current()
    }
}

extern "C" fn in_child() {
    GENERATION.0.fetch_add(1, Ordering::Relaxed);
}
