//! A lock that is let go of by a plain store.
//!
//! Letting go of a lock whose waiters sleep takes an exchange, to learn whether somebody sleeps. Where a lock changes hands on the way of
//! each message, that is a good part of the whole. So nobody sleeps for a latch in a way that its holder would have to end: whoever finds it taken says
//! so, and tries again with growing pauses. It suits a lock that is held for moments, or by a holder that asks from time to time whether
//! it [`is_wanted`](Latch::is_wanted) and then gives the others [time](Latch::let_others) before it takes it again.

use crate::sync::{AtomicBool, AtomicU32, Backoff, Ordering};

#[derive(Debug)]
pub(crate) struct Latch {
    taken: AtomicBool,
    /// How many wait.
    wanted: AtomicU32,
}

impl Latch {
    pub(crate) fn new() -> Latch {
        Latch { taken: AtomicBool::new(false), wanted: AtomicU32::new(0) }
    }

    /// Takes it, once nobody else has it. Not to be called by the thread that has it.
    #[inline]
    pub(crate) fn take(&self) {
        if !self.try_take() {
            self.wait();
        }
    }

    #[inline]
    fn try_take(&self) -> bool {
        // Acquire: what the last holder did; pairs with the Release in `let_go`.
        self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn wait(&self) {
        // Relaxed, here and below: seen sooner or later; `taken` orders all else.
        self.wanted.fetch_add(1, Ordering::Relaxed);
        let mut backoff = Backoff::default();
        while !self.try_take() {
            backoff.pause();
        }
        self.wanted.fetch_sub(1, Ordering::Relaxed);
    }

    /// Lets go of it. Only for the thread that has it.
    #[inline]
    pub(crate) fn let_go(&self) {
        // Release: what the next holder may see; pairs with the Acquire in `try_take`.
        self.taken.store(false, Ordering::Release);
    }

    /// Whether somebody waits for it.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Waits until nobody waits for it: a thread that takes it again and again would have it before those who pause.
    #[cold]
    pub(crate) fn let_others(&self) {
        let mut backoff = Backoff::default();
        while self.is_wanted() {
            backoff.pause();
        }
    }
}
