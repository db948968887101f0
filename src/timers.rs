//! Deadlines of calls that no thread waits for: callbacks and futures.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::envelope::CallId;
use crate::sync::lock;

#[derive(Debug)]
pub(crate) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<(Instant, CallId)>>>,
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

    /// Adds a deadline. Returns whether it is now the earliest. `live` tells which calls are still in flight.
    pub(crate) fn add(&self, at: Instant, id: CallId, live: impl Fn(CallId) -> bool) -> bool {
        let mut heap = lock(&self.heap);
        // Calls that were answered in time leave their deadlines behind; cleared out when they may be the most part.
        if heap.len() >= 1024 && heap.len() == heap.capacity() {
            heap.retain(|Reverse((_, id))| live(*id));
        }
        heap.push(Reverse((at, id)));
        self.publish(&heap);
        heap.peek().is_some_and(|Reverse((_, first))| *first == id)
    }

    /// Takes one call whose deadline has passed.
    pub(crate) fn expired(&self) -> Option<CallId> {
        // Nothing is due: no lock, no clock.
        let earliest = self.earliest()?;
        if Instant::now() < earliest {
            return None;
        }
        let mut heap = lock(&self.heap);
        let Reverse((at, id)) = *heap.peek()?;
        if Instant::now() < at {
            return None;
        }
        heap.pop();
        self.publish(&heap);
        Some(id)
    }

    fn publish(&self, heap: &BinaryHeap<Reverse<(Instant, CallId)>>) {
        let nanos = heap
            .peek()
            .map_or(NEVER, |Reverse((at, _))| u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(NEVER));
        self.earliest.store(nanos, Ordering::Relaxed);
    }
}
