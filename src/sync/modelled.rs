//! Gives loom's locks and atomics the names of the standard library's.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use loom::thread::yield_now;
/// The standard library's own: the models do not race for a `OnceLock`.
pub(crate) use std::sync::OnceLock;

/// Wraps loom's `AtomicU64`, and stores by a swap.
///
/// loom orders two plain stores by different threads only if one happened before the other. It does
/// not use that nothing comes between the value that a read-modify-write reads and the value that
/// it writes. The order of swaps is known.
#[derive(Debug, Default)]
pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64(loom::sync::atomic::AtomicU64::new(value))
    }
    pub(crate) fn load(&self, ordering: Ordering) -> u64 {
        self.0.load(ordering)
    }
    pub(crate) fn store(&self, value: u64, ordering: Ordering) {
        self.0.swap(value, ordering);
    }
    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, success, failure)
    }
    pub(crate) fn fetch_or(&self, value: u64, ordering: Ordering) -> u64 {
        self.0.fetch_or(value, ordering)
    }
    pub(crate) fn fetch_and(&self, value: u64, ordering: Ordering) -> u64 {
        self.0.fetch_and(value, ordering)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// Replaces spinning: in a model, a spin changes nothing but how much time passes.
#[derive(Debug)]
pub(crate) struct Spin;

impl Spin {
    pub(crate) fn spin(
        &self,
        _deadline: Option<std::time::Instant>,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        done()
    }
    pub(crate) fn slept(&self, _took: std::time::Duration) {}
}

#[derive(Debug, Default)]
pub(crate) struct Backoff;

impl Backoff {
    pub(crate) fn pause(&mut self) {
        yield_now();
    }
}

/// Returns a number that no other thread of an execution has.
pub(crate) fn thread_token() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    loom::thread_local!(static TOKEN: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    TOKEN.with(|token| *token)
}

/// Holds a value that each execution of a model has once.
pub(crate) struct Own<T: 'static>(std::sync::Mutex<Option<(usize, &'static T)>>);

static EXECUTION: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Begins an execution of a model: from here on, each [`Own`] has another value.
pub(crate) fn next_execution() {
    EXECUTION.fetch_add(1, Ordering::Relaxed);
}

impl<T: Default> Own<T> {
    pub(crate) const fn new() -> Own<T> {
        Own(std::sync::Mutex::new(None))
    }

    pub(crate) fn get(&self) -> &'static T {
        let now = EXECUTION.load(Ordering::Relaxed);
        let mut own = self.0.lock().unwrap();
        match *own {
            Some((execution, value)) if execution == now => value,
            _ => own.insert((now, Box::leak(Box::default()))).1,
        }
    }
}
