//! Panics on purpose.

use std::any::Any;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

use coprocess::serde_bytes::Bytes;
use coprocess::{Coprocess, Error};

use super::{SMALL_RING, assert_matches, at_once};

/// Keeps panics on purpose from being printed. May be called several times in a process.
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
    panic.downcast_ref::<&str>().is_some_and(|text| *text == MEANT)
        || panic.downcast_ref::<String>().is_some_and(|text| text == MEANT)
}

/// Checks that the panic on purpose comes out of `code`.
#[track_caller]
pub(crate) fn panics<T>(code: impl FnOnce() -> T) {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(_) => panic!("it did not panic"),
        Err(panic) => assert!(is_meant(&*panic)),
    }
}

/// Checks that the peer's handler has failed, and said so.
#[track_caller]
pub(crate) fn remote<T: Debug>(result: coprocess::Result<T>, says: &str) {
    assert_matches!(result, Err(Error::Remote { ref message, .. }) if message.contains(says));
}

/// Checks that the peer goes on. The peer serves "length".
pub(crate) fn alive(worker: &Coprocess) {
    assert_eq!(at_once(|| worker.call::<usize>("length", Bytes::new(&[5; 9000]))).unwrap(), 9000);
}

/// Does something of each size to workers with small and large rings, which go on afterwards.
pub(crate) fn each<const N: usize>(
    worker: impl Fn(usize) -> Coprocess,
    sizes: [u64; N],
    body: impl Fn(&Coprocess, u64),
) {
    quiet();
    for capacity in [SMALL_RING, 256 * 1024] {
        let worker = worker(capacity);
        for size in sizes {
            body(&worker, size);
            alive(&worker);
        }
        assert!(worker.close().unwrap().unwrap().success());
    }
}
