//! Who is the driver of an end: the background dispatcher, or a thread in `run`, which takes precedence.

use crate::sync::{AtomicU32, Condvar, Mutex, Ordering, fence, lock};

/// Who has the seat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Occupant {
    #[default]
    None,
    /// A thread in `run`.
    Run,
    /// The background dispatcher.
    Background,
    /// The thread that watches for an event loop.
    Watcher,
}

#[derive(Debug, Default)]
pub(crate) struct DriverSlot {
    holder: Mutex<Occupant>,
    freed: Condvar,
    /// Threads in `run` that wait for the seat.
    wanted: AtomicU32,
    /// Threads of the library that wait for it.
    standing_by: AtomicU32,
}

impl DriverSlot {
    /// Whether the background dispatcher should give the seat up.
    pub(crate) fn is_wanted(&self) -> bool {
        // Relaxed: ordered by the fences of `Lead::park` and `Lead::wake_driver`.
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Takes the seat for a thread in `run`, calling `evict` while somebody else has it. Returns false if the end is over.
    pub(crate) fn claim(&self, over: impl Fn() -> bool, evict: impl Fn()) -> bool {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        let mut holder = lock(&self.holder);
        while *holder != Occupant::None && !over() {
            drop(holder);
            evict();
            holder = lock(&self.holder);
            if *holder != Occupant::None && !over() {
                holder = self.freed.wait(holder).unwrap_or_else(|p| p.into_inner());
            }
        }
        self.wanted.fetch_sub(1, Ordering::Relaxed);
        let claimed = *holder == Occupant::None;
        if claimed {
            *holder = Occupant::Run;
        }
        claimed
    }

    /// Takes the seat for a thread of the library once no thread in `run` wants it, nor anybody else for whom this one is to `stand_by`. Returns false
    /// if it is over.
    pub(crate) fn claim_in_background(
        &self,
        who: Occupant,
        over: impl Fn() -> bool,
        stand_by: impl Fn() -> bool,
    ) -> bool {
        let mut holder = lock(&self.holder);
        // Relaxed: ordered by the fence, which pairs with the one in `call_up`.
        self.standing_by.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while (*holder != Occupant::None || self.is_wanted() || stand_by()) && !over() {
            holder = self.freed.wait(holder).unwrap_or_else(|p| p.into_inner());
        }
        self.standing_by.fetch_sub(1, Ordering::Relaxed);
        let claimed = !over();
        if claimed {
            *holder = who;
        }
        claimed
    }

    /// Lets a thread that stands by look whether it still should. Call after changing that.
    pub(crate) fn call_up(&self) {
        // Either it sees the change, or this sees that it stands by; pairs with the fence in `claim_in_background`.
        fence(Ordering::SeqCst);
        if self.standing_by.load(Ordering::Relaxed) > 0 {
            // While somebody has the seat, those who stand by look when it is released.
            let is_free = *lock(&self.holder) == Occupant::None;
            if is_free {
                self.freed.notify_all();
            }
        }
    }

    /// Waits until the background dispatcher, which has been told, has left the seat.
    pub(crate) fn wait_for_background(&self) {
        let mut holder = lock(&self.holder);
        while *holder == Occupant::Background {
            holder = self.freed.wait(holder).unwrap_or_else(|p| p.into_inner());
        }
    }

    pub(crate) fn release(&self) {
        *lock(&self.holder) = Occupant::None;
        self.freed.notify_all();
    }

    /// Lets everybody who waits look whether the end is over.
    pub(crate) fn notify_all(&self) {
        drop(lock(&self.holder));
        self.freed.notify_all();
    }
}
