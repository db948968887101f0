//! Catches panics of the user's code, which the library runs, or drops, on any thread that happens
//! to be there. Such a panic must not go further.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code of the user. Returns `true` if the code panicked; the panic hook has reported the
/// panic then.
pub(crate) fn catch_user_panic(code: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(()) => false,
        Err(panic) => {
            forget_panic(panic);
            true
        }
    }
}

/// Drops the payload of a panic. If the drop panics in turn, the second payload is leaked.
pub(crate) fn forget_panic(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
