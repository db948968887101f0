//! Remembers interior slots: one bit a slot, in private memory. The first word of such a slot holds
//! payload, not a frame word.

/// The interior slots of a ring.
#[derive(Debug)]
pub(crate) struct InteriorSlots {
    bits: Box<[u64]>,
    /// The slots of the ring: a power of two.
    slots: u64,
}

impl InteriorSlots {
    /// Makes an empty set for a ring of `slots`.
    pub(crate) fn new(slots: u64) -> InteriorSlots {
        InteriorSlots { bits: vec![0; slots.div_ceil(64) as usize].into(), slots }
    }

    /// Returns `true` if the slot at `position` is in the set.
    #[inline]
    pub(crate) fn contains(&self, position: u64) -> bool {
        let slot = self.slot(position);
        self.bits.get(word_of(slot)).is_some_and(|word| word >> (slot % 64) & 1 != 0)
    }

    /// Removes the slot at `position` from the set.
    #[inline]
    pub(crate) fn remove(&mut self, position: u64) {
        let slot = self.slot(position);
        if let Some(word) = self.bits.get_mut(word_of(slot)) {
            *word &= !(1 << (slot % 64));
        }
    }

    /// Adds `count` slots from `position` on, no more than there are.
    #[cold]
    pub(crate) fn insert(&mut self, position: u64, count: u64) {
        let (mut slot, mut left) = (self.slot(position), count.min(self.slots));
        while left > 0 {
            // As many as share a word of bits, and the ring may end there: 1 to 64.
            let here = left.min(64_u64.wrapping_sub(slot % 64)).min(self.slots.wrapping_sub(slot));
            if let Some(word) = self.bits.get_mut(word_of(slot)) {
                *word |= u64::MAX.wrapping_shr(64_u32.wrapping_sub(here as u32)) << (slot % 64);
            }
            slot = self.slot(slot.wrapping_add(here));
            left = left.wrapping_sub(here);
        }
    }

    #[inline]
    fn slot(&self, position: u64) -> u64 {
        position & self.slots.wrapping_sub(1)
    }
}

#[inline]
fn word_of(slot: u64) -> usize {
    (slot / 64) as usize
}
