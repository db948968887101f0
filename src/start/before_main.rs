//! Runs a worker before `main`, in a test binary, whose `main` belongs to the test harness.
//!
//! Before `main`, the standard library prepares a program. This file does the same, so that such a
//! worker finds what any other worker finds:
//!
//! - Closed standard streams are opened, to `/dev/null`.
//! - SIGPIPE is ignored, so that a write to a closed pipe is an error.
//! - The worker's thread is named `main`, and reports an overflow of its stack by that name.
//!
//! One difference is left. The standard library prepares its threads only if it has prepared
//! `main`. So if a thread that the program itself starts overflows its stack, SIGSEGV ends the
//! worker, without a line on standard error.

use std::thread;

use crate::process::{handle_overflows, prepare_thread};

const MAIN: &str = "main";
/// Bounds the stack of the worker's thread from above, in bytes. The system may set no limit.
const LARGEST_STACK: libc::rlim_t = 64 << 20;
/// Bounds the stack of the worker's thread from below, in bytes.
const SMALLEST_STACK: libc::rlim_t = 1 << 20;

/// Runs a worker in place of `main`, on a new thread. The current thread waits for that thread.
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
        thread::Builder::new()
            .name(MAIN.to_owned())
            .stack_size(stack_size())
            .spawn_scoped(scope, run)
            .is_ok()
    });
    if !ran && let Some(worker) = worker {
        // The system has no thread left. The worker runs without the name, on the current thread.
        prepare_thread(MAIN);
        worker();
    }
    // Not reached: the worker ends the process.
    std::process::abort()
}

/// Opens each closed standard stream to `/dev/null`.
fn open_streams() {
    for stream in 0..=2 {
        // SAFETY: takes two integers, and changes nothing.
        if unsafe { libc::fcntl(stream, libc::F_GETFD) } == -1 {
            // Opens at the lowest free number, which is this one. If opening fails, the stream
            // stays closed.
            // SAFETY: the name is a C string.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Returns the size that the system gives the stack of `main`, within bounds, in bytes.
fn stack_size() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to `limit`, which outlives the call, and to nothing else.
    unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) };
    usize::try_from(limit.rlim_cur.clamp(SMALLEST_STACK, LARGEST_STACK)).unwrap_or(usize::MAX)
}
