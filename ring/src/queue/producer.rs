//! Puts frames into a ring.

use crate::error::Misbehaved;
use crate::pair::region::Region;
use crate::queue::copy::{store_bytes, store_words};
use crate::queue::frame::{
    FrameKind, HOT_SLOTS, JUMP, SERIAL_MASK, SERIAL_SHIFT, max_frame_bytes, max_frame_slots,
    period, reached, serial_after, slots_of,
};
use crate::queue::interior::InteriorSlots;
use crate::shm::layout::{SLOT_BYTES, Slot, slot_at};
use crate::sync::atomic::Ordering;

/// A return to the start of the ring.
#[derive(Debug, Clone, Copy)]
struct Jump {
    /// The position behind the frame that jumps: where the jump left its lap.
    at: u64,
    /// Says whether the next lap has skipped what was not consumed of that lap.
    skipped: bool,
}

/// The publishing side of a ring.
#[derive(Debug)]
pub(crate) struct Producer {
    region: Region,
    ring: usize,
    slots: u64,
    /// The position of the next frame.
    tail: u64,
    /// The serial of the next frame, below 2^45.
    serial: u64,
    /// The consumer's position as last seen and checked: at most `tail`, never goes back.
    head: u64,
    /// The position from which on it is worth looking whether the ring can return to its start.
    jump_check: u64,
    /// The last jump, until the consumer is known to have made the same jump.
    jump: Option<Jump>,
    /// Says whether words in slots outside the hot set, unused for long, may seem to be of the
    /// future: so many frames were sent. Such words are cleared from then on.
    aged: bool,
    /// The slots whose first word holds payload.
    interior: InteriorSlots,
    /// How often something was urgent.
    urged: u32,
}

impl Producer {
    pub(crate) fn new(region: Region, ring: usize) -> Producer {
        let slots = region.slots(ring).len() as u64;
        Producer {
            region,
            ring,
            slots,
            tail: 0,
            serial: 1,
            head: 0,
            jump_check: Self::first_jump_check(slots, 0),
            jump: None,
            aged: false,
            interior: InteriorSlots::new(slots),
            urged: 0,
        }
    }

    /// Makes a producer as if frames had gone before: for tests of where the numbers end.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn starting_at(region: Region, ring: usize, position: u64, serial: u64) -> Producer {
        let new = Producer::new(region, ring);
        let aged = serial > SERIAL_MASK / 4;
        Producer {
            tail: position,
            head: position,
            serial,
            jump_check: Self::first_jump_check(new.slots, position),
            aged,
            ..new
        }
    }

    fn first_jump_check(slots: u64, lap_start: u64) -> u64 {
        // A small ring is its own hot set: the check is half the range of positions away.
        lap_start.wrapping_add(if slots >= 4 * HOT_SLOTS { HOT_SLOTS } else { u64::MAX / 2 })
    }

    pub(crate) fn max_frame_bytes(&self) -> usize {
        max_frame_bytes(self.slots)
    }

    /// Publishes one frame if there is space. Returns `false` if there is none.
    ///
    /// `words` hold `bytes` bytes, at most [`max_frame_bytes`](Self::max_frame_bytes). What the
    /// last word holds beyond them is sent, too, so it must be zero.
    #[inline]
    pub(crate) fn push(
        &mut self,
        words: &[u64],
        bytes: usize,
        kind: FrameKind,
    ) -> Result<bool, Misbehaved> {
        debug_assert_eq!(words.len(), bytes.div_ceil(8));
        self.push_with(bytes, kind, |slots, start| store_words(slots, start, words))
    }

    /// Publishes one frame as [`push`](Self::push) does, for a payload that lies anywhere.
    pub(crate) fn push_bytes(
        &mut self,
        payload: &[u8],
        kind: FrameKind,
    ) -> Result<bool, Misbehaved> {
        self.push_with(payload.len(), kind, |slots, start| store_bytes(slots, start, payload))
    }

    /// Publishes one frame as [`push`](Self::push) does, for a payload that `store` writes.
    #[inline]
    fn push_with(
        &mut self,
        bytes: usize,
        kind: FrameKind,
        store: impl FnOnce(&[Slot], u64),
    ) -> Result<bool, Misbehaved> {
        debug_assert!(bytes <= self.max_frame_bytes());
        let count = slots_of(bytes);
        if !self.has_space(count)? {
            return Ok(false);
        }
        let start = self.tail;
        let mut next = start.wrapping_add(count);
        let mut flags = kind.flags();
        if reached(next, self.jump_check) && self.can_jump(next)? {
            flags |= JUMP;
            self.jump = Some(Jump { at: next, skipped: false });
            next = self.next_lap(next);
            self.jump_check = Self::first_jump_check(self.slots, next);
        }

        if count > 1 {
            self.interior.insert(start.wrapping_add(1), count.wrapping_sub(1));
        }
        store(self.region.slots(self.ring), start);
        self.publish(start, next, bytes as u64 | flags);
        Ok(true)
    }

    /// Publishes the frame at `start`, whose payload is in place. The next frame will be at `next`.
    #[inline]
    fn publish(&mut self, start: u64, next: u64, word: u64) {
        let slots = self.region.slots(self.ring);
        if self.interior.contains(next) || self.aged && self.slot_index(next) >= HOT_SLOTS {
            self.interior.remove(next);
            // Relaxed: the slot is free, and the consumer looks at it only after it has seen the
            // frame word below.
            slot_at(slots, next).frame().store(0, Ordering::Relaxed);
        }
        // Release: publishes the words above and the payload; pairs with the Acquire in `peek`.
        slot_at(slots, start).frame().store(word | self.serial << SERIAL_SHIFT, Ordering::Release);
        self.tail = next;
        self.serial = serial_after(self.serial);
    }

    /// Returns the bytes of the longest message that has space as soon as the consumer has consumed
    /// everything. The frames of that message are as long as they may be.
    ///
    /// That holds although the consumer may not have published the last slots, and although a frame
    /// that takes fragments back may have to go first.
    pub(crate) fn most_at_once(&self) -> usize {
        let slots = self.slots.saturating_sub(period(self.slots)).saturating_sub(1);
        let (whole, rest) = (
            slots.checked_div(max_frame_slots(self.slots)),
            slots.checked_rem(max_frame_slots(self.slots)),
        );
        let rest = (rest.unwrap_or(0) as usize).saturating_mul(SLOT_BYTES).saturating_sub(8);
        (whole.unwrap_or(0) as usize).saturating_mul(self.max_frame_bytes()).saturating_add(rest)
    }

    /// Returns the consumer's position from which on a frame of `bytes` has space.
    pub(crate) fn space_for(&self, bytes: usize) -> u64 {
        self.tail.wrapping_add(slots_of(bytes)).wrapping_add(1).wrapping_sub(self.slots)
    }

    /// Says that no frame will follow.
    pub(crate) fn close(&self) {
        // Release: a consumer that sees the word sees every frame published before; pairs with the
        // Acquire in `consumer::is_closed`.
        self.region.control(self.ring).closed.word.store(1, Ordering::Release);
    }

    /// Says that a frame among those that are published is worth a look ahead.
    pub(crate) fn urge(&mut self) {
        self.urged = self.urged.wrapping_add(1);
        // Release: a consumer that sees the word sees every frame published before; pairs with the
        // Acquire in `consumer::urged`.
        self.region.control(self.ring).urgent.word.store(self.urged, Ordering::Release);
    }

    #[inline]
    fn has_space(&mut self, count: u64) -> Result<bool, Misbehaved> {
        Ok(self.fits(count) || self.make_space(count)?)
    }

    #[inline]
    fn fits(&self, count: u64) -> bool {
        // One slot more than the frame takes, to be cleared: see the documentation of `queue`.
        self.tail.wrapping_sub(self.head).wrapping_add(count) < self.slots
    }

    #[cold]
    fn make_space(&mut self, count: u64) -> Result<bool, Misbehaved> {
        self.refresh()?;
        let Some(jump) = self.jump else { return Ok(self.fits(count)) };
        let lap = self.next_lap(jump.at);
        if reached(self.head, lap) {
            self.jump = None;
            return Ok(self.fits(count));
        }
        if self.fits(count) {
            return Ok(true);
        }
        // The consumer is still in the lap before, so this lap is free but for what lies between
        // the consumer's position and the jump.
        if !jump.skipped {
            // A skip is published only if the frame follows at once. A skip rings no doorbell of
            // its own, and a call that returns `false` has published nothing.
            if self.slot_index(jump.at).wrapping_add(count) >= self.slots {
                return Ok(false);
            }
            self.jump = Some(Jump { skipped: true, ..jump });
            self.publish(
                self.tail,
                lap.wrapping_add(self.slot_index(jump.at)),
                FrameKind::Skip.flags(),
            );
        }
        Ok(self.tail.wrapping_sub(lap).wrapping_add(count) < self.slots)
    }

    /// Takes over the consumer's position, if it is one that an honest consumer can have.
    #[cold]
    fn refresh(&mut self) -> Result<(), Misbehaved> {
        // Acquire: the consumer has done with the slots before it; pairs with the Release in
        // `Consumer::publish_head`.
        let head = self.region.control(self.ring).head.word.load(Ordering::Acquire);
        // The position must lie between the last one seen and the tail. A lying consumer could
        // otherwise give away slots that it still reads, which would only harm itself, or positions
        // that break the arithmetic here.
        if head.wrapping_sub(self.head) > self.tail.wrapping_sub(self.head) {
            return Err(Misbehaved::Position);
        }
        self.head = head;
        self.aged |= self.serial > SERIAL_MASK / 4;
        Ok(())
    }

    #[cold]
    fn can_jump(&mut self, next: u64) -> Result<bool, Misbehaved> {
        self.refresh()?;
        let at = self.slot_index(next);
        // The slot that the jump leads to must be free, as the slot behind any frame. It is not
        // free if this very frame goes across the end of the ring.
        let is_free = self.next_lap(next).wrapping_sub(self.head) < self.slots;
        // At the very end of a lap the ring returns by itself.
        if at != 0 && is_free && next.wrapping_sub(self.head) <= HOT_SLOTS {
            return Ok(true);
        }
        self.jump_check = next.wrapping_add(HOT_SLOTS / 2);
        Ok(false)
    }

    fn next_lap(&self, position: u64) -> u64 {
        (position | self.slots.wrapping_sub(1)).wrapping_add(1)
    }

    /// Returns the index of the slot at `position`.
    #[inline]
    fn slot_index(&self, position: u64) -> u64 {
        position & self.slots.wrapping_sub(1)
    }
}
