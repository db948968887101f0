//! Lets one thread sleep until another thread wakes it.
//!
//! `std::thread::park` cannot serve here. Its token is shared with everything else that the thread
//! does, so this code could eat a wake-up that was meant for another use of `park`.

use std::time::Instant;

use crate::sync::{Arc, AtomicU32, Condvar, Mutex, Ordering, lock};

/// The thread is awake, and there is no notification.
const EMPTY: u32 = 0;

/// The thread sleeps, or is about to.
const PARKED: u32 = 1;

/// A notification that the thread has not seen.
const NOTIFIED: u32 = 2;

/// Puts one thread to sleep. If the thread is not asleep yet, notifying it makes no system call.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU32,
    /// The thread holds this lock from its last look at the state until it sleeps.
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

    /// Returns `true` if there is a notification that the thread has not seen.
    #[inline]
    pub(crate) fn is_notified(&self) -> bool {
        // Relaxed: `wait` looks again.
        self.state.load(Ordering::Relaxed) == NOTIFIED
    }

    /// Sleeps until the thread is notified. Returns `false` if `deadline` passed first.
    ///
    /// A notification that came before the call counts.
    ///
    /// # Blocking
    ///
    /// - Until another thread calls [`notify`](Self::notify).
    /// - Until `deadline` passes, if there is one.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        if self.take_notification() {
            return true;
        }
        let mut asleep = lock(&self.sleep);
        // Relaxed: only the exchange that takes a notification orders anything.
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
                        // Acquire: as in `take_notification`; a notification may have come just
                        // now.
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
        // Acquire: this thread sees what the notifier did before; pairs with the Release in
        // `notify`.
        self.state.compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Notifies the thread, and wakes it if it sleeps.
    pub(crate) fn notify(&self) {
        // Release: pairs with the Acquire in `take_notification`.
        if self.state.swap(NOTIFIED, Ordering::Release) == PARKED {
            // Between the store of PARKED and its sleep, the thread holds the lock. Once this
            // thread has the lock, the other thread sleeps, or has seen the notification.
            drop(lock(&self.sleep));
            self.changed.notify_one();
        }
    }
}
