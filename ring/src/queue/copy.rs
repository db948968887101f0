//! Copies payload between private memory and slots.
//!
//! Small payloads go word by word, through relaxed atomics: right on every target, and quick. Long
//! runs are another matter. The processor must ask for a line that the peer has read last before a
//! store can go into it, only to overwrite it all. The processor's string copy knows that it writes
//! whole lines and does not ask, which makes it several times as fast between two processors.
//!
//! # Why assembly
//!
//! The peer may write at any time, so an ordinary copy would be a data race, which the language
//! does not allow at any speed. The compiler knows nothing of what a block of assembly does to the
//! slots except that they may have changed. It may not assume that what was read stays the same,
//! which is what relaxed atomics promise, too. The stores of the block may become visible in any
//! order among themselves. An ordinary store after the block, such as that of the frame word,
//! becomes visible after all of them.

use crate::shm::layout::{SLOT_WORDS, Slot, slot_at};
use crate::sync::atomic::Ordering;

/// Stores the payload of the frame at position `start`.
#[inline]
pub(crate) fn store_words(slots: &[Slot], start: u64, words: &[u64]) {
    store(slots, start, bytemuck::cast_slice(words));
}

/// Stores a payload as [`store_words`] does, from bytes that lie anywhere. The last word is filled
/// up with zeros.
pub(crate) fn store_bytes(slots: &[Slot], start: u64, bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<8>();
    store(slots, start, words);
    if !rest.is_empty() {
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let at = words.len().wrapping_add(1);
        let slot = slot_at(slots, start.wrapping_add((at / SLOT_WORDS) as u64));
        if let Some(word) = slot.words.get(at % SLOT_WORDS) {
            // Relaxed: as in `store_each`.
            word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
        }
    }
}

#[inline]
fn store(slots: &[Slot], start: u64, words: &[[u8; 8]]) {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(loom, miri))))]
    if words.len() >= string::MIN_WORDS {
        return string::store(slots, start, words);
    }
    store_each(slots, start, words);
}

/// Appends the payload of the frame at position `start`, `count` words, to `into`.
#[inline]
pub(crate) fn load_words(slots: &[Slot], start: u64, count: usize, into: &mut Vec<u64>) {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(loom, miri))))]
    if count >= string::MIN_WORDS {
        return string::load(slots, start, count, into);
    }
    load_each(slots, start, count, into);
}

#[inline]
fn store_each(slots: &[Slot], start: u64, words: &[[u8; 8]]) {
    let (first, rest) = words.split_at(words.len().min(SLOT_WORDS - 1));
    // Relaxed throughout: the slots belong to the producer until the frame word is published.
    for (word, value) in slot_at(slots, start).payload().iter().zip(first) {
        word.store(u64::from_ne_bytes(*value), Ordering::Relaxed);
    }
    let mut position = start;
    for chunk in rest.chunks(SLOT_WORDS) {
        position = position.wrapping_add(1);
        for (word, value) in slot_at(slots, position).words.iter().zip(chunk) {
            word.store(u64::from_ne_bytes(*value), Ordering::Relaxed);
        }
    }
}

#[inline]
fn load_each(slots: &[Slot], start: u64, count: usize, into: &mut Vec<u64>) {
    let first = count.min(SLOT_WORDS - 1);
    // Relaxed throughout: ordered by the Acquire load of the frame word. If a hostile producer
    // changes the words meanwhile, the copy is rubbish, but it is private.
    into.extend(
        slot_at(slots, start).payload().iter().take(first).map(|w| w.load(Ordering::Relaxed)),
    );
    let mut left = count.wrapping_sub(first);
    let mut position = start.wrapping_add(1);
    while left > 0 {
        let here = left.min(SLOT_WORDS);
        into.extend(
            slot_at(slots, position).words.iter().take(here).map(|w| w.load(Ordering::Relaxed)),
        );
        left = left.wrapping_sub(here);
        position = position.wrapping_add(1);
    }
}

/// The processor's string copy.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(loom, miri))))]
#[expect(unsafe_code, reason = "the string copy instruction")]
mod string {
    use std::arch::asm;
    use std::sync::atomic::AtomicU64;

    use crate::shm::layout::{SLOT_WORDS, Slot};

    /// The shortest run that is worth the instruction: shorter runs are copied sooner than it
    /// starts.
    pub(super) const MIN_WORDS: usize = 128;

    /// Returns the words of a ring that follow the frame word at position `start`: up to the end of
    /// the ring, and from its start.
    fn runs(slots: &[Slot], start: u64, count: usize) -> [&[AtomicU64]; 2] {
        let at =
            (start as usize & slots.len().wrapping_sub(1)).wrapping_mul(SLOT_WORDS).wrapping_add(1);
        // SAFETY: a slot is nothing but `SLOT_WORDS` such words: `layout` asserts its size.
        let words = unsafe {
            std::slice::from_raw_parts(slots.as_ptr().cast::<AtomicU64>(), size_of_val(slots) / 8)
        };
        // In bounds: the start is masked, and no frame has more words than half of the ring.
        let (before, behind) = words.split_at(at);
        let first = count.min(behind.len());
        [behind.split_at(first).0, before.split_at(count.wrapping_sub(first)).0]
    }

    #[cold]
    pub(super) fn store(slots: &[Slot], start: u64, words: &[[u8; 8]]) {
        let [first, second] = runs(slots, start, words.len());
        let (before, behind) = words.split_at(first.len());
        for (run, from) in [(first, before), (second, behind)] {
            // SAFETY: both have the same length, and memory behind a reference to atomics may be
            // written.
            unsafe { copy(from.as_ptr().cast(), run.as_ptr().cast_mut().cast(), from.len()) };
        }
    }

    #[cold]
    pub(super) fn load(slots: &[Slot], start: u64, count: usize, into: &mut Vec<u64>) {
        into.reserve(count);
        let mut free = into.spare_capacity_mut();
        for run in runs(slots, start, count) {
            let (to, rest) = free.split_at_mut(run.len());
            // SAFETY: both have the same length, and any bits are valid words.
            unsafe { copy(run.as_ptr().cast(), to.as_mut_ptr().cast(), run.len()) };
            free = rest;
        }
        // SAFETY: the runs are `count` words together, which were reserved and are now written.
        unsafe { into.set_len(into.len().wrapping_add(count)) };
    }

    /// Copies words.
    ///
    /// # Safety
    ///
    /// Only the peer may write what is read here, and only the peer may read or write what is
    /// written here.
    unsafe fn copy(from: *const u8, to: *mut u8, words: usize) {
        // SAFETY: the ranges are the caller's; the direction flag is clear wherever Rust code runs.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") words.wrapping_mul(8) => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags),
            );
        }
    }
}
