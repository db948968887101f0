//! Tells whether a message was taken out of the inbox and is not yet where it belongs.
//!
//! A thread that finds the inbox empty looks here before it concludes that nothing more will come:
//! the leader may have the answer in its hands. Only the leader begins a transit, and one message
//! is in transit at a time, so one flag is enough.

use std::sync::atomic::{AtomicBool, Ordering};

/// Records whether the leader has a message in its hands.
#[derive(Debug, Default)]
pub(crate) struct Transit {
    is_busy: AtomicBool,
}

impl Transit {
    /// Marks that the leader has a message in its hands, until the guard is dropped.
    ///
    /// Call this under the lock of the inbox that the message comes out of, or while a handler
    /// runs.
    #[inline]
    pub(crate) fn begin(&self) -> InTransit<'_> {
        // Relaxed: ordered by the lock of the inbox, or by the depth of the handlers, which changes
        // next.
        self.is_busy.store(true, Ordering::Relaxed);
        InTransit(self)
    }

    /// Returns `true` if the leader has a message in its hands.
    pub(crate) fn is_busy(&self) -> bool {
        // Acquire: pairs with the Release in the drop of `InTransit`.
        self.is_busy.load(Ordering::Acquire)
    }
}

/// Marks a message as in transit. Drop this once the message is stored, or its handler is seen to
/// run.
#[must_use = "the message is in transit for as long as this lives"]
pub(crate) struct InTransit<'a>(&'a Transit);

impl Drop for InTransit<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `is_busy`.
        self.0.is_busy.store(false, Ordering::Release);
    }
}
