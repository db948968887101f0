//! Reports stack overflows in a worker that runs before `main`, as the standard library does:
//! a line on standard error, then SIGABRT.
//!
//! The standard library prepares its threads for an overflow only if it has prepared `main`. So
//! each thread of this library that may run code of the user's prepares itself here.

use std::cell::Cell;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{mem, ptr};

/// Sizes the stack that the handler of an overflow runs on, in bytes.
const SIGNAL_STACK: usize = 64 << 10;

/// `true` once the handler is installed: threads that run handlers of messages prepare themselves.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// Holds what the handler knows of a prepared thread.
#[derive(Clone, Copy)]
struct Prepared {
    name: &'static str,
    /// The lowest address where a fault is an overflow of the thread's stack.
    from: usize,
    /// The end of these addresses, exclusive.
    to: usize,
}

thread_local! {
    static THIS_THREAD: Cell<Prepared> = const { Cell::new(Prepared { name: "", from: 0, to: 0 }) };
}

/// Installs the handler that reports overflows of prepared threads, unless the program handles
/// such signals itself.
pub(crate) fn handle_overflows() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: all zeros is a valid sigaction: no flags, an empty mask, the default.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: changes nothing; the kernel writes to `action`, which outlives the call.
        unsafe { libc::sigaction(signal, ptr::null(), &mut action) };
        if action.sa_sigaction != libc::SIG_DFL {
            continue;
        }
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = overflowed as extern "C" fn(_, _, _) as *const c_void as usize;
        // SAFETY: the handler calls only async-signal-safe functions.
        unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        PREPARED.store(true, Ordering::Relaxed);
    }
}

/// Prepares the current thread for an overflow of its stack. Does nothing where the standard
/// library prepares threads.
///
/// Called by each thread of the library that runs handlers of messages. `name` is reported.
pub(crate) fn prepare_thread(name: &'static str) {
    if !PREPARED.load(Ordering::Relaxed) {
        return;
    }
    let Some(guard) = guard_pages() else { return };
    let size = SIGNAL_STACK;
    // Never unmapped: the library's threads that run handlers are few and live long.
    // SAFETY: maps new memory, at an address that the kernel chooses.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return;
    }
    let stack = libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: size };
    // SAFETY: the memory was mapped above, for this use alone, and stays mapped.
    unsafe { libc::sigaltstack(&stack, ptr::null_mut()) };
    THIS_THREAD.set(Prepared { name, from: guard.start, to: guard.end });
}

/// Returns where the stack of this thread ends: the guard pages, and as many beside them.
///
/// The C libraries do not agree whether the lowest address of the stack lies below or above the
/// guard pages.
fn guard_pages() -> Option<Range<usize>> {
    // SAFETY: all zeros is as good as any contents for what the next call initializes.
    let mut attributes: libc::pthread_attr_t = unsafe { mem::zeroed() };
    // SAFETY: takes no argument and cannot fail.
    let this_thread = unsafe { libc::pthread_self() };
    // SAFETY: initializes `attributes` with those of this thread.
    if unsafe { libc::pthread_getattr_np(this_thread, &mut attributes) } != 0 {
        return None;
    }
    let (mut lowest, mut size, mut guard) = (ptr::null_mut(), 0, 0);
    // SAFETY: `attributes` was initialized above; the numbers outlive the call.
    let known = unsafe { libc::pthread_attr_getstack(&attributes, &mut lowest, &mut size) } == 0;
    // SAFETY: as above.
    let guarded = unsafe { libc::pthread_attr_getguardsize(&attributes, &mut guard) } == 0;
    // SAFETY: `attributes` was initialized above, and is not used again.
    unsafe { libc::pthread_attr_destroy(&mut attributes) };
    (known && guarded)
        .then(|| lowest.addr().saturating_sub(guard)..lowest.addr().saturating_add(guard))
}

/// Reports an overflow, and ends the process by SIGABRT, as the standard library does.
///
/// After any other fault the handler resets the signal and returns. The fault then happens again,
/// and ends the process.
extern "C" fn overflowed(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a valid description of the signal.
    let info = unsafe { &*info };
    // SAFETY: the description is that of a fault, which has an address.
    let address = unsafe { info.si_addr() }.addr();
    let Prepared { name, from, to } = THIS_THREAD.get();
    if !(from..to).contains(&address) || info.si_code <= 0 {
        // SAFETY: no handler is involved.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        if info.si_code <= 0 {
            // No fault, but a signal that a process has sent: it would not come again by itself.
            // SAFETY: the signal ends this process once the handler has returned.
            unsafe { libc::raise(signal) };
        }
        return;
    }
    for text in [
        "\nthread '",
        name,
        "' has overflowed its stack\nfatal runtime error: stack overflow, aborting\n",
    ] {
        // SAFETY: reads the bytes of `text`. If the stream refuses them, nothing else can be done.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    }
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}
