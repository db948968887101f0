//! Where one thread sleeps until another wakes it.
//!
//! Not `std::thread::park`: its token is shared with everything else the thread does, so a wake-up meant for somebody else's `park` could
//! be eaten here.

use std::time::Instant;

use crate::sync::{Arc, AtomicU32, Condvar, Mutex, Ordering, lock};

/// Nobody sleeps, and nothing was notified.
const EMPTY: u32 = 0;

/// The thread sleeps, or is about to.
const PARKED: u32 = 1;

/// A notification that the thread has not seen.
const NOTIFIED: u32 = 2;

/// One thread's place to sleep. Whoever notifies a thread that is not asleep yet makes no system call.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU32,
    /// Held by the thread from its last look at the state until it sleeps.
    sleep: Mutex<()>,
    changed: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Arc<Parker> {
        Arc::new(Parker {
            state: AtomicU32::new(EMPTY),
            sleep: Mutex::new(()),
            changed: Condvar::new(),
        })
    }

    /// Whether a notification waits to be seen.
    #[inline]
    pub(crate) fn is_notified(&self) -> bool {
        // Relaxed: `wait` looks again.
        self.state.load(Ordering::Relaxed) == NOTIFIED
    }

    /// Sleeps until notified, at most until `deadline`; returns false if that passed. A notification that came earlier counts.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        if self.take_notification() {
            return true;
        }
        let mut asleep = lock(&self.sleep);
        // Relaxed: only the exchange of a notification orders anything.
        if self.state.compare_exchange(EMPTY, PARKED, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return self.take_notification();
        }
        while !self.take_notification() {
            match deadline {
                None => asleep = self.changed.wait(asleep).unwrap_or_else(|p| p.into_inner()),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        // Acquire: as in `take_notification`; one may have come just now.
                        return self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED;
                    }
                    asleep = self
                        .changed
                        .wait_timeout(asleep, left)
                        .unwrap_or_else(|p| p.into_inner())
                        .0;
                }
            }
        }
        true
    }

    fn take_notification(&self) -> bool {
        // Acquire: what the notifier did before; pairs with the Release in `notify`.
        self.state.compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn notify(&self) {
        // Release: see `take_notification`.
        if self.state.swap(NOTIFIED, Ordering::Release) == PARKED {
            // Between its mark and its sleep the thread holds the lock: once it is ours, the thread sleeps, or has seen the notification.
            drop(lock(&self.sleep));
            self.changed.notify_one();
        }
    }
}
