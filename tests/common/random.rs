//! Random numbers that can be repeated: every run prints its seed, and `COPROCESS_SEED` sets it.

use std::cell::Cell;
use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the number that an environment variable holds, if it is set.
#[track_caller]
fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is to be a number, not {value:?}")))
}

/// Returns how many rounds a random test makes: `usual`, or what `COPROCESS_ROUNDS` says.
pub(crate) fn rounds(usual: u64) -> u64 {
    number("COPROCESS_ROUNDS").unwrap_or(usual)
}

/// A source of random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(Cell<u64>);

/// Returns the seed of this run, and prints it: with the seed, and with luck, a failure can be
/// repeated.
pub(crate) fn seed(test: &str) -> u64 {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_nanos() as u64 & 0xffff_ffff)
    };
    let seed = number("COPROCESS_SEED").unwrap_or_else(now);
    eprintln!("{test}: COPROCESS_SEED={seed}");
    seed
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(Cell::new(seed))
    }

    /// Makes a source from the seed of this run.
    pub(crate) fn for_test(test: &str) -> Random {
        Random::new(seed(test))
    }

    /// Makes another source, for another thread.
    pub(crate) fn split(&self) -> Random {
        Random::new(self.next())
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_of<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Returns a moment up to `longest`. Half of the moments are below a hundredth of `longest`,
    /// since the first steps of an operation are the most delicate.
    pub(crate) fn moment(&self, longest: Duration) -> Duration {
        let longest = longest.as_nanos() as u64;
        let bound = if self.below(2) == 0 { longest / 100 } else { longest };
        Duration::from_nanos(self.below(bound.max(1)))
    }
}
