//! Values sent in batches, each of which the peer confirms.

use std::time::{Duration, Instant};

use crate::Result;
use crate::measure::Timing;

/// Performs at least `count` operations, `batch` of them in each call of `send`, and returns the
/// share of the time that `count` operations took. All operations of a batch are taken to cost the
/// same.
pub(crate) fn in_batches(
    mut timing: Timing<'_>,
    count: u64,
    batch: u32,
    mut send: impl FnMut() -> Result<()>,
) -> Result<Duration> {
    let batches = count.div_ceil(batch.into());
    let mut total = Duration::ZERO;
    for _ in 0..batches {
        // Beside a batch of large values a reading of the clock is nothing.
        let start = Instant::now();
        send()?;
        let elapsed = start.elapsed();
        total += elapsed;
        timing.record(elapsed / batch);
    }
    Ok(total.mul_f64(count as f64 / (batches * u64::from(batch)) as f64))
}
