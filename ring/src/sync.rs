//! Selects the atomics and locks of the algorithms: the real ones, or loom's under `--cfg loom`.

#[cfg(not(loom))]
pub(crate) mod atomic {
    pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

#[cfg(all(feature = "raw-sync", not(loom)))]
pub(crate) use std::sync::Arc;
#[cfg(all(feature = "raw-sync", not(loom)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

// `Arc` is not loom's: what is counted is not modelled.
#[cfg(all(loom, test))]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(all(loom, test))]
pub(crate) use std::sync::Arc;

#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

    /// Wraps loom's atomic, with stores as swaps.
    ///
    /// loom knows no order between two plain stores of different threads unless one happened before
    /// the other. loom does not use the rule that nothing comes between the read and the write of a
    /// read-modify-write. With plain stores, loom would let the clearing of a mark hide the next
    /// mark, which was stored later. Among swaps the order is known.
    #[derive(Debug)]
    pub(crate) struct AtomicU32(loom::sync::atomic::AtomicU32);

    impl AtomicU32 {
        pub(crate) fn new(value: u32) -> AtomicU32 {
            AtomicU32(loom::sync::atomic::AtomicU32::new(value))
        }
        pub(crate) fn load(&self, ordering: Ordering) -> u32 {
            self.0.load(ordering)
        }
        pub(crate) fn store(&self, value: u32, ordering: Ordering) {
            self.0.swap(value, ordering);
        }
        pub(crate) fn swap(&self, value: u32, ordering: Ordering) -> u32 {
            self.0.swap(value, ordering)
        }
        #[cfg(test)]
        pub(crate) fn fetch_or(&self, value: u32, ordering: Ordering) -> u32 {
            self.0.fetch_or(value, ordering)
        }
        pub(crate) fn compare_exchange(
            &self,
            current: u32,
            new: u32,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u32, u32> {
            self.0.compare_exchange(current, new, success, failure)
        }
    }
}
