//! Panics of the user's code that must not go further: where it is run, or dropped, by whichever thread happens to be there.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code of the user's. Returns whether it panicked; the panic hook has reported it then.
pub(crate) fn catch_user_panic(code: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(()) => false,
        Err(panic) => {
            forget_panic(panic);
            true
        }
    }
}

/// Drops what a panic carried. That may panic in turn, which is the end of it.
pub(crate) fn forget_panic(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
