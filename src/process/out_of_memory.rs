//! Tells the parent that a worker dies of its limit on memory.
//!
//! Rust aborts when an allocation fails, and an abort does not tell why. So a handler of SIGABRT
//! checks whether the standard library has given up on an allocation. If so, the handler tells the
//! parent through the lifeline. Then the process goes on dying.

use std::ffi::{c_int, c_void};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{MsgFlags, recvmsg};

/// Is the message of the worker.
const LAST_WORD: [u8; 8] = *b"nomemory";

/// Holds the descriptor of the lifeline, in a worker with a limit on memory.
static LIFELINE: AtomicI32 = AtomicI32::new(-1);
/// Holds the id of the process that the lifeline belongs to. A child of fork(2) has the handler,
/// too.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Has this process tell its parent from here on, unless the program has its own handler of
/// SIGABRT.
///
/// The lifeline must stay open until the process ends.
pub(crate) fn report_through(lifeline: BorrowedFd<'_>) -> std::io::Result<()> {
    // Relaxed, both: this thread installs the handler after these stores.
    LIFELINE.store(lifeline.as_raw_fd(), Ordering::Relaxed);
    PROCESS.store(std::process::id(), Ordering::Relaxed);
    // SA_RESETHAND: after one run of the handler, the signal ends the process as by default.
    let action =
        SigAction::new(SigHandler::SigAction(aborting), SaFlags::SA_RESETHAND, SigSet::empty());
    // SAFETY: the handler calls only what a thread that aborts may call: see `aborting`.
    let before = unsafe { sigaction(Signal::SIGABRT, &action) }?;
    if !matches!(before.handler(), SigHandler::SigDfl) {
        // A program that has its own handler keeps that handler.
        // SAFETY: `before` was installed until now.
        unsafe { sigaction(Signal::SIGABRT, &before) }?;
    }
    Ok(())
}

/// Returns `true` if the worker has sent the message. Reads what the worker left in the lifeline,
/// without waiting.
pub(crate) fn was_reported(lifeline: BorrowedFd<'_>) -> bool {
    let mut said = [0; LAST_WORD.len()];
    let mut buffer = [IoSliceMut::new(&mut said)];
    // Without space for descriptors: the kernel closes any that come along. A hostile worker can
    // only misreport its own death.
    let received = recvmsg::<()>(lifeline.as_raw_fd(), &mut buffer, None, MsgFlags::MSG_DONTWAIT)
        .map(|received| received.bytes);
    received == Ok(LAST_WORD.len()) && said == LAST_WORD
}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        trace: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
    fn _Unwind_FindEnclosingFunction(address: *mut c_void) -> *mut c_void;
}

/// Handles SIGABRT: tells the parent if the abort is for want of memory, and lets the process die.
///
/// Allocates nothing, and makes few system calls. The unwinder takes a lock of the dynamic linker,
/// which no thread holds while it aborts.
extern "C" fn aborting(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a valid description of the signal.
    let info = unsafe { &*info };
    // SAFETY: the description of a signal that was sent to a thread names the sending process.
    let is_own = info.si_code == libc::SI_TKILL
        && unsafe { info.si_pid() }.cast_unsigned() == std::process::id();
    let is_worker = PROCESS.load(Ordering::Relaxed) == std::process::id();
    // The alternate stack is too small for the unwinder. What aborts there is a stack overflow,
    // which is no want of memory.
    if is_own && is_worker && !is_on_another_stack() && is_want_of_memory() {
        let fd = LIFELINE.load(Ordering::Relaxed);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // Fails if the parent is gone, which then needs no reason.
        // SAFETY: the kernel reads the bytes, which are static, and writes nothing.
        unsafe { libc::send(fd, LAST_WORD.as_ptr().cast(), LAST_WORD.len(), flags) };
    }
    // `abort` would raise the signal again by itself; a signal that another process has sent would
    // not come again. The default effect follows once the handler has returned.
    // SAFETY: takes a number.
    unsafe { libc::raise(signal) };
}

/// Returns `true` if the current thread runs on its alternate stack for signals.
fn is_on_another_stack() -> bool {
    let mut stack = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: changes nothing; the kernel writes to `stack`, which outlives the call.
    let told = unsafe { libc::sigaltstack(std::ptr::null(), &mut stack) };
    told == 0 && stack.ss_flags & libc::SS_ONSTACK != 0
}

/// Returns `true` if the standard library's `handle_alloc_error` is among the callers.
fn is_want_of_memory() -> bool {
    let mut found = false;
    // SAFETY: `frame` reads the frames of this thread, and writes to `found`, which outlives the
    // call. The unwinder does not allocate.
    unsafe { _Unwind_Backtrace(frame, (&raw mut found).cast()) };
    found
}

/// Looks at one frame for [`is_want_of_memory`]. Returns 0, so that the unwinder goes on.
extern "C" fn frame(context: *mut c_void, found: *mut c_void) -> c_int {
    // SAFETY: the unwinder passes a context that is valid during this call.
    let address = unsafe { _Unwind_GetIP(context) };
    // A return address. Behind a call that does not return, it may lie after the function's end.
    let inside = std::ptr::with_exposed_provenance_mut(address.wrapping_sub(1));
    // SAFETY: compares the address with the tables of loaded objects, and follows no pointer.
    let function = unsafe { _Unwind_FindEnclosingFunction(inside) };
    if function.addr() == (std::alloc::handle_alloc_error as fn(std::alloc::Layout) -> !) as usize {
        // SAFETY: points to the `bool` of `is_want_of_memory`, which lives until the unwinder
        // returns.
        unsafe { found.cast::<bool>().write(true) };
    }
    0
}
