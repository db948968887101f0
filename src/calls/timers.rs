//! Keeps the deadlines that no thread waits for: the deadlines of callbacks and futures, and of the
//! peer's calls that tasks answer.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::calls::ids::PendingEmitId;
use crate::sync::lock;
use crate::time::deadline::Deadline;
use crate::time::now;
use crate::wire::header::CallId;

/// Names what has a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A call of this end.
    Call(CallId),
    /// A pending event of this end. The deadline is removed when the event is sent, or not wanted
    /// any more.
    Event(PendingEmitId),
    /// A call of the peer that a task answers. The deadline is removed when the call is answered.
    #[cfg(feature = "tokio")]
    Served(CallId),
}

#[derive(Debug, Default)]
struct Deadlines {
    all: BTreeSet<(Instant, Due)>,
    /// The number of deadlines at which the useless ones are next removed.
    clear_at: usize,
}

/// Deadlines that may exist before useless ones are removed.
const CLEAR: usize = 1024;

/// Holds deadlines, earliest first.
#[derive(Debug)]
pub(crate) struct Timers {
    deadlines: Mutex<Deadlines>,
    /// The earliest deadline, in nanoseconds since `start`. Each wait reads it first, without the
    /// lock.
    earliest: AtomicU64,
    /// The earliest deadline at the time when the driver last went to sleep.
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

    /// Returns the earliest deadline.
    pub(crate) fn earliest(&self) -> Deadline {
        // Relaxed: a thread that adds an earlier deadline interrupts the threads that sleep by an
        // older one.
        self.moment(self.earliest.load(Ordering::Relaxed))
    }

    /// Returns the earliest deadline for the driver, which is about to sleep until then.
    pub(crate) fn sleep_until(&self) -> Deadline {
        // Relaxed: the driver parks next, and the reader has taken the lead from the parked driver.
        // One load: another thread may remove a deadline meanwhile, and the two values must not
        // differ.
        let earliest = self.earliest.load(Ordering::Relaxed);
        self.slept_until.store(earliest, Ordering::Relaxed);
        self.moment(earliest)
    }

    /// Returns `true` if the driver's last sleep was to last longer than until `at`.
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

    /// Returns the nanoseconds from `start` to `at`.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(NEVER)
    }

    /// Adds a deadline. Returns `true` if it is now the earliest.
    ///
    /// `live` returns `true` for a call of this end that is not answered yet.
    pub(crate) fn add(&self, at: Instant, due: Due, live: impl Fn(CallId) -> bool) -> bool {
        let mut deadlines = lock(&self.deadlines);
        let Deadlines { all, clear_at } = &mut *deadlines;
        // A call that was answered in time leaves its deadline behind. Such deadlines are removed
        // when they may be the greater part.
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

    /// Removes a deadline.
    pub(crate) fn remove(&self, at: Instant, due: Due) {
        let mut deadlines = lock(&self.deadlines);
        if deadlines.all.remove(&(at, due)) {
            self.publish(&deadlines.all);
        }
    }

    /// Takes a deadline that has passed.
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
