//! Waits for a peer that can only be polled: in a loop, but not for ever.

use std::hint;
use std::thread;

use coprocess_bench::Result;

/// Calls `look` until it finds something, for some seconds at most.
pub(crate) fn look_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    // The loop reads no clock. The bound is for a peer that died.
    for looks in 1..1_u64 << 30 {
        if let Some(found) = look()? {
            return Ok(found);
        }
        // A side that is busy answers within some hundred looks. Any other side may want this very
        // processor.
        if looks % 512 == 0 {
            thread::yield_now();
        } else {
            hint::spin_loop();
        }
    }
    Err(format!("no {what} came: the second side is gone").into())
}
