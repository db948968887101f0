//! Panics that are meant.

use std::any::Any;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

use coprocess::Error;

use super::assert_matches;

/// Panics that are meant are not printed.
pub(crate) fn quiet() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(MEANT) {
            usual(info);
        }
    }));
}

pub(crate) const MEANT: &str = "this panic is meant";

fn is_meant(panic: &(dyn Any + Send)) -> bool {
    panic.downcast_ref::<&str>().is_some_and(|text| *text == MEANT) || panic.downcast_ref::<String>().is_some_and(|text| text == MEANT)
}

/// The panic that is meant comes out of `code`.
#[track_caller]
pub(crate) fn panics<T>(code: impl FnOnce() -> T) {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(_) => panic!("it did not panic"),
        Err(panic) => assert!(is_meant(&*panic)),
    }
}

/// The other end's handler has failed, and said so.
#[track_caller]
pub(crate) fn remote<T: Debug>(result: coprocess::Result<T>, says: &str) {
    assert_matches!(result, Err(Error::Remote { ref message, .. }) if message.contains(says));
}
