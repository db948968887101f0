//! Deadlines that no thread waits for: those of callbacks and futures, and of the other end's calls that tasks answer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::end::End;
use crate::envelope::CallId;
use crate::error::Error;
use crate::pending::Outcome;
use crate::sync::lock;

/// What has a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A call of this end.
    Call(CallId),
    /// A call of the other end, that a task answers.
    #[cfg(feature = "tokio")]
    Served(CallId),
}

#[derive(Debug)]
pub(crate) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<(Instant, Due)>>>,
    /// The earliest deadline, in nanoseconds since `start`: read before each wait, without the lock.
    earliest: AtomicU64,
    start: Instant,
}

const NEVER: u64 = u64::MAX;

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers { heap: Mutex::default(), earliest: AtomicU64::new(NEVER), start: Instant::now() }
    }

    /// The earliest deadline.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        // Relaxed: whoever adds an earlier deadline disturbs those who sleep by an older one.
        match self.earliest.load(Ordering::Relaxed) {
            NEVER => None,
            nanos => self.start.checked_add(Duration::from_nanos(nanos)),
        }
    }

    /// Adds a deadline. Returns whether it is now the earliest. `live` tells which calls are not answered yet.
    fn add(&self, at: Instant, due: Due, live: impl Fn(Due) -> bool) -> bool {
        let mut heap = lock(&self.heap);
        // Calls that were answered in time leave their deadlines behind; cleared out when they may be the most part.
        if heap.len() >= 1024 && heap.len() == heap.capacity() {
            heap.retain(|Reverse((_, due))| live(*due));
        }
        heap.push(Reverse((at, due)));
        self.publish(&heap);
        heap.peek().is_some_and(|Reverse((_, first))| *first == due)
    }

    /// Takes one whose deadline has passed.
    fn expired(&self) -> Option<Due> {
        // Nothing is due: no lock, no clock.
        let earliest = self.earliest()?;
        if Instant::now() < earliest {
            return None;
        }
        let mut heap = lock(&self.heap);
        let Reverse((at, due)) = *heap.peek()?;
        if Instant::now() < at {
            return None;
        }
        heap.pop();
        self.publish(&heap);
        Some(due)
    }

    fn publish(&self, heap: &BinaryHeap<Reverse<(Instant, Due)>>) {
        let nanos = heap
            .peek()
            .map_or(NEVER, |Reverse((at, _))| u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(NEVER));
        self.earliest.store(nanos, Ordering::Relaxed);
    }
}

impl End {
    /// Sees to it that somebody looks at this deadline when it has passed.
    pub(crate) fn time(&self, at: Instant, due: Due) {
        let live = |due| match due {
            Due::Call(id) => self.pending.is_known(id),
            #[cfg(feature = "tokio")]
            Due::Served(id) => self.deferred.is_open(id),
        };
        if self.timers.add(at, due, live) {
            self.disturb();
        }
    }

    /// Fails the calls of callbacks and futures whose deadline has passed, and lets the tasks know whose callers' has.
    pub(crate) fn expire(self: &Arc<Self>) {
        while let Some(due) = self.timers.expired() {
            match due {
                Due::Call(id) if self.pending.is_unanswered(id) => {
                    self.complete(id, Outcome::Failed(Error::Timeout));
                    self.cancel(id);
                }
                Due::Call(_) => {}
                #[cfg(feature = "tokio")]
                Due::Served(id) => {
                    self.unwanted(id);
                }
            }
        }
    }
}
