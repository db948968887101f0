//! Gives the locks and atomics of the standard library.

use std::sync::PoisonError;
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
pub(crate) use std::thread::yield_now;
use std::time::Duration;

pub(crate) use coprocess_ring::Spin;

/// Locks a mutex, and ignores that a thread panicked while it held the mutex.
///
/// No user code runs under the locks of this crate, and each critical section leaves its data
/// whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a number that no other living thread has.
pub(crate) fn thread_token() -> usize {
    thread_local!(static TOKEN: u8 = const { 0 });
    TOKEN.with(|t| std::ptr::from_ref(t).addr())
}

/// Pauses between two tries of an operation that another thread is about to make succeed.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    /// Pauses: yields the first 99 times, and sleeps for 50 µs after that.
    pub(crate) fn pause(&mut self) {
        self.0 = self.0.saturating_add(1);
        if self.0 < 100 {
            yield_now();
        } else {
            // The other thread may have a lower priority on this processor: a yield does not let
            // that thread run.
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}
