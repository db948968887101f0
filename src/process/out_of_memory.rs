//! How a worker with a limit on memory says that it dies of it. Rust aborts when an allocation fails,
//! and an abort does not tell why. So a handler of SIGABRT looks whether the abort came from where the
//! standard library gives up on an allocation, tells the parent through the lifeline, and lets the
//! process go on dying.

use std::ffi::{c_int, c_void};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{MsgFlags, recvmsg};

/// What the worker sends.
const LAST_WORD: [u8; 8] = *b"nomemory";

/// The lifeline, in a worker that has a limit.
static LIFELINE: AtomicI32 = AtomicI32::new(-1);
/// Which process the lifeline is of: a child of fork(2) has the handler, too.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// From here on this process tells. Call once the lifeline stays open for good.
pub(crate) fn tell_through(lifeline: BorrowedFd<'_>) -> std::io::Result<()> {
    // Relaxed, both: the handler is installed after this, by this thread.
    LIFELINE.store(lifeline.as_raw_fd(), Ordering::Relaxed);
    PROCESS.store(std::process::id(), Ordering::Relaxed);
    // After one run of it the signal ends the process, as ever.
    let action = SigAction::new(SigHandler::SigAction(aborting), SaFlags::SA_RESETHAND, SigSet::empty());
    // SAFETY: the handler calls only what may be called where a thread aborts: see there.
    let before = unsafe { sigaction(Signal::SIGABRT, &action) }?;
    if !matches!(before.handler(), SigHandler::SigDfl) {
        // A program that has a handler of its own keeps it.
        // SAFETY: it was installed before.
        unsafe { sigaction(Signal::SIGABRT, &before) }?;
    }
    Ok(())
}

/// Whether the worker has said so. Reads what it left in the lifeline, without waiting.
pub(crate) fn was_told(lifeline: BorrowedFd<'_>) -> bool {
    let mut said = [0; LAST_WORD.len()];
    let mut buffer = [IoSliceMut::new(&mut said)];
    // Without room for descriptors: the kernel closes those that come. What a hostile worker says concerns its own end only.
    let received = recvmsg::<()>(lifeline.as_raw_fd(), &mut buffer, None, MsgFlags::MSG_DONTWAIT).map(|received| received.bytes);
    received == Ok(LAST_WORD.len()) && said == LAST_WORD
}

unsafe extern "C" {
    fn _Unwind_Backtrace(trace: extern "C" fn(*mut c_void, *mut c_void) -> c_int, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
    fn _Unwind_FindEnclosingFunction(address: *mut c_void) -> *mut c_void;
}

/// Allocates nothing, and makes few system calls. The unwinder takes a lock of the dynamic linker, which a
/// thread does not hold where it aborts.
extern "C" fn aborting(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a description of the signal.
    let info = unsafe { &*info };
    // SAFETY: a signal that a process has sent to a thread names the process.
    let is_own = info.si_code == libc::SI_TKILL && unsafe { info.si_pid() }.cast_unsigned() == std::process::id();
    let is_worker = PROCESS.load(Ordering::Relaxed) == std::process::id();
    // The stack for overflows is too small for the unwinder, and an overflow is no want of memory.
    if is_own && is_worker && !is_on_another_stack() && is_want_of_memory() {
        let fd = LIFELINE.load(Ordering::Relaxed);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // Fails if the parent is gone: then the reason has no reader.
        // SAFETY: the kernel reads the bytes, which are static, and writes nothing.
        unsafe { libc::send(fd, LAST_WORD.as_ptr().cast(), LAST_WORD.len(), flags) };
    }
    // `abort` would go on by itself; a signal that another process has sent would not come again. The
    // system now does with the signal what it does by default, once this has returned.
    // SAFETY: takes a number.
    unsafe { libc::raise(signal) };
}

/// Returns `true` if this thread runs on its alternate stack for signals.
fn is_on_another_stack() -> bool {
    let mut stack = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: changes nothing; the kernel writes to `stack`, which outlives the call.
    let told = unsafe { libc::sigaltstack(std::ptr::null(), &mut stack) };
    told == 0 && stack.ss_flags & libc::SS_ONSTACK != 0
}

/// Returns `true` if the standard library, giving up on an allocation, is among the callers.
fn is_want_of_memory() -> bool {
    let mut found = false;
    // SAFETY: `frame` reads the frames of this thread, and writes to `found`, which outlives the call. The unwinder does not allocate.
    unsafe { _Unwind_Backtrace(frame, (&raw mut found).cast()) };
    found
}

extern "C" fn frame(context: *mut c_void, found: *mut c_void) -> c_int {
    // SAFETY: the unwinder hands in a context that is valid during this call.
    let address = unsafe { _Unwind_GetIP(context) };
    // A return address: it may lie behind the end of a function that does not return.
    let inside = std::ptr::with_exposed_provenance_mut(address.wrapping_sub(1));
    // SAFETY: only compares the address with the tables of loaded objects.
    let function = unsafe { _Unwind_FindEnclosingFunction(inside) };
    if function.addr() == (std::alloc::handle_alloc_error as fn(std::alloc::Layout) -> !) as usize {
        // SAFETY: it points to the `bool` of `is_want_of_memory`, which waits for this.
        unsafe { found.cast::<bool>().write(true) };
    }
    0
}
