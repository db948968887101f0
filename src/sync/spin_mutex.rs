//! Puts a value behind a [`SpinLock`]. A thread that spins while it holds the value releases the
//! value as soon as another thread wants it.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::sync::spin_lock::SpinLock;

/// Lets one thread at a time use a value.
pub(crate) struct SpinMutex<T> {
    lock: SpinLock,
    value: UnsafeCell<T>,
}

// SAFETY: only a guard hands out a reference to the value, and there is one guard at a time: its
// thread holds the lock. A `T: Send` may be used by one thread after another.
unsafe impl<T: Send> Sync for SpinMutex<T> {}

impl<T> fmt::Debug for SpinMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinMutex").field("lock", &self.lock).finish_non_exhaustive()
    }
}

impl<T> SpinMutex<T> {
    pub(crate) fn new(value: T) -> SpinMutex<T> {
        SpinMutex { lock: SpinLock::new(), value: UnsafeCell::new(value) }
    }

    /// Acquires the value, as [`SpinLock::lock`] does.
    #[inline]
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        self.lock.lock();
        SpinGuard { mutex: self, not_send: PhantomData }
    }

    /// Returns `true` if a thread waits for the value.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        self.lock.is_contended()
    }

    /// Waits until no thread waits for the value; see [`SpinLock::yield_to_waiters`].
    pub(crate) fn yield_to_waiters(&self) {
        self.lock.yield_to_waiters();
    }
}

/// Gives its thread the right to use the value, until the guard is dropped.
///
/// The guard is no reference to the value. A reference would have to be valid until the guard is
/// gone, and the guard releases the lock before that.
pub(crate) struct SpinGuard<'a, T> {
    mutex: &'a SpinMutex<T>,
    /// The guard stays on the thread that took it.
    not_send: PhantomData<*const ()>,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock while the guard lives, so all references to the value
        // are borrowed from this guard.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.lock.unlock();
    }
}
