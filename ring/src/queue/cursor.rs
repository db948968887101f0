//! Finds the next frame: a cursor in the order of the frames, and the look at the slot it points
//! to.

use crate::error::Misbehaved;
use crate::queue::frame::{ABORT, JUMP, MORE, SERIAL_MASK, SERIAL_SHIFT, serial_after, slots_of};
use crate::shm::layout::{Slot, slot_at};
use crate::sync::atomic::Ordering;

/// What a receiver waits for: its next frame.
///
/// This is enough to see whether the frame is there without owning the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextFrame {
    position: u64,
    serial: u64,
    wrapped: bool,
}

/// A place in the order of the frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    /// The position at which the next frame is expected.
    pub(super) head: u64,
    /// The serial that the next frame will carry.
    pub(super) serial: u64,
    /// Says whether the serials have gone round once.
    pub(super) wrapped: bool,
    /// The index of the slot behind the frame that jumped last.
    pub(super) jumped_at: u64,
}

impl Cursor {
    #[inline]
    pub(super) fn next_frame(&self) -> NextFrame {
        NextFrame { position: self.head, serial: self.serial, wrapped: self.wrapped }
    }

    /// Moves behind a frame of `bytes`. Returns `true` if the frame has left out slots.
    #[inline(always)] // what a consumer does for each frame
    pub(super) fn step(&mut self, word: u64, bytes: usize, slots: u64) -> Result<bool, Misbehaved> {
        self.head = self.head.wrapping_add(slots_of(bytes));
        let serial = serial_after(self.serial);
        self.wrapped |= serial < self.serial;
        self.serial = serial;
        let mask = slots.wrapping_sub(1);
        let jump = word & JUMP != 0;
        if jump {
            self.jumped_at = self.head & mask;
            self.head = (self.head | mask).wrapping_add(1);
        }
        let skip = word & (MORE | ABORT) == MORE | ABORT;
        if skip {
            // A skip leads forward, in this lap: whatever else a producer claims is no skip.
            if jump || bytes > 0 || self.head & mask > self.jumped_at || self.head & mask == 0 {
                return Err(Misbehaved::Fragment);
            }
            self.head = self.head & !mask | self.jumped_at;
        }
        Ok(jump || skip)
    }
}

/// Returns the frame word at the expected place, if its frame is there.
#[inline]
pub(crate) fn peek(slots: &[Slot], expected: NextFrame) -> Result<Option<u64>, Misbehaved> {
    // Acquire: the payload words; pairs with the Release in `Producer::publish`.
    let word = slot_at(slots, expected.position).frame().load(Ordering::Acquire);
    let serial = word >> SERIAL_SHIFT;
    if serial == expected.serial {
        return Ok(Some(word));
    }
    // A word of zero was never written, or was cleared. A serial that is behind was left over from
    // an earlier lap. Until the serials have gone round once, which takes weeks at full speed,
    // there is no doubt what is behind.
    let behind = if expected.wrapped {
        expected.serial.wrapping_sub(serial) & SERIAL_MASK <= SERIAL_MASK / 2
    } else {
        serial < expected.serial
    };
    if word == 0 || behind { Ok(None) } else { Err(Misbehaved::Serial) }
}
