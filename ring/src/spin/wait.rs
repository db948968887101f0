//! Spins before a wait goes to sleep, for as long as earlier waits have taught.
//!
//! Spinning pays where the peer usually answers sooner than a sleep and a wake-up take. It is
//! wasted where the peer does not, and does harm where the two sides share one processor. [`Spin`]
//! learns from the ends of its waits which of these it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::spin::processors::can_run_at_once;
use crate::spin::quota;
use crate::spin::strategy::WaitStrategy;
use crate::spin::yielding::{Yielded, Yielding};

/// The longest that an adaptive wait spins: about what a sleep and a wake-up take where a halted
/// processor must be woken.
const LONGEST: Duration = Duration::from_micros(50);
/// The shortest: an exchange between two busy sides is well within it, including an interrupt on
/// the peer's processor.
const SHORTEST: Duration = Duration::from_micros(5);
/// The time within which a wait that ended in sleep might have been worth a spin. It includes the
/// wake-up itself.
const WORTH_IT: Duration = Duration::from_micros(120);
/// Looks at the ring between two looks at the clock, which costs as much as some twenty looks.
const LOOKS_PER_CLOCK: u32 = 64;
/// Looks before a yield, if another thread wanted the processor the last time. They take about as
/// long as a call, in case both sides happen to run at once.
const LOOKS_WHEN_CONTENDED: u32 = 16;
/// Yields of the processor in one wait. The peer is usually there after the first: every thread
/// that is ready has had a turn.
const YIELDS: u32 = 3;
/// The least time between two questions for the set of usable processors, in milliseconds.
const TOPOLOGY_AGE_MS: u64 = 100;

/// The spinning part of waits of one kind at one end. Any thread may use it; what it learns is a
/// hint.
#[derive(Debug)]
pub struct Spin {
    strategy: WaitStrategy,
    peer: Option<Pid>,
    /// The longest spin of the next wait, in nanoseconds.
    budget: AtomicU64,
    yielding: Yielding,
    parallel: AtomicBool,
    start: Instant,
    /// When `parallel` was found out: milliseconds since `start`.
    asked: AtomicU64,
}

impl Spin {
    /// Makes the spinning part of waits for the process `peer`.
    pub fn new(strategy: WaitStrategy, peer: u32) -> Spin {
        let peer = i32::try_from(peer).ok().map(Pid::from_raw);
        let parallel = AtomicBool::new(
            strategy == WaitStrategy::Adaptive && can_run_at_once(peer, quota::probably_allows_two),
        );
        Spin {
            strategy,
            peer,
            budget: AtomicU64::new(nanos(LONGEST)),
            yielding: Yielding::new(),
            parallel,
            start: Instant::now(),
            asked: AtomicU64::new(0),
        }
    }

    /// Looks at `done` until it is true, for as long as that seems worth it and `deadline` has not
    /// passed.
    ///
    /// Returns `true` if `done` was true. If not, go to sleep, and afterwards tell
    /// [`slept`](Self::slept) how long the wait took in all.
    #[inline]
    pub fn spin(&self, deadline: Option<Instant>, mut done: impl FnMut() -> bool) -> bool {
        match self.strategy {
            // Relaxed: hints, here and below.
            WaitStrategy::Adaptive if !self.parallel.load(Ordering::Relaxed) => {
                done() || self.yield_a_few_times(deadline, done)
            }
            // Most waits of a busy pair end before the first look at the clock.
            WaitStrategy::Adaptive if self.yielding.is_contended() => {
                look::<LOOKS_WHEN_CONTENDED>(&mut done) || self.yield_a_few_times(deadline, done)
            }
            WaitStrategy::Adaptive => {
                look::<LOOKS_PER_CLOCK>(&mut done)
                    || self.spin_by_the_clock(Instant::now(), true, deadline, done)
            }
            WaitStrategy::Spin => look::<LOOKS_PER_CLOCK>(&mut done) || spin_until(deadline, done),
            WaitStrategy::Block => done(),
        }
    }

    /// Spins until the budget of a wait that began at `start` is spent. If the wait may yield, it
    /// turns to yields once another thread wants the processor.
    #[cold]
    fn spin_by_the_clock(
        &self,
        start: Instant,
        may_yield: bool,
        deadline: Option<Instant>,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        let limit = Duration::from_nanos(self.budget.load(Ordering::Relaxed));
        let mut may_yield = may_yield;
        loop {
            if look::<LOOKS_PER_CLOCK>(&mut done) {
                self.learn_from_spin(start.elapsed());
                return true;
            }
            let now = Instant::now();
            if deadline.is_some_and(|d| now >= d) {
                return false;
            }
            let spun = now.duration_since(start);
            if spun >= SHORTEST && may_yield {
                // A busy peer would have answered by now: does it lack this processor?
                may_yield = false;
                if self.yielding.is_allowed() && self.yield_now(now) != Yielded::Alone {
                    return done() || self.yield_a_few_times(deadline, done);
                }
            }
            if spun >= limit {
                return false;
            }
        }
    }

    /// Yields a processor that another thread wants, perhaps the thread that this one waits for.
    #[cold]
    fn yield_a_few_times(&self, deadline: Option<Instant>, mut done: impl FnMut() -> bool) -> bool {
        let parallel = self.parallel.load(Ordering::Relaxed);
        if !self.yielding.is_allowed() || parallel && self.yielding.should_migrate() {
            return false;
        }
        let start = Instant::now();
        for _ in 0..YIELDS {
            let now = Instant::now();
            self.refresh_parallel(now);
            if deadline.is_some_and(|d| now >= d) {
                return false;
            }
            let yielded = self.yield_now(now);
            if done() {
                return true;
            }
            match yielded {
                Yielded::Shared => {}
                // The one leg by the clock that a wait has: two neighbours that come and go cannot
                // keep it going.
                Yielded::Alone if parallel => {
                    return self.spin_by_the_clock(start, false, deadline, done);
                }
                Yielded::Alone | Yielded::Lost => return false,
            }
        }
        false
    }

    fn yield_now(&self, now: Instant) -> Yielded {
        std::thread::yield_now();
        self.yielding.learn(now.elapsed())
    }

    fn learn_from_spin(&self, took: Duration) {
        // Twice what the wait took would have been ample. The budget goes down slowly, so that one
        // quick answer does not hide the usual one, and up at once.
        let ample = nanos(took.saturating_mul(2).clamp(SHORTEST, LONGEST));
        let budget = self.budget.load(Ordering::Relaxed);
        self.budget.store(
            if ample > budget { ample } else { budget.saturating_mul(7).saturating_add(ample) / 8 },
            Ordering::Relaxed,
        );
    }

    /// Learns from a wait that ended in sleep and took `took` in all.
    pub fn slept(&self, took: Duration) {
        let budget = self.budget.load(Ordering::Relaxed);
        self.budget.store(
            if took <= WORTH_IT { nanos(LONGEST) } else { (budget / 2).max(nanos(SHORTEST)) },
            Ordering::Relaxed,
        );
        if self.strategy == WaitStrategy::Adaptive {
            self.refresh_parallel(Instant::now());
        }
    }

    fn refresh_parallel(&self, now: Instant) {
        let elapsed = now.duration_since(self.start).as_millis() as u64;
        if elapsed >= self.asked.load(Ordering::Relaxed).saturating_add(TOPOLOGY_AGE_MS) {
            self.asked.store(elapsed, Ordering::Relaxed);
            self.parallel
                .store(can_run_at_once(self.peer, || quota::allows_two(now)), Ordering::Relaxed);
        }
    }
}

/// Looks for a moment.
#[inline]
fn look<const LOOKS: u32>(done: &mut impl FnMut() -> bool) -> bool {
    for _ in 0..LOOKS {
        if done() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

/// Looks until `deadline`.
#[cold]
fn spin_until(deadline: Option<Instant>, mut done: impl FnMut() -> bool) -> bool {
    while !look::<LOOKS_PER_CLOCK>(&mut done) {
        if deadline.is_some_and(|d| Instant::now() >= d) {
            return false;
        }
    }
    true
}

/// Converts a duration to nanoseconds. The few durations that are used here fit easily.
fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
