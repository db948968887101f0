//! What the loom models of the library's own files share.
#![allow(dead_code, unused_imports, reason = "each of them uses a part")]

/// Loom's, under the names of the library's `sync`.
pub(crate) mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread::yield_now;
    /// The models do not race for it.
    pub(crate) use std::sync::OnceLock;

    /// loom's, with stores as swaps.
    ///
    /// Of two plain stores by different threads loom knows no order unless one happened before the other; it does not use that nothing
    /// comes between what a read-modify-write has read and what it has written. Among swaps the order is known.
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
        pub(crate) fn compare_exchange(&self, current: u64, new: u64, success: Ordering, failure: Ordering) -> Result<u64, u64> {
            self.0.compare_exchange(current, new, success, failure)
        }
        pub(crate) fn fetch_and(&self, value: u64, ordering: Ordering) -> u64 {
            self.0.fetch_and(value, ordering)
        }
    }

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }

    /// Spinning and yielding change nothing but how much time passes.
    #[derive(Debug)]
    pub(crate) struct Spin;

    impl Spin {
        pub(crate) fn spin(&self, _deadline: Option<std::time::Instant>, mut done: impl FnMut() -> bool) -> bool {
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

    /// A number that no other thread of an execution has.
    pub(crate) fn thread_token() -> usize {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        loom::thread_local!(static TOKEN: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        TOKEN.with(|token| *token)
    }
}

pub(crate) fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.max_branches = 20_000;
    builder.check(model);
}

/// What loom says of threads that all wait.
pub(crate) const DEADLOCK: &str = "deadlock;";
/// What loom says where threads go round for ever.
pub(crate) const NO_PROGRESS: &str = "exceeded maximum number of branches";

/// Runs a model that must fail, in a process of its own: loom's report of a deadlock aborts.
pub(crate) fn caught(test: &str, how: &str, model: impl Fn() + Sync + Send + 'static) {
    if std::env::var_os("BROKEN_MODEL").is_some() {
        return check(model);
    }
    let program = std::env::current_exe().expect("a program");
    let output =
        std::process::Command::new(program).args([test, "--exact", "--nocapture"]).env("BROKEN_MODEL", "1").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(how), "the broken variant was not caught: {text}");
}
