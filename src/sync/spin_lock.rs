//! Provides a lock that is released by a plain store.
//!
//! A lock whose waiters sleep is released by an exchange, which tells whether a thread sleeps.
//! Where each message passes a lock from one thread to another, that exchange is a good part of the
//! cost. So no waiter of a spin lock sleeps in a way that the holder would have to end. A thread
//! that finds the lock held counts itself as a waiter, and tries again with growing pauses.
//!
//! A spin lock suits a holder that holds the lock for moments. It also suits a holder that asks
//! from time to time whether the lock [is contended](SpinLock::is_contended), and then
//! [yields](SpinLock::yield_to_waiters) to the waiters before it locks again.

use crate::sync::{AtomicBool, AtomicU32, Backoff, Ordering};

/// Excludes all threads but one, without a way to sleep.
#[derive(Debug)]
pub(crate) struct SpinLock {
    is_held: AtomicBool,
    waiters: AtomicU32,
}

impl SpinLock {
    pub(crate) fn new() -> SpinLock {
        SpinLock { is_held: AtomicBool::new(false), waiters: AtomicU32::new(0) }
    }

    /// Acquires the lock.
    ///
    /// # Blocking
    ///
    /// Spins, and later pauses, until no other thread holds the lock. A thread that holds the lock
    /// must not call this function.
    #[inline]
    pub(crate) fn lock(&self) {
        if !self.try_lock() {
            self.lock_contended();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // Acquire: this thread sees what the last holder did; pairs with the Release in `unlock`.
        self.is_held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn lock_contended(&self) {
        // Relaxed, here and below: the holder sees the count sooner or later; `is_held` orders all
        // else.
        self.waiters.fetch_add(1, Ordering::Relaxed);
        let mut backoff = Backoff::default();
        while !self.try_lock() {
            backoff.pause();
        }
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }

    /// Releases the lock. Only the thread that holds it may call this.
    #[inline]
    pub(crate) fn unlock(&self) {
        // Release: the next holder sees what this thread did; pairs with the Acquire in `try_lock`.
        self.is_held.store(false, Ordering::Release);
    }

    /// Returns `true` if a thread waits for the lock.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Waits until no thread waits for the lock.
    ///
    /// A thread that locks again and again would win against waiters that pause.
    ///
    /// # Blocking
    ///
    /// Yields, and later pauses, until no waiter is left. Threads that go on asking prolong the
    /// wait.
    #[cold]
    pub(crate) fn yield_to_waiters(&self) {
        let mut backoff = Backoff::default();
        while self.is_contended() {
            backoff.pause();
        }
    }
}
