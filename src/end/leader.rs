//! Makes the duty of the leader a type: what only the leader may call takes a [`LeaderGuard`].
//!
//! A thread leads from the moment it gets a guard until it drops the guard. A handler runs on the
//! leading thread, so that thread gets further guards, and dropping those changes nothing. Drop a
//! guard under no lock of the end: the drop may look at the inbox, and wake the driver.

use std::marker::PhantomData;

use crate::end::End;

/// Proves that this thread leads an end, until the guard is dropped: also by a panic.
#[must_use = "the lead is given up when this is dropped"]
pub(crate) struct LeaderGuard<'a> {
    end: &'a End,
    /// `true` if the lead is given up with this guard. A thread in a handler has led before.
    leaves: bool,
    /// The lead belongs to this thread: the guard must not be sent to another.
    _of_this_thread: PhantomData<*const ()>,
}

impl End {
    /// Takes the lead, unless another thread has it.
    ///
    /// A thread in a handler of this end leads already, and gets a guard, too.
    #[inline]
    pub(crate) fn try_lead(&self) -> Option<LeaderGuard<'_>> {
        if self.lead.is_mine() {
            Some(self.guard(false))
        } else if self.lead.try_enter(&self.watch) {
            Some(self.guard(true))
        } else {
            None
        }
    }

    /// Returns the guard for the lead that this thread has just got by waiting for it.
    pub(crate) fn leading(&self) -> LeaderGuard<'_> {
        debug_assert!(self.lead.is_mine());
        self.guard(true)
    }

    #[inline]
    fn guard(&self, leaves: bool) -> LeaderGuard<'_> {
        LeaderGuard { end: self, leaves, _of_this_thread: PhantomData }
    }
}

impl LeaderGuard<'_> {
    /// Checks, in builds with debug assertions, that this guard is of `end`: a thread on a cycle of
    /// waits has guards of two ends.
    #[inline]
    pub(crate) fn check(&self, end: &End) {
        debug_assert!(std::ptr::eq(self.end, end), "the guard is of another end");
    }
}

impl Drop for LeaderGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.leaves {
            let end = self.end;
            // The end of the pair, too, is told only to the thread that watches the ring. So a
            // parked driver must be woken for it, as for a message.
            end.lead.leave(&end.watch, || end.has_something() || end.is_interrupted());
        }
    }
}
