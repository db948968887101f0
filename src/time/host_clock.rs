//! The clock of a host: what time it is travels as nanoseconds of the monotonic clock that all its processes have.
//!
//! A process in a time namespace of its own sees that clock with an offset, which the kernel tells it.

use std::fs;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// The clock of the host as this process sees it: one moment, and its number.
///
/// Each end has its own, from when it was made: nothing is to be found out later, when the process may not look into `/proc` any more, and a forked child, which
/// cannot use the ends of its parent, may have another clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    at: Instant,
    nanos: i64,
}

/// Nanoseconds by which the clock of this process is ahead of the host's.
fn offset() -> i64 {
    let namespace = |name| fs::read_link(format!("/proc/self/ns/{name}")).ok();
    // The offsets are those of the namespace that children get. One that this process has made, and is not in itself, is not its own.
    if namespace("time") != namespace("time_for_children") {
        return 0;
    }
    // Without the file there are no such namespaces here.
    let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    monotonic(&offsets).unwrap_or(0)
}

/// That of the monotonic clock: seconds and nanoseconds behind its name.
fn monotonic(offsets: &str) -> Option<i64> {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?;
    let mut numbers = line.split_whitespace().map(str::parse::<i64>);
    let (seconds, nanos) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// Nanoseconds of `time`, as far as they go.
fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl Clock {
    pub(crate) fn new() -> Clock {
        let read = || {
            let at = Instant::now();
            // An error would be a system without this clock, which `Instant` needs, too.
            let time = clock_gettime(ClockId::CLOCK_MONOTONIC)
                .unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
            let nanos = time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec());
            (at.elapsed(), Clock { at, nanos })
        };
        // The two are read one after the other, and this thread may have lost its processor in between: the best of some.
        let mut best = read();
        for _ in 0..3 {
            let next = read();
            if next.0 < best.0 {
                best = next;
            }
        }
        let Clock { at, nanos } = best.1;
        Clock { at, nanos: nanos.saturating_sub(offset()) }
    }

    /// The moment as a number that another process knows.
    pub(crate) fn number(self, at: Instant) -> u64 {
        let since = match at.checked_duration_since(self.at) {
            Some(after) => nanos(after),
            None => nanos(self.at.saturating_duration_since(at)).saturating_neg(),
        };
        self.nanos.saturating_add(since).max(0) as u64
    }

    /// The moment that a number means, whoever has said it. `None`: so late that it does not matter.
    pub(crate) fn moment(self, number: u64) -> Option<Instant> {
        let since = i64::try_from(number).ok()?.checked_sub(self.nanos)?;
        let distance = Duration::from_nanos(since.unsigned_abs());
        // What was before the clock began has passed as well as what was when it did.
        if since < 0 {
            Some(self.at.checked_sub(distance).unwrap_or(self.at))
        } else {
            self.at.checked_add(distance)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_back() {
        let (clock, now) = (Clock::new(), Instant::now());
        for at in [now, now + Duration::from_secs(100), now - Duration::from_millis(5)] {
            assert_eq!(clock.moment(clock.number(at)), Some(at));
        }
    }

    #[test]
    fn numbers_are_those_of_the_hosts_clock() {
        let clock = Clock::new();
        let host = |time: nix::sys::time::TimeSpec| {
            Duration::from(time).as_nanos() as i128 - i128::from(offset())
        };
        let before = host(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
        let number = i128::from(clock.number(Instant::now()));
        let after = host(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
        // The anchor is as exact as the best of some.
        let exact = 1_000_000;
        assert!(before <= number + exact && number <= after + exact, "{before} {number} {after}");
    }

    #[test]
    fn offsets_as_the_kernel_writes_them() {
        assert_eq!(
            monotonic("monotonic           0         0\nboottime            0         0\n"),
            Some(0)
        );
        assert_eq!(
            monotonic("monotonic      100000         5\nboottime           -7         0\n"),
            Some(100_000_000_000_005)
        );
        assert_eq!(monotonic("monotonic         -20 500000000\n"), Some(-19_500_000_000));
        for invalid in [
            "",
            "boottime 1 2\n",
            "monotonic\n",
            "monotonic 1\n",
            "monotonic x y\n",
            "monotonic 9223372036854775807 0\n",
        ] {
            assert_eq!(monotonic(invalid), None, "{invalid:?}");
        }
    }

    #[test]
    fn any_number_is_a_moment_or_none() {
        let (clock, now) = (Clock::new(), Instant::now());
        for number in [0, 1, 1 << 62, i64::MAX as u64, 1 << 63, u64::MAX] {
            let _ = clock.moment(number);
        }
        assert!(clock.moment(0).unwrap() <= now);
        assert!(clock.moment(u64::MAX).is_none());
    }
}
