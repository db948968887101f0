//! Queues the sleeping threads of this process where there is no futex: what the kernel's queue of
//! waiters is to a futex.

use std::sync::PoisonError;
use std::time::Instant;

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::wake::doorbell_id::DoorbellId;
use crate::wake::wait_end::WaitEnd;

#[derive(Debug)]
struct Entry {
    doorbell: DoorbellId,
    mark: u32,
    id: u64,
    woken: bool,
}

#[derive(Debug, Default)]
struct Queue {
    entries: Vec<Entry>,
    /// The number of the entry that came last.
    id: u64,
}

/// The sleeping threads of this process, at the doorbells of one pair.
#[derive(Debug)]
pub(crate) struct Waiters {
    queue: Mutex<Queue>,
    /// One condition for all: there are a handful of sleepers at most.
    woken: Condvar,
}

impl Waiters {
    pub(crate) fn new() -> Waiters {
        Waiters { queue: Mutex::new(Queue::default()), woken: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps while `word` is `mark`, until [`wake`](Self::wake) means this sleeper, at most until
    /// `deadline`.
    ///
    /// A thread that takes the mark off the word calls `wake` afterwards. That call finds the
    /// sleeper in the queue, or took the lock before the sleeper, which then finds the word
    /// changed.
    pub(crate) fn wait(
        &self,
        doorbell: DoorbellId,
        word: &AtomicU32,
        mark: u32,
        deadline: Option<Instant>,
    ) -> WaitEnd {
        let mut queue = self.lock();
        // Relaxed: the lock orders the load, see above.
        if word.load(Ordering::Relaxed) != mark {
            return WaitEnd::Recheck;
        }
        let id = queue.id.wrapping_add(1);
        queue.id = id;
        queue.entries.push(Entry { doorbell, mark, id, woken: false });
        loop {
            let timed_out;
            (queue, timed_out) = self.sleep(queue, deadline);
            let Some((at, ours)) = queue.entries.iter().enumerate().find(|(_, e)| e.id == id)
            else {
                return WaitEnd::Recheck;
            };
            let woken = ours.woken;
            if woken || timed_out {
                queue.entries.swap_remove(at);
                return if woken { WaitEnd::Recheck } else { WaitEnd::TimedOut };
            }
        }
    }

    #[cfg(not(loom))]
    fn sleep<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, Queue>, bool) {
        let Some(deadline) = deadline else {
            return (self.woken.wait(queue).unwrap_or_else(PoisonError::into_inner), false);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (queue, true);
        }
        // The next round asks the clock whether time is up.
        (self.woken.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0, false)
    }

    /// Sleeps without a deadline: there is no time under the model checker.
    #[cfg(loom)]
    fn sleep<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        _deadline: Option<Instant>,
    ) -> (MutexGuard<'a, Queue>, bool) {
        (self.woken.wait(queue).unwrap_or_else(PoisonError::into_inner), false)
    }

    /// Wakes the sleepers at `doorbell` with one of `marks`. Returns how many there were.
    pub(crate) fn wake(&self, doorbell: DoorbellId, marks: u32) -> usize {
        let mut queue = self.lock();
        let mut count: usize = 0;
        for entry in queue
            .entries
            .iter_mut()
            .filter(|e| e.doorbell == doorbell && e.mark & marks != 0 && !e.woken)
        {
            entry.woken = true;
            count = count.saturating_add(1);
        }
        drop(queue);
        if count > 0 {
            self.woken.notify_all();
        }
        count
    }
}
