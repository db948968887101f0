//! Deadlines that no thread waits for: those of callbacks and futures, and of the other end's calls that tasks answer.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::calls::ids::PendingEmitId;
use crate::sync::lock;
use crate::time::deadline::Deadline;
use crate::time::now;
use crate::wire::header::CallId;

/// What has a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A call of this end.
    Call(CallId),
    /// An event of this end that is kept. Taken back when it is sent, or not wanted any more.
    Event(PendingEmitId),
    /// A call of the other end, that a task answers. Taken back when it is answered.
    #[cfg(feature = "tokio")]
    Served(CallId),
}

#[derive(Debug, Default)]
struct Deadlines {
    all: BTreeSet<(Instant, Due)>,
    /// How many there are when it is next looked for those of no use any more.
    clear_at: usize,
}

/// Deadlines before it is looked for those of no use any more.
const CLEAR: usize = 1024;

#[derive(Debug)]
pub(crate) struct Timers {
    deadlines: Mutex<Deadlines>,
    /// The earliest deadline, in nanoseconds since `start`: read before each wait, without the lock.
    earliest: AtomicU64,
    /// The earliest when the resident last went to sleep.
    slept_until: AtomicU64,
    start: Instant,
}

const NEVER: u64 = u64::MAX;

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers {
            deadlines: Mutex::default(),
            earliest: AtomicU64::new(NEVER),
            slept_until: AtomicU64::new(NEVER),
            start: now(),
        }
    }

    /// The earliest deadline.
    pub(crate) fn earliest(&self) -> Deadline {
        // Relaxed: whoever adds an earlier deadline disturbs those who sleep by an older one.
        self.moment(self.earliest.load(Ordering::Relaxed))
    }

    /// The earliest deadline, for the resident, which is about to sleep until then.
    pub(crate) fn sleep_until(&self) -> Deadline {
        // Relaxed: read by whoever has been lent the lead, which is what the resident does next.
        // One look: what another thread takes back meanwhile must not let the two differ.
        let earliest = self.earliest.load(Ordering::Relaxed);
        self.slept_until.store(earliest, Ordering::Relaxed);
        self.moment(earliest)
    }

    /// Returns `true` if the driver, when it last went to sleep, was to sleep for longer than until `at`.
    pub(crate) fn driver_sleeps_past(&self, at: Instant) -> bool {
        // Relaxed: see `sleep_until`.
        self.nanos(at) < self.slept_until.load(Ordering::Relaxed)
    }

    #[inline]
    fn moment(&self, nanos: u64) -> Deadline {
        if nanos == NEVER {
            Deadline::NEVER
        } else {
            self.start.checked_add(Duration::from_nanos(nanos)).into()
        }
    }

    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(NEVER)
    }

    /// Adds a deadline. Returns whether it is now the earliest. `live` tells which calls of this end are not answered yet.
    pub(crate) fn add(&self, at: Instant, due: Due, live: impl Fn(CallId) -> bool) -> bool {
        let mut deadlines = lock(&self.deadlines);
        let Deadlines { all, clear_at } = &mut *deadlines;
        // Calls that were answered in time leave their deadlines behind; cleared out when they may be the most part.
        if all.len() >= (*clear_at).max(CLEAR) {
            all.retain(|(_, due)| match due {
                Due::Call(id) => live(*id),
                Due::Event(_) => true,
                #[cfg(feature = "tokio")]
                Due::Served(_) => true,
            });
            *clear_at = all.len().saturating_mul(2);
        }
        all.insert((at, due));
        self.publish(all);
        all.first() == Some(&(at, due))
    }

    /// Takes a deadline back.
    pub(crate) fn remove(&self, at: Instant, due: Due) {
        let mut deadlines = lock(&self.deadlines);
        if deadlines.all.remove(&(at, due)) {
            self.publish(&deadlines.all);
        }
    }

    /// Takes one whose deadline has passed.
    pub(crate) fn expired(&self) -> Option<Due> {
        // Nothing is due: no lock, no clock.
        if !self.earliest().has_passed() {
            return None;
        }
        let mut deadlines = lock(&self.deadlines);
        let (at, _) = *deadlines.all.first()?;
        if now() < at {
            return None;
        }
        let (_, due) = deadlines.all.pop_first()?;
        self.publish(&deadlines.all);
        Some(due)
    }

    fn publish(&self, all: &BTreeSet<(Instant, Due)>) {
        self.earliest
            .store(all.first().map_or(NEVER, |(at, _)| self.nanos(*at)), Ordering::Relaxed);
    }
}
