//! What time it is: the system's clock, or, in a test of the library, a clock that the test sets.

/// Returns the current moment.
#[cfg(not(test))]
#[inline]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
pub(crate) use virtual_clock::{VirtualClock, now};

#[cfg(test)]
mod virtual_clock {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    thread_local! {
        static VIRTUAL: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    /// Returns the current moment of this thread.
    pub(crate) fn now() -> Instant {
        VIRTUAL.get().unwrap_or_else(Instant::now)
    }

    /// The clock of this thread, which stands still until it is advanced. Dropping it gives the
    /// thread the system's clock again.
    #[derive(Debug)]
    pub(crate) struct VirtualClock(());

    impl VirtualClock {
        /// Stops the clock of this thread.
        ///
        /// # Panics
        ///
        /// If the clock of this thread is stopped already.
        pub(crate) fn stop() -> VirtualClock {
            assert!(VIRTUAL.replace(Some(Instant::now())).is_none(), "one clock a thread");
            VirtualClock(())
        }

        /// Advances the clock.
        pub(crate) fn advance(&self, by: Duration) {
            VIRTUAL.set(Some(now() + by));
        }
    }

    impl Drop for VirtualClock {
        fn drop(&mut self) {
            VIRTUAL.set(None);
        }
    }
}
