//! The locks and atomics that the hand-over of the lead and of the inbox is made of. `tests/lead_model.rs` has loom's in place of this file.

use std::sync::PoisonError;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use std::thread::yield_now;

pub(crate) use coprocess_ring::Spin;

pub(crate) use crate::backoff::Backoff;

/// Locks, and goes on if a thread panicked while it held the lock: no user code runs under the locks of this crate, and each critical
/// section leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that no other living thread has.
pub(crate) fn thread_token() -> usize {
    thread_local!(static TOKEN: u8 = const { 0 });
    TOKEN.with(|t| std::ptr::from_ref(t).addr())
}
