//! Waits for a peer that can only be asked: busily, and not for ever.

use std::hint;
use std::thread;

use coprocess_bench::Result;

/// Looks until `look` finds something, for some seconds at most.
pub(crate) fn look_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    // No clock in this loop. The bound is for a peer that died.
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
    Err(format!("no {what} came: the other side is gone").into())
}
