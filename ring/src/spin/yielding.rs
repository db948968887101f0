//! Yields the processor to any other thread that is ready to run, for as long as that does no harm.
//!
//! Where two sides share a processor, a `sched_yield` by each is the cheapest exchange there is. It
//! takes two switches; a sleep and a wake-up take two switches and two more system calls. If no
//! other thread wants the processor, the yield returns at once.
//!
//! A yield is no good beside a thread that computes. The scheduler takes a yield as the wish to
//! forgo the rest of the time slice. The processor is gone for a slice or more, some milliseconds.
//! A thread that sleeps instead is rewarded: the scheduler lets it run as soon as it is woken. So a
//! yield that was that expensive bans yields for a growing number of waits.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a yield has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yielded {
    /// No other thread wanted the processor.
    Alone,
    /// Another thread had the processor for a moment.
    Shared,
    /// Another thread had the processor for a time slice.
    Lost,
}

/// The time below which a yield had no effect. A yield without effect takes 0.2 to 0.4 µs; two
/// switches, and what happens between them, take more than 1.2 µs.
const ALONE: Duration = Duration::from_nanos(800);
/// The time from which on a yield is a loss. A thread that computes keeps the processor for some 3
/// ms. Many pairs that take turns need a few hundred microseconds, and a handler may take as long
/// on the same processor.
const LOST: Duration = Duration::from_millis(1);
/// How many waits do without yields after a loss. Where many pairs are busy, each loses the
/// processor to others now and then, as it should.
const SHORTEST_BAN: u32 = 1 << 5;
/// The most waits that do without yields. Beside a process that computes, one or two exchanges in a
/// thousand take a time slice even if no thread ever yields. One in eight thousand does not show.
const LONGEST_BAN: u32 = 1 << 13;
/// So many yields without a loss halve the ban. Beside a process that computes, every second or
/// third yield is a loss.
const GOOD: u32 = 8;
/// Yields after which a thread sleeps once, to be moved to a better processor. Such a sleep costs
/// as much as some three exchanges by yields.
const YIELDS_BEFORE_MIGRATION: u32 = 64;

/// What was learned of yields of one kind. The fields are hints: losing an update does no harm.
#[derive(Debug)]
pub(crate) struct Yielding {
    /// The waits that are still to do without yields.
    banned: AtomicU32,
    /// How many waits the next loss will ban.
    ban: AtomicU32,
    /// Yields without a loss, up to [`GOOD`].
    good: AtomicU32,
    /// How often another thread wanted the processor, since none did or since the last sleep for a
    /// better processor.
    shared: AtomicU32,
}

impl Yielding {
    pub(crate) fn new() -> Yielding {
        Yielding {
            banned: AtomicU32::new(0),
            ban: AtomicU32::new(SHORTEST_BAN),
            good: AtomicU32::new(0),
            shared: AtomicU32::new(0),
        }
    }

    /// Returns `true` if another thread wanted the processor the last time.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        // Relaxed: hints, here and below.
        self.shared.load(Ordering::Relaxed) > 0
    }

    /// Returns `true` if a wait may yield. Ask once a wait.
    pub(crate) fn is_allowed(&self) -> bool {
        let banned = self.banned.load(Ordering::Relaxed);
        if banned > 0 {
            self.banned.store(banned.saturating_sub(1), Ordering::Relaxed);
        }
        banned == 0
    }

    /// Returns `true` if the thread should sleep for once although yields do well.
    ///
    /// Two sides may share one processor while another is idle. The scheduler looks for the best
    /// processor when it wakes a thread, but hardly ever moves a thread that yields.
    pub(crate) fn should_migrate(&self) -> bool {
        let due = self.shared.load(Ordering::Relaxed) >= YIELDS_BEFORE_MIGRATION;
        if due {
            self.shared.store(1, Ordering::Relaxed);
        }
        due
    }

    /// Learns from a yield that took `took`.
    pub(crate) fn learn(&self, took: Duration) -> Yielded {
        let shared = self.shared.load(Ordering::Relaxed);
        self.shared
            .store(if took < ALONE { 0 } else { shared.saturating_add(1) }, Ordering::Relaxed);
        let ban = self.ban.load(Ordering::Relaxed);
        if took >= LOST {
            self.banned.store(ban, Ordering::Relaxed);
            self.ban.store(ban.saturating_mul(2).min(LONGEST_BAN), Ordering::Relaxed);
            self.good.store(0, Ordering::Relaxed);
            return Yielded::Lost;
        }
        if ban > SHORTEST_BAN {
            let good = self.good.load(Ordering::Relaxed).saturating_add(1);
            if good == GOOD {
                self.ban.store(ban / 2, Ordering::Relaxed);
            }
            self.good.store(good % GOOD, Ordering::Relaxed);
        }
        if took < ALONE { Yielded::Alone } else { Yielded::Shared }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const COMPUTES: Duration = Duration::from_millis(3);
    const PEER: Duration = Duration::from_micros(3);
    const IDLE: Duration = Duration::from_nanos(300);

    fn waits_until_allowed(yielding: &Yielding) -> u32 {
        (0..).take_while(|_| !yielding.is_allowed()).count() as u32
    }

    #[test]
    fn tells_whether_another_thread_ran() {
        let yielding = Yielding::new();
        assert!(!yielding.is_contended());
        assert_eq!(yielding.learn(PEER), Yielded::Shared);
        assert!(yielding.is_contended());
        assert_eq!(yielding.learn(IDLE), Yielded::Alone);
        assert!(!yielding.is_contended());
        assert!(yielding.is_allowed());
        assert_eq!(yielding.learn(COMPUTES), Yielded::Lost);
        assert!(!yielding.is_allowed());
    }

    #[test]
    fn losses_one_after_the_other_get_rare() {
        let yielding = Yielding::new();
        let mut ban = SHORTEST_BAN;
        for round in 0..40 {
            // Not every yield beside a thread that computes costs a slice.
            for _ in 0..round % 4 {
                yielding.learn(PEER);
            }
            yielding.learn(COMPUTES);
            assert_eq!(waits_until_allowed(&yielding), ban);
            ban = (ban * 2).min(LONGEST_BAN);
        }
    }

    #[test]
    fn good_yields_make_up_for_losses() {
        let yielding = Yielding::new();
        for _ in 0..20 {
            yielding.learn(COMPUTES);
        }
        for _ in 0..20 * GOOD {
            yielding.learn(PEER);
        }
        yielding.learn(COMPUTES);
        assert_eq!(waits_until_allowed(&yielding), SHORTEST_BAN);
    }
}
