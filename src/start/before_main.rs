//! What the standard library does for a program before its `main`, for a worker that runs before that:
//! in a test binary, whose `main` is the test harness's. Its worker is to find what any other finds.
//!
//! Streams that were closed are open, to `/dev/null`; SIGPIPE is ignored, so that a write to a closed
//! pipe is an error; the worker's thread is named `main`, and says so where its stack overflows.
//!
//! One difference is left: a thread that the program itself starts in such a worker dies of a stack
//! overflow without a line on its standard error, by SIGSEGV. The standard library prepares its
//! threads only if it has prepared `main`.

use std::thread;

use crate::process::{handle_overflows, prepare_thread};

const MAIN: &str = "main";
/// What the stack of `main` is at most here, where the system sets no limit.
const LARGEST_STACK: libc::rlim_t = 64 << 20;
/// What it is at least.
const SMALLEST_STACK: libc::rlim_t = 1 << 20;

/// Runs a worker in the place of `main`. This thread only waits for it.
pub(crate) fn run_as_main(worker: impl FnOnce() + Send) -> ! {
    open_streams();
    // SAFETY: no handler is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    handle_overflows();
    let mut worker = Some(worker);
    let ran = thread::scope(|scope| {
        let run = || {
            prepare_thread(MAIN);
            if let Some(worker) = worker.take() {
                worker();
            }
        };
        thread::Builder::new().name(MAIN.to_owned()).stack_size(stack_size()).spawn_scoped(scope, run).is_ok()
    });
    if !ran && let Some(worker) = worker {
        // The system has no thread left. The worker does without a name, and may have what it needs.
        prepare_thread(MAIN);
        worker();
    }
    // The worker has ended the process.
    std::process::abort()
}

fn open_streams() {
    for stream in 0..=2 {
        // SAFETY: asks only whether it is open.
        if unsafe { libc::fcntl(stream, libc::F_GETFD) } == -1 {
            // The lowest number that is free: this one. Where it cannot be opened it stays closed.
            // SAFETY: opens a file by a name that is a C string.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

fn stack_size() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes to `limit` only, which outlives the call.
    unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) };
    usize::try_from(limit.rlim_cur.clamp(SMALLEST_STACK, LARGEST_STACK)).unwrap_or(usize::MAX)
}
