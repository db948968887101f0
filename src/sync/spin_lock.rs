//! A lock that is released by a plain store.
//!
//! A lock whose waiters sleep is released by an exchange, which tells whether a thread sleeps. Where a
//! lock changes hands on the way of each message, that exchange is a good part of the whole. So no
//! waiter of a spin lock sleeps in a way that the holder would have to end: a thread that finds the
//! lock held says so, and tries again with growing pauses. A spin lock suits a holder that holds it
//! for moments, or that asks from time to time whether the lock
//! [is contended](SpinLock::is_contended), and then [yields](SpinLock::yield_to_waiters) to the
//! waiters before it locks again.

use crate::sync::{AtomicBool, AtomicU32, Backoff, Ordering};

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
    /// Spins, and later pauses, until no other thread holds the lock. The thread that holds it must not
    /// call this.
    #[inline]
    pub(crate) fn lock(&self) {
        if !self.try_lock() {
            self.lock_contended();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // Acquire: what the last holder did; pairs with the Release in `unlock`.
        self.is_held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn lock_contended(&self) {
        // Relaxed, here and below: seen sooner or later; `is_held` orders all else.
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
        // Release: what the next holder may see; pairs with the Acquire in `try_lock`.
        self.is_held.store(false, Ordering::Release);
    }

    /// Returns `true` if a thread waits for the lock.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Waits until no thread waits for the lock. A thread that locks again and again would win against
    /// waiters that pause.
    #[cold]
    pub(crate) fn yield_to_waiters(&self) {
        let mut backoff = Backoff::default();
        while self.is_contended() {
            backoff.pause();
        }
    }
}
