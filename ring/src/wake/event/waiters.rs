//! The sleepers of this process, where no futex does it: what the kernel's queue of waiters is to a futex.

use std::sync::PoisonError;
use std::time::Instant;

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::wake::doorbell_id::Place;
use crate::wake::wait_end::Ended;

#[derive(Debug)]
struct Sleeping {
    place: Place,
    mark: u32,
    ticket: u64,
    woken: bool,
}

#[derive(Debug, Default)]
struct Queue {
    sleeping: Vec<Sleeping>,
    /// Of the last that came.
    ticket: u64,
}

/// Where they sleep.
#[derive(Debug)]
pub(crate) struct Lot {
    queue: Mutex<Queue>,
    /// One for all: there are a handful of sleepers at most.
    woken: Condvar,
}

impl Lot {
    pub(crate) fn new() -> Lot {
        Lot { queue: Mutex::new(Queue::default()), woken: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps while `word` is `mark`, until [`wake`](Self::wake) means it, at most until `deadline`.
    ///
    /// Whoever takes the mark off the word calls `wake` afterwards. It either finds the sleeper in the queue, or took the lock before it, which then
    /// finds the word changed.
    pub(crate) fn wait(&self, place: Place, word: &AtomicU32, mark: u32, deadline: Option<Instant>) -> Ended {
        let mut queue = self.lock();
        // Relaxed: the lock orders it, see above.
        if word.load(Ordering::Relaxed) != mark {
            return Ended::Look;
        }
        let ticket = queue.ticket.wrapping_add(1);
        queue.ticket = ticket;
        queue.sleeping.push(Sleeping { place, mark, ticket, woken: false });
        loop {
            let timed_out;
            (queue, timed_out) = self.sleep(queue, deadline);
            let Some((at, ours)) = queue.sleeping.iter().enumerate().find(|(_, s)| s.ticket == ticket) else { return Ended::Look };
            let woken = ours.woken;
            if woken || timed_out {
                queue.sleeping.swap_remove(at);
                return if woken { Ended::Look } else { Ended::TimedOut };
            }
        }
    }

    #[cfg(not(loom))]
    fn sleep<'a>(&self, queue: MutexGuard<'a, Queue>, deadline: Option<Instant>) -> (MutexGuard<'a, Queue>, bool) {
        let Some(deadline) = deadline else {
            return (self.woken.wait(queue).unwrap_or_else(PoisonError::into_inner), false);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (queue, true);
        }
        // Whether time is up is asked of the clock, next time round.
        (self.woken.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0, false)
    }

    /// There is no time under the model checker.
    #[cfg(loom)]
    fn sleep<'a>(&self, queue: MutexGuard<'a, Queue>, _deadline: Option<Instant>) -> (MutexGuard<'a, Queue>, bool) {
        (self.woken.wait(queue).unwrap_or_else(PoisonError::into_inner), false)
    }

    /// Wakes the sleepers of `place` with one of `marks`. Returns how many there were.
    pub(crate) fn wake(&self, place: Place, marks: u32) -> usize {
        let mut queue = self.lock();
        let mut count: usize = 0;
        for sleeping in queue.sleeping.iter_mut().filter(|s| s.place == place && s.mark & marks != 0 && !s.woken) {
            sleeping.woken = true;
            count = count.saturating_add(1);
        }
        drop(queue);
        if count > 0 {
            self.woken.notify_all();
        }
        count
    }
}
