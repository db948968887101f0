//! TODO drive::poll_bias

use std::sync::atomic::{AtomicU32, Ordering};

/// Looks in vain, in a row, after which most polls leave the look to others.
const ENOUGH: u32 = 3;

/// Of so many polls one looks nevertheless: things may have changed.
const NOW_AND_THEN: u32 = 16;

/// Whether it pays that a task looks for its answer itself: learned from how that went.
#[derive(Debug, Default)]
pub(crate) struct PollBias {
    /// In vain, or not even tried, since the last call that was answered quickly. Relaxed: a hint.
    vain: AtomicU32,
}

impl PollBias {
    pub(crate) fn is_worth_it(&self) -> bool {
        let vain = self.vain.load(Ordering::Relaxed);
        if vain < ENOUGH {
            return true;
        }
        self.vain();
        vain.is_multiple_of(NOW_AND_THEN)
    }

    pub(crate) fn vain(&self) {
        let vain = self.vain.load(Ordering::Relaxed);
        self.vain.store(vain.checked_add(1).unwrap_or(ENOUGH), Ordering::Relaxed);
    }

    /// Whether the last one that was tried was not in vain.
    pub(crate) fn succeed(&self) -> bool {
        self.vain.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn found(&self) {
        self.vain.store(0, Ordering::Relaxed);
    }
}
