//! The clock of a pair: what time it is travels as nanoseconds of the parent's monotonic clock.
//!
//! The processes of a host have one monotonic clock, unless a worker was put into a time namespace of its own: then its clock is ahead of the parent's, or
//! behind, and the worker does the sum.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// How long a hello may have been under way without being taken for one of another clock.
const SLOW: Duration = Duration::from_secs(5);

/// How much this process's clock is ahead of the parent's, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PairClock {
    ahead: i64,
}

/// One moment, on the clock of this process and as a number.
struct Anchor {
    at: Instant,
    nanos: i64,
}

fn anchor() -> &'static Anchor {
    static ANCHOR: OnceLock<Anchor> = OnceLock::new();
    ANCHOR.get_or_init(|| {
        let read = || {
            let before = Instant::now();
            // An error would be a system without this clock, which `Instant` needs, too.
            let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
            let nanos = time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec());
            (before.elapsed(), Anchor { at: before, nanos })
        };
        // The two are read one after the other, and this thread may have lost its processor in between: the best of some.
        let mut best = read();
        for _ in 0..7 {
            let next = read();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    })
}

/// Nanoseconds of `time`, as far as they go.
fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl PairClock {
    /// That of the parent.
    pub(crate) const PARENT: PairClock = PairClock { ahead: 0 };

    /// That of a worker to which the parent has said, not long ago, that it is `now` there.
    pub(crate) fn of_a_worker(now: u64) -> PairClock {
        let here = PairClock::PARENT.number(Instant::now());
        let ahead = (here as i64).saturating_sub(now as i64);
        // That it was under way for so long means nothing. What is more, or less than nothing, is another clock: as far ahead as it seems to be, and for as long as the
        // hello was under way more, so that all deadlines come so much later here.
        let is_same = (0..nanos(SLOW)).contains(&ahead);
        PairClock { ahead: if is_same { 0 } else { ahead } }
    }

    /// The moment as a number that the other end knows.
    pub(crate) fn number(self, at: Instant) -> u64 {
        let anchor = anchor();
        let since = match at.checked_duration_since(anchor.at) {
            Some(after) => nanos(after),
            None => nanos(anchor.at.saturating_duration_since(at)).saturating_neg(),
        };
        anchor.nanos.saturating_add(since).saturating_sub(self.ahead).max(0) as u64
    }

    /// The moment that a number means, whoever has said it. `None`: so late that it does not matter.
    pub(crate) fn moment(self, number: u64) -> Option<Instant> {
        let anchor = anchor();
        let number = i64::try_from(number).ok()?.checked_add(self.ahead)?;
        let since = number.saturating_sub(anchor.nanos);
        let distance = Duration::from_nanos(since.unsigned_abs());
        // What was before the clock began has passed as well as what was when it did.
        if since < 0 { Some(anchor.at.checked_sub(distance).unwrap_or(anchor.at)) } else { anchor.at.checked_add(distance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_back() {
        let now = Instant::now();
        for at in [now, now + Duration::from_secs(100), now - Duration::from_millis(5)] {
            assert_eq!(PairClock::PARENT.moment(PairClock::PARENT.number(at)), Some(at));
        }
    }

    #[test]
    fn numbers_are_those_of_the_monotonic_clock() {
        let before = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        let number = Duration::from_nanos(PairClock::PARENT.number(Instant::now()));
        let after = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        // The anchor is as exact as the best of some.
        let exact = Duration::from_millis(1);
        assert!(Duration::from(before) <= number + exact && number <= Duration::from(after) + exact, "{before:?} {number:?} {after:?}");
    }

    #[test]
    fn another_clock_is_told_from_a_slow_start() {
        let now = PairClock::PARENT.number(Instant::now());
        assert_eq!(PairClock::of_a_worker(now), PairClock::PARENT);
        assert_eq!(PairClock::of_a_worker(now - 1_000_000_000), PairClock::PARENT);
        for ahead in [20_000_000_000_i64, -20_000_000_000] {
            let clock = PairClock::of_a_worker(now.saturating_add_signed(-ahead));
            let at = Instant::now();
            // What the parent has said, in its numbers.
            let said = PairClock::PARENT.number(at).saturating_add_signed(-ahead);
            let understood = clock.moment(said).unwrap();
            assert!(understood >= at && understood < at + SLOW, "{clock:?}");
            // And back.
            assert_eq!(clock.number(understood), said);
        }
    }

    #[test]
    fn any_number_is_a_moment_or_none() {
        let now = Instant::now();
        for clock in [PairClock::PARENT, PairClock { ahead: i64::MIN }, PairClock { ahead: i64::MAX }] {
            for number in [0, 1, 1 << 62, i64::MAX as u64, 1 << 63, u64::MAX] {
                let _ = clock.moment(number);
            }
            let _ = clock.number(now);
        }
        assert!(PairClock::PARENT.moment(0).unwrap() <= now);
        assert!(PairClock::PARENT.moment(u64::MAX).is_none());
    }
}
