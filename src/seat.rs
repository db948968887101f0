//! Who is the resident of an end: the background dispatcher, or a thread in `run`, which takes precedence.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};

use crate::sync::lock;

#[derive(Debug, Default)]
pub(crate) struct Seat {
    taken: Mutex<bool>,
    freed: Condvar,
    /// Threads in `run` that wait for the seat.
    wanted: AtomicU32,
}

impl Seat {
    /// Whether the background dispatcher should give the seat up.
    pub(crate) fn is_wanted(&self) -> bool {
        // Relaxed: ordered by the fences of `Lead::doze` and `Lead::wake_resident`.
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Takes the seat for a thread in `run`, calling `evict` while somebody else has it. Returns false if the end is over.
    pub(crate) fn claim(&self, over: impl Fn() -> bool, evict: impl Fn()) -> bool {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        let mut taken = lock(&self.taken);
        while *taken && !over() {
            drop(taken);
            evict();
            taken = lock(&self.taken);
            if *taken && !over() {
                taken = self.freed.wait(taken).unwrap_or_else(|p| p.into_inner());
            }
        }
        self.wanted.fetch_sub(1, Ordering::Relaxed);
        let claimed = !*taken;
        *taken = true;
        claimed
    }

    /// Takes the seat for the background dispatcher once no thread in `run` wants it. Returns false if the end is over.
    pub(crate) fn claim_in_background(&self, over: impl Fn() -> bool) -> bool {
        let mut taken = lock(&self.taken);
        while *taken || self.is_wanted() {
            if over() {
                return false;
            }
            taken = self.freed.wait(taken).unwrap_or_else(|p| p.into_inner());
        }
        *taken = true;
        !over()
    }

    pub(crate) fn release(&self) {
        *lock(&self.taken) = false;
        self.freed.notify_all();
    }

    /// Lets everybody who waits look whether the end is over.
    pub(crate) fn stir(&self) {
        drop(lock(&self.taken));
        self.freed.notify_all();
    }
}
