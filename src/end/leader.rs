//! The duty of a leader: the functions that only the leading thread may call take a [`LeaderGuard`].

use crate::end::End;

/// This thread leads an end, until the guard is dropped: also by a panic.
#[must_use = "the lead is given up when this is dropped"]
pub(crate) struct LeaderGuard<'a> {
    end: &'a End,
    /// Whether the lead is given up with this guard. A handler's thread has led before.
    leaves: bool,
}

impl End {
    /// Takes the lead, unless another thread has it. A thread in a handler of this end leads already.
    #[inline]
    pub(crate) fn try_lead(&self) -> Option<LeaderGuard<'_>> {
        if self.lead.is_mine() {
            Some(LeaderGuard { end: self, leaves: false })
        } else if self.lead.try_enter(&self.watch) {
            Some(LeaderGuard { end: self, leaves: true })
        } else {
            None
        }
    }

    /// Wraps the lead that this thread has just got by waiting for it.
    pub(crate) fn leading(&self) -> LeaderGuard<'_> {
        debug_assert!(self.lead.is_mine());
        LeaderGuard { end: self, leaves: true }
    }
}

impl Drop for LeaderGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.leaves {
            let end = self.end;
            // The end of the pair, too, is announced to the thread that watches the ring, and to no other.
            end.lead.leave(&end.watch, || end.has_something() || end.is_interrupted());
        }
    }
}
