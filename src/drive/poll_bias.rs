//! Learns whether it pays that a task looks for its answer itself, in place of the driver.
//!
//! The count is a hint. It orders nothing, and a lost update costs one look too many or too few. So
//! all accesses are Relaxed loads and stores, without read-modify-write operations.

use std::sync::atomic::{AtomicU32, Ordering};

/// Bounds the looks in vain, in a row, after which most polls leave the look to the driver.
const ENOUGH: u32 = 3;

/// Says of how many polls one looks nevertheless: answers may have become quicker.
const NOW_AND_THEN: u32 = 16;

/// Remembers how the looks of tasks for their answers went.
#[derive(Debug, Default)]
pub(crate) struct PollBias {
    /// Looks that were in vain, or left out, since a look last found its answer. Relaxed: a hint.
    vain: AtomicU32,
}

impl PollBias {
    /// Returns `true` if this poll should look. A poll that should not look counts as a look in
    /// vain.
    pub(crate) fn is_worth_it(&self) -> bool {
        let vain = self.vain.load(Ordering::Relaxed);
        if vain < ENOUGH {
            return true;
        }
        self.vain();
        vain.is_multiple_of(NOW_AND_THEN)
    }

    /// Notes a look in vain.
    pub(crate) fn vain(&self) {
        let vain = self.vain.load(Ordering::Relaxed);
        self.vain.store(vain.checked_add(1).unwrap_or(ENOUGH), Ordering::Relaxed);
    }

    /// Returns `true` if no look was in vain, or left out, since a look last found its answer.
    pub(crate) fn succeed(&self) -> bool {
        self.vain.load(Ordering::Relaxed) == 0
    }

    /// Notes a look that found its answer.
    pub(crate) fn found(&self) {
        self.vain.store(0, Ordering::Relaxed);
    }
}
