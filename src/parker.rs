//! Where one thread sleeps until another wakes it.
//!
//! Not `std::thread::park`: its token is shared with everything else the thread does, so a wake-up meant for somebody else's `park` could
//! be eaten here.

use std::time::Instant;

use crate::sync::{Arc, Condvar, Mutex, lock};

/// One thread's place to sleep.
#[derive(Debug)]
pub(crate) struct Parker {
    notified: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Arc<Parker> {
        Arc::new(Parker { notified: Mutex::new(false), changed: Condvar::new() })
    }

    /// Sleeps until notified, at most until `deadline`; returns false if that passed. A notification that came earlier counts.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut notified = lock(&self.notified);
        while !*notified {
            match deadline {
                None => notified = self.changed.wait(notified).unwrap_or_else(|p| p.into_inner()),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    notified = self.changed.wait_timeout(notified, left).unwrap_or_else(|p| p.into_inner()).0;
                }
            }
        }
        *notified = false;
        true
    }

    pub(crate) fn notify(&self) {
        let mut notified = lock(&self.notified);
        *notified = true;
        self.changed.notify_one();
    }
}
