//! The inbox, for one thread at a time. A thread that spins with it lets go of it as soon as another wants it.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::recv::inbox::Inbox;
use crate::sync::spin_mutex::Latch;

pub(crate) struct InboxLock {
    pub(crate) latch: Latch,
    inbox: UnsafeCell<Inbox>,
}

// SAFETY: a reference to the inbox is handed out by a guard only, and there is one guard at a time: its thread has the latch. What an
// inbox is made of may be used by one thread after another.
unsafe impl Sync for InboxLock where Inbox: Send {}

impl fmt::Debug for InboxLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxLock").field("latch", &self.latch).finish_non_exhaustive()
    }
}

impl InboxLock {
    pub(crate) fn new(inbox: Inbox) -> InboxLock {
        InboxLock { latch: Latch::new(), inbox: UnsafeCell::new(inbox) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> InboxGuard<'_> {
        self.latch.take();
        InboxGuard { lock: self, stays: PhantomData }
    }
}

/// The right to use the inbox, until it is dropped.
///
/// Not a reference to the inbox: that would have to be good until the guard is gone, which is later than the latch is let go of.
pub(crate) struct InboxGuard<'a> {
    lock: &'a InboxLock,
    /// On the thread that took it.
    stays: PhantomData<*const ()>,
}

impl Deref for InboxGuard<'_> {
    type Target = Inbox;

    #[inline]
    fn deref(&self) -> &Inbox {
        // SAFETY: the latch is ours while the guard lives, so all references to the inbox are borrowed from this guard.
        unsafe { &*self.lock.inbox.get() }
    }
}

impl DerefMut for InboxGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Inbox {
        // SAFETY: as above.
        unsafe { &mut *self.lock.inbox.get() }
    }
}

impl Drop for InboxGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.latch.let_go();
    }
}
