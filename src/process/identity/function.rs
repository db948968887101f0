//! Finds a function in another process that runs the same executable.
//!
//! The executable's place in memory differs from process to process. The distance of a function
//! from the executable's start does not.

use std::ffi::c_void;

use crate::error::ForkError;
use crate::process::identity::executable;

/// Returns the distance of a function from the start of the executable.
///
/// # Errors
///
/// [`ForkError::ForeignFunction`] if the function, or this library, is not in the executable;
/// [`ForkError::ForeignExecutable`] if another file would be executed.
pub(crate) fn distance(function: *const c_void) -> Result<u64, ForkError> {
    let address = function.addr();
    // Only a program whose `main` calls the `init` of this copy of the library becomes the worker.
    if !executable::has_code_at(library()) || !executable::has_code_at(address) {
        return Err(ForkError::ForeignFunction);
    }
    if let Some(path) = executable::stand_in() {
        return Err(ForkError::ForeignExecutable(path.to_owned()));
    }
    Ok(address.wrapping_sub(executable::base()) as u64)
}

/// Returns an address in this copy of the library.
fn library() -> usize {
    (executable::learn as fn() as *const c_void).addr()
}

/// Returns the distance of this copy of the library. Each copy in the executable has its own.
pub(crate) fn of_library() -> u64 {
    library().wrapping_sub(executable::base()) as u64
}

/// Returns the address of the function at a distance that [`distance`] has returned in another
/// process of this executable. Returns `None` if there is no code.
pub(crate) fn address(distance: u64) -> Option<*const c_void> {
    let address = usize::try_from(distance).ok()?.wrapping_add(executable::base());
    executable::has_code_at(address).then(|| std::ptr::with_exposed_provenance(address))
}
