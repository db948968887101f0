//! How a worker function is found in another process that runs the same executable: by its distance from the start of the executable,
//! since the executable lies at another address in each process.

use std::ffi::c_void;

use crate::coprocess::Coprocess;
use crate::process::arguments::Shim;

/// Where the object file that holds `address` starts in this process's memory.
fn object_of(address: *const c_void) -> Option<usize> {
    // SAFETY: all zeros is a valid `Dl_info`: null pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr only compares the address with the list of loaded objects, and writes to `info`, which outlives the call.
    let found = unsafe { libc::dladdr(address, &mut info) };
    (found != 0 && !info.dli_fbase.is_null()).then(|| info.dli_fbase.addr())
}

/// A place in the executable to measure from.
fn anchor() -> *const c_void {
    crate::init as fn() as *const c_void
}

/// Where distances are measured from: the start of the object that holds this library, or, in an executable without a dynamic linker,
/// a function of it.
fn base() -> usize {
    object_of(anchor()).unwrap_or_else(|| anchor().addr())
}

/// The distance of a function, if it is in the same object file as this library.
pub(crate) fn distance(address: *const c_void) -> Option<u64> {
    (object_of(address) == object_of(anchor())).then(|| address.addr().wrapping_sub(base()) as u64)
}

/// The address of the function at a distance that [`distance`] found in another process of the same executable.
pub(crate) fn address(distance: u64) -> Option<*const c_void> {
    let address = usize::try_from(distance).ok()?.wrapping_add(base());
    let pointer = std::ptr::with_exposed_provenance::<c_void>(address);
    (!pointer.is_null() && object_of(pointer) == object_of(anchor())).then_some(pointer)
}

/// The worker function at a distance.
pub(crate) fn at(distance: u64) -> Option<fn(Coprocess)> {
    let pointer = address(distance)?;
    // SAFETY: the parent took the distance from a `fn(Coprocess)` in the object file that holds this library, and executed
    // `/proc/self/exe`, which is the very same file; so at the same distance there is the same function.
    Some(unsafe { std::mem::transmute::<*const c_void, fn(Coprocess)>(pointer) })
}

/// What makes a start of a worker function and its arguments, at a distance.
pub(crate) fn shim_at(distance: u64) -> Option<Shim> {
    let pointer = address(distance)?;
    // SAFETY: as above: the parent took it from a `Shim`.
    Some(unsafe { std::mem::transmute::<*const c_void, Shim>(pointer) })
}
