//! Wakes the threads that wait in an end, since its state has changed or a timer was added.
//!
//! The thread that wakes changes the state first, passes a fence, and looks for sleepers. A thread
//! that is about to sleep does it the other way round. So one of the two sees the other.

use std::sync::atomic::{Ordering, fence};

use coprocess_ring::Sleeper;

use crate::end::End;
use crate::sync::Backoff;

impl End {
    /// Makes each thread of this process that waits in this end look at the state. Call this after
    /// the state was changed.
    pub(crate) fn wake_all(&self) {
        // The state was changed before: pairs with the fence in `SleepGuard::new`.
        fence(Ordering::SeqCst);
        self.outbox.notify();
        self.driver.slot.notify_all();
        self.notify_readiness();
        self.lead.wake_driver(&self.watch);
        // Once is not enough: a hostile peer may rewrite the doorbells. So this thread wakes until
        // no other is on its way to sleep. No thread starts to sleep anew: each looks at the state
        // before.
        let mut backoff = Backoff::default();
        while self.state.has_sleepers() {
            let woken = self
                .watch
                .wake_local(Sleeper::Waiter)
                .and_then(|_| self.watch.wake_local_for_space());
            if woken.is_err() {
                break;
            }
            backoff.pause();
        }
        self.lead.notify_all();
    }

    /// Makes the thread that waits for messages look at the timers again. The leader does not call
    /// this.
    pub(crate) fn interrupt(&self) {
        self.state.ask_for_attention();
        // Pairs with the fence in `SleepGuard::new`.
        fence(Ordering::SeqCst);
        self.lead.wake_driver(&self.watch);
        self.outbox.notify();
        let mut backoff = Backoff::default();
        while self.state.wants_attention() && self.state.has_sleepers_for_data() {
            if self.watch.wake_local(Sleeper::Waiter).is_err() {
                break;
            }
            backoff.pause();
        }
    }

    /// Returns `true` if a thread that is about to sleep must look at the state of the end instead.
    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_over() || self.is_gone() || self.state.wants_attention()
    }

    /// Takes an interrupt, if there is one: the caller looks at the timers next.
    #[inline]
    pub(crate) fn take_interrupt(&self) {
        self.state.take_attention();
    }
}
