//! What random attacks are made of.

use std::sync::OnceLock;

use crate::common::{self, Random};

#[derive(Debug, Clone)]
pub(crate) struct Numbers(Random);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(Random::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next()
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound.max(1) as u64) as usize
    }

    /// Returns any word, with those preferred that are near a bound of something.
    pub(crate) fn word(&mut self) -> u64 {
        let near = self.next() % 300;
        match self.next() % 6 {
            0 => near,
            1 => u64::MAX - near,
            2 => 1 << (near % 64),
            3 => (1_u64 << (near % 64)).wrapping_sub(1),
            4 => (near % 0x200) << 19 | self.next() & 0x7_ffff,
            _ => self.next(),
        }
    }
}

/// Returns what all random attacks of this run start from.
pub(crate) fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| common::seed("what is random in this run"))
}

/// Returns how many rounds each random attack makes.
pub(crate) fn rounds() -> u64 {
    common::rounds(20)
}
