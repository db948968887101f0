//! What a handler that computes does: keep the processor busy for a given time.

use std::hint;
use std::time::{Duration, Instant};

/// Spins on the clock for `time`.
pub(crate) fn work(time: Duration) {
    if !time.is_zero() {
        let start = Instant::now();
        while start.elapsed() < time {
            hint::spin_loop();
        }
    }
}
