//! Maps a segment as a hostile process does: plain words that may be written at any time.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};

pub const SLOT_WORDS: usize = 16;
const CONTROL_WORDS: [usize; 2] = [128, 256];
const SLOTS_WORD: usize = 512;

/// Locates a word in a control block, as an offset in words, like the constants below.
pub const HEAD: usize = 0;
pub const DATA_BELL: usize = 16;
pub const SPACE_BELL: usize = 32;
pub const CLOSED: usize = 48;

/// Holds a mapping of the segment that is never unmapped.
#[derive(Debug)]
pub struct Segment {
    words: &'static [AtomicU64],
    slots: usize,
}

impl Segment {
    /// Maps the segment of two rings of `capacity` bytes.
    pub fn map(file: &OwnedFd, capacity: usize) -> Segment {
        let bytes = 4096 + 2 * capacity;
        let length = NonZeroUsize::new(bytes).expect("not empty");
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing that exists.
        let base: NonNull<u8> =
            unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, file.as_fd(), 0) }
                .expect("map")
                .cast();
        // SAFETY: the mapping is of that length and is never unmapped. All accesses to it are
        // atomic.
        let words =
            unsafe { std::slice::from_raw_parts(base.as_ptr().cast::<AtomicU64>(), bytes / 8) };
        Segment { words, slots: capacity / 8 / SLOT_WORDS }
    }

    pub fn words(&self) -> &[AtomicU64] {
        self.words
    }

    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn control(&self, ring: usize, word: usize) -> &AtomicU64 {
        &self.words[CONTROL_WORDS[ring] + word]
    }

    /// Returns the words of a ring, from the start of a slot to the end of the ring.
    pub fn slot(&self, ring: usize, slot: usize) -> &[AtomicU64] {
        let words = &self.words[SLOTS_WORD..][..2 * self.slots * SLOT_WORDS];
        &words[ring * self.slots * SLOT_WORDS..][..self.slots * SLOT_WORDS]
            [slot % self.slots * SLOT_WORDS..]
    }

    /// Resets the segment to its first state. Words that are no longer used, the header included,
    /// become `filler`.
    pub fn reset(&self, filler: u64) {
        for (i, word) in self.words.iter().enumerate() {
            word.store(if self.is_used(i) { 0 } else { filler }, Relaxed);
        }
    }

    /// Returns `true` if an end reads or writes this word after the segment was attached.
    pub fn is_used(&self, word: usize) -> bool {
        word >= SLOTS_WORD
            || CONTROL_WORDS
                .iter()
                .any(|at| [HEAD, DATA_BELL, SPACE_BELL, CLOSED].contains(&word.wrapping_sub(*at)))
    }
}
