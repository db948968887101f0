//! Defines the frame word: what a frame says about itself, and how long a frame may be.

use crate::shm::layout::SLOT_BYTES;

/// The slots that an exchange of small messages stays in. They are few under the model checker, so
/// that the models come to a jump.
pub(super) const HOT_SLOTS: u64 = if cfg!(loom) { 4 } else { 32 };

pub(super) const LENGTH_BITS: u32 = 16;
pub(super) const MORE: u64 = 1 << 16;
pub(super) const JUMP: u64 = 1 << 17;
pub(super) const ABORT: u64 = 1 << 18;
pub(super) const SERIAL_SHIFT: u32 = 19;
pub(super) const SERIAL_MASK: u64 = (1 << (64 - SERIAL_SHIFT)) - 1;

/// Returns the slots of the longest frame in a ring of `slots`.
#[inline]
pub(super) fn max_frame_slots(slots: u64) -> u64 {
    (slots / 2).min(256)
}

/// Returns the payload bytes of the longest frame in a ring of `slots`: a multiple of 8 below 64
/// KiB.
#[inline]
pub(super) fn max_frame_bytes(slots: u64) -> usize {
    (max_frame_slots(slots) as usize).wrapping_mul(SLOT_BYTES).wrapping_sub(8)
}

/// Returns how many slots are consumed before the position is published.
#[inline]
pub(super) fn period(slots: u64) -> u64 {
    (slots / 4).min(HOT_SLOTS / 2)
}

/// Returns the slots of a frame with `bytes` of payload.
#[inline]
pub(crate) fn slots_of(bytes: usize) -> u64 {
    bytes.wrapping_add(8).div_ceil(SLOT_BYTES) as u64
}

/// Returns the serial that follows.
///
/// Zero is left out: a frame without payload and flags would be a word of zero, which says that no
/// frame is there.
#[inline]
pub(super) fn serial_after(serial: u64) -> u64 {
    (serial.wrapping_add(1) & SERIAL_MASK).max(1)
}

/// Returns `true` if `position` is `target` or beyond.
///
/// Positions run freely: a difference in the lower half of their range means "reached".
#[inline]
pub(crate) fn reached(position: u64, target: u64) -> bool {
    position.wrapping_sub(target) <= u64::MAX / 2
}

/// What a frame says about the message it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The frame is the message, or its last fragment.
    Last,
    /// The message goes on in the next frame.
    More,
    /// The receiver forgets the fragments so far.
    Abort,
    /// The frame says nothing: the next frame is behind those of the lap before.
    Skip,
}

impl FrameKind {
    #[inline]
    pub(super) fn flags(self) -> u64 {
        match self {
            FrameKind::Last => 0,
            FrameKind::More => MORE,
            FrameKind::Abort => ABORT,
            FrameKind::Skip => MORE | ABORT,
        }
    }
}

/// A frame that was taken out of the ring, as its frame word.
///
/// One word fits a register. A struct of small fields would be written to the stack in pieces and
/// read back as a whole, which the processor cannot forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame(pub(super) u64);

impl Frame {
    #[inline]
    pub(crate) fn bytes(self) -> usize {
        length(self.0)
    }

    #[inline]
    pub(crate) fn kind(self) -> FrameKind {
        match self.0 & (MORE | ABORT) {
            0 => FrameKind::Last,
            MORE => FrameKind::More,
            ABORT => FrameKind::Abort,
            _ => FrameKind::Skip,
        }
    }

    /// Returns `true` if the consumer's position was published, so that the producer may have space
    /// now.
    #[inline]
    pub(crate) fn made_space(self) -> bool {
        self.0 & JUMP != 0
    }
}

#[inline]
pub(super) fn length(word: u64) -> usize {
    (word & ((1 << LENGTH_BITS) - 1)) as usize
}
