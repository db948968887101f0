//! Stack overflows in a worker that runs before `main`: a line on standard error, then SIGABRT.

use std::cell::Cell;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{mem, ptr};

/// Of the stack that the handler of an overflow runs on.
const SIGNAL_STACK: usize = 64 << 10;

/// Whether threads that run handlers are to be prepared for stack overflows.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// A thread that is prepared.
#[derive(Clone, Copy)]
struct Prepared {
    name: &'static str,
    /// Where a fault is an overflow of its stack: from here
    from: usize,
    /// to here.
    to: usize,
}

thread_local! {
    static THIS_THREAD: Cell<Prepared> = const { Cell::new(Prepared { name: "", from: 0, to: 0 }) };
}

/// Has overflows of prepared threads reported, unless the program handles such signals itself.
pub(crate) fn handle_overflows() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: all zeros is a valid sigaction: no flags, an empty mask, the default.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: reads what is set, into `action`, which outlives the call.
        unsafe { libc::sigaction(signal, ptr::null(), &mut action) };
        if action.sa_sigaction != libc::SIG_DFL {
            continue;
        }
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = overflowed as extern "C" fn(_, _, _) as *const c_void as usize;
        // SAFETY: the handler does only what a handler may do.
        unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        PREPARED.store(true, Ordering::Relaxed);
    }
}

/// Prepares this thread, which is to run handlers, for an overflow of its stack. Does nothing where the
/// standard library has done so.
pub(crate) fn prepare_thread(name: &'static str) {
    if !PREPARED.load(Ordering::Relaxed) {
        return;
    }
    let Some(guard) = guard_pages() else { return };
    let size = SIGNAL_STACK;
    // The library's threads that run handlers are few and live long: what this takes is not given back.
    // SAFETY: new memory, wherever there is room.
    let memory =
        unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if memory == libc::MAP_FAILED {
        return;
    }
    let stack = libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: size };
    // SAFETY: the memory was made above, for this, and stays.
    unsafe { libc::sigaltstack(&stack, ptr::null_mut()) };
    THIS_THREAD.set(Prepared { name, from: guard.start, to: guard.end });
}

/// Where the stack of this thread ends: the pages that cannot be touched, and as many beside them,
/// since the C libraries do not agree which of them they tell of.
fn guard_pages() -> Option<Range<usize>> {
    // SAFETY: all zeros is as good as any contents for what the next call initializes.
    let mut attributes: libc::pthread_attr_t = unsafe { mem::zeroed() };
    // SAFETY: takes nothing and cannot fail.
    let this_thread = unsafe { libc::pthread_self() };
    // SAFETY: initializes `attributes` with what this thread has.
    if unsafe { libc::pthread_getattr_np(this_thread, &mut attributes) } != 0 {
        return None;
    }
    let (mut lowest, mut size, mut guard) = (ptr::null_mut(), 0, 0);
    // SAFETY: `attributes` was initialized above; the numbers outlive the call.
    let known = unsafe { libc::pthread_attr_getstack(&attributes, &mut lowest, &mut size) } == 0;
    // SAFETY: as above.
    let guarded = unsafe { libc::pthread_attr_getguardsize(&attributes, &mut guard) } == 0;
    // SAFETY: initialized above, and not used again.
    unsafe { libc::pthread_attr_destroy(&mut attributes) };
    (known && guarded).then(|| lowest.addr().saturating_sub(guard)..lowest.addr().saturating_add(guard))
}

/// Reports an overflow, and ends the process by SIGABRT, as the standard library does. Any other fault
/// happens again when this returns, and then ends the process by itself.
extern "C" fn overflowed(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a description of what happened.
    let info = unsafe { &*info };
    // SAFETY: it is one of a fault, which has an address.
    let address = unsafe { info.si_addr() }.addr();
    let Prepared { name, from, to } = THIS_THREAD.get();
    if !(from..to).contains(&address) || info.si_code <= 0 {
        // SAFETY: no handler is involved.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        if info.si_code <= 0 {
            // No fault: a process has sent it, and it would not come again by itself.
            // SAFETY: the signal ends this process once this has returned.
            unsafe { libc::raise(signal) };
        }
        return;
    }
    for text in ["\nthread '", name, "' has overflowed its stack\nfatal runtime error: stack overflow, aborting\n"] {
        // SAFETY: writes bytes that are there. Whether the stream takes them changes nothing.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    }
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}
