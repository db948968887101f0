//! Decides which thread of an end has the driver slot: the driver, the watcher of an event loop, or
//! a thread in `run`, which takes precedence.
//!
//! # What a change here must keep
//!
//! - The occupant changes under the lock only. A thread waits on `freed` with the lock of its last
//!   look, so it misses no release.
//! - The lock does not protect what `over` and `stand_by` read. A thread that makes `over` true
//!   calls [`notify_all`](DriverSlot::notify_all) afterwards, which takes the lock once. A thread
//!   that makes `stand_by` false calls [`call_up`](DriverSlot::call_up) afterwards.
//! - The occupant learns that the slot is wanted by an interrupt: `evict` wakes the driver after
//!   `wanted` was raised. The fences of [`Lead::park`](crate::drive::lead::Lead::park) and
//!   [`Lead::wake_driver`](crate::drive::lead::Lead::wake_driver) order the two.
//!
//! `src/models/driver_slot.rs` checks all this with loom.

use crate::sync::{AtomicU32, Condvar, Mutex, Ordering, fence, lock};

/// Names the thread that holds the driver slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Occupant {
    /// No thread.
    #[default]
    None,
    /// A thread in `run`.
    Run,
    /// The driver: a thread of the library.
    Background,
    /// The thread of the library that watches the ring for an event loop.
    Watcher,
}

/// Gives the driver slot to at most one thread of an end.
#[derive(Debug, Default)]
pub(crate) struct DriverSlot {
    occupant: Mutex<Occupant>,
    /// The slot was released, or a thread that waits for the slot should look again.
    freed: Condvar,
    /// Threads in `run` that wait for the slot.
    wanted: AtomicU32,
    /// Threads of the library that wait for the slot.
    standing_by: AtomicU32,
}

impl DriverSlot {
    /// Returns `true` if a thread in `run` waits for the slot, so that its occupant should leave.
    pub(crate) fn is_wanted(&self) -> bool {
        // Relaxed: ordered by the fences of `Lead::park` and `Lead::wake_driver`.
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Takes the slot for a thread in `run`. Returns `false` if the end is over, unless the slot is
    /// free.
    ///
    /// While another thread has the slot, `evict` interrupts that thread. `evict` is called without
    /// the lock.
    ///
    /// # Blocking
    ///
    /// - Until the occupant [releases](Self::release) the slot.
    /// - Until `over` returns `true` and a thread calls [`notify_all`](Self::notify_all).
    pub(crate) fn claim(&self, over: impl Fn() -> bool, evict: impl Fn()) -> bool {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        let mut current = lock(&self.occupant);
        while *current != Occupant::None && !over() {
            drop(current);
            evict();
            current = lock(&self.occupant);
            if *current != Occupant::None && !over() {
                current = self.freed.wait(current).unwrap_or_else(|p| p.into_inner());
            }
        }
        self.wanted.fetch_sub(1, Ordering::Relaxed);
        let claimed = *current == Occupant::None;
        if claimed {
            *current = Occupant::Run;
        }
        claimed
    }

    /// Takes the slot for a thread of the library, as `occupant`. Returns `false` once `over`
    /// returns `true`.
    ///
    /// # Blocking
    ///
    /// - While another thread has the slot, or a thread in `run` wants the slot.
    /// - While `stand_by` returns `true`: event loops or tasks receive by themselves.
    pub(crate) fn claim_in_background(
        &self,
        occupant: Occupant,
        over: impl Fn() -> bool,
        stand_by: impl Fn() -> bool,
    ) -> bool {
        let mut current = lock(&self.occupant);
        // A thread that calls up changes what `stand_by` reads, and then reads this count. This
        // thread does both the other way round, so one of the two threads sees the other. Relaxed:
        // ordered by the fence, which pairs with the fence in `call_up`.
        self.standing_by.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while (*current != Occupant::None || self.is_wanted() || stand_by()) && !over() {
            current = self.freed.wait(current).unwrap_or_else(|p| p.into_inner());
        }
        self.standing_by.fetch_sub(1, Ordering::Relaxed);
        let claimed = !over();
        if claimed {
            *current = occupant;
        }
        claimed
    }

    /// Makes a thread of the library that stands by look again whether it still should. Call this
    /// after the change of what its `stand_by` reads.
    pub(crate) fn call_up(&self) {
        // Either the thread that stands by sees the change, or this thread sees the count. Pairs
        // with the fence in `claim_in_background`.
        fence(Ordering::SeqCst);
        if self.standing_by.load(Ordering::Relaxed) > 0 {
            // If a thread has the slot, the threads that stand by look again when the slot is
            // released.
            let is_free = *lock(&self.occupant) == Occupant::None;
            if is_free {
                self.freed.notify_all();
            }
        }
    }

    /// Waits until the driver has left the slot. The caller has told the driver to leave.
    ///
    /// # Blocking
    ///
    /// Until the driver [releases](Self::release) the slot.
    pub(crate) fn wait_for_background(&self) {
        let mut current = lock(&self.occupant);
        while *current == Occupant::Background {
            current = self.freed.wait(current).unwrap_or_else(|p| p.into_inner());
        }
    }

    /// Gives the slot up, and makes the threads that wait for the slot look again.
    pub(crate) fn release(&self) {
        *lock(&self.occupant) = Occupant::None;
        self.freed.notify_all();
    }

    /// Makes all threads that wait for the slot look again. Call this after the end is over.
    pub(crate) fn notify_all(&self) {
        // The lock makes sure that no thread is between its look and its wait.
        drop(lock(&self.occupant));
        self.freed.notify_all();
    }
}
