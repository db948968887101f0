//! The bytes of a segment. This file holds the layout and nothing else.
//!
//! ```text
//!   byte 0        header: magic, version, geometry. Written once before the segment is shared, read once at attach.
//!   byte 1024     control block of ring 0 (parent to worker)
//!   byte 2048     control block of ring 1 (worker to parent)
//!   byte 3072     event block, where the sides are woken by events instead of futexes; else unused
//!   byte 4096     slots of ring 0: `capacity` bytes
//!   + capacity    slots of ring 1: `capacity` bytes
//!
//!   control block, one word to each 128 bytes, so that no two busy words share a line or a
//!   prefetched pair of lines:
//!   +0    head       u64  written by the consumer: every slot before this position is free again
//!   +128  data doorbell  u32  nonzero: who sleeps until a frame is published
//!   +256  space doorbell  u32  nonzero: the producer sleeps until `head` moves
//!   +384  closed     u32  written by the producer: nothing follows what is published
//!   +512  urgent     u32  written by the producer, one more each time: what is published by then is worth a look before the next of it is acted on
//!   +640  report     written by the consumer, rarely: four words in one line
//!         +0  registered   u32  1 once the consumer has registered a handler
//!         +8  unheard      u64  events that the consumer has dropped for want of a handler
//!         +16 undecodable  u64  events whose values the consumer could not decode
//!         +24 mistyped     u64  events whose values are of another type than the consumer takes
//!
//!   event block, opaque to all but the package that implements events:
//!   +0    event of the parent   256 bytes, initialized by the parent
//!   +256  event of the worker   256 bytes, initialized by the parent
//!   +512  pending_marks       4 x u32, 128 bytes apart: the marks that were taken off the data doorbell of ring 0, its space doorbell, and those of ring 1,
//!                    and whose sleepers the event tells to wake
//!
//!   slot, 128 bytes:
//!   +0    frame word  u64   bit 63                       19  18    17   16  15            0
//!                           | serial of the frame: 45 bits | abort | jump | more | length: 16 |
//!   +8    payload     15 words; a frame of up to 56 bytes thus moves one line, one of up to 120 bytes a pair of lines
//! ```
//!
//! A frame that needs more than 120 bytes goes on through the following slots, wrapping at the end of the ring, and uses all their 16
//! words. `more`: the message goes on in the next frame. `jump`: the next frame is at the start of the ring's next lap. `abort`: the
//! fragments before this frame are no message, forget them. `more` and `abort` together: a skip, without payload or jump; the next frame
//! is at the slot, in this lap, at which the last jump left its lap.
//!
//! The design note on access: every word is an integer atomic, for control and payload alike, always accessed at one size. Memory that
//! another process may write at any time must not be seen through a plain reference, and volatile accesses give neither Acquire nor
//! Release; atomic loads of any bits are valid values, and the same code runs under the model checker. The two events are the exception: they
//! belong to the C library.

use crate::sync::atomic::{AtomicU32, AtomicU64};

/// Version of everything in this file and of the frames' meaning. Raised by any change of either.
pub const ABI_VERSION: u32 = 7;
/// "coproces", read as a little-endian number.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"coproces");

pub(crate) const SLOT_BYTES: usize = 128;
pub(crate) const SLOT_WORDS: usize = SLOT_BYTES / 8;
/// Smallest ring, in bytes per direction.
pub const MIN_CAPACITY: usize = 4096;
/// Largest ring, in bytes per direction.
pub const MAX_CAPACITY: usize = 1 << 30;

pub(crate) const CONTROL_OFFSET: [usize; 2] = [1024, 2048];
/// From the control block of one ring to that of the other.
pub(crate) const CONTROL_STEP: usize = CONTROL_OFFSET[1] - CONTROL_OFFSET[0];
pub(crate) const EVENTS_OFFSET: usize = 3072;
pub(crate) const SLOTS_OFFSET: usize = 4096;

/// Space for an event: the C library's mutex and condition, which take 96 to 136 bytes where they were measured.
pub(crate) const EVENT_BYTES: usize = 256;

/// Bytes of a whole segment whose rings have `capacity` bytes each, at most [`MAX_CAPACITY`].
pub(crate) const fn segment_bytes(capacity: usize) -> usize {
    // Wraps on no machine that has space for it, and is checked against the size of the file.
    SLOTS_OFFSET.wrapping_add(capacity.wrapping_mul(2))
}

/// The immutable header as a value: written and read as whole words, see `HeaderWords`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) abi: u32,
    pub(crate) slot_bytes: u32,
    pub(crate) capacity: u64,
    pub(crate) segment_bytes: u64,
    /// Tells a segment from any other that happens to have its name. Zero where there are no names.
    pub(crate) nonce: u64,
    /// A [`Wakeup`](crate::Wakeup), as a number, and above 8 bits of it a hash of what an event is.
    pub(crate) wakeup: u64,
}

pub(crate) const HEADER_WORDS: usize = size_of::<Header>() / 8;

/// The header as it lies in the segment.
#[repr(C)]
pub(crate) struct HeaderWords {
    pub(crate) words: [AtomicU64; HEADER_WORDS],
}

/// A word that has 128 bytes to itself.
#[repr(C, align(128))]
pub(crate) struct Padded<T> {
    pub(crate) word: T,
}

/// What the consumer of a ring tells its producer, beside the position.
#[repr(C, align(128))]
pub(crate) struct Report {
    pub(crate) registered: AtomicU32,
    pub(crate) unheard: AtomicU64,
    pub(crate) undecodable: AtomicU64,
    pub(crate) mistyped: AtomicU64,
}

/// The control block of one ring.
#[repr(C)]
pub(crate) struct Control {
    pub(crate) head: Padded<AtomicU64>,
    pub(crate) data_doorbell: Padded<AtomicU32>,
    pub(crate) space_doorbell: Padded<AtomicU32>,
    pub(crate) closed: Padded<AtomicU32>,
    pub(crate) urgent: Padded<AtomicU32>,
    pub(crate) report: Report,
}

/// What belongs to the events, see `event`.
#[repr(C)]
pub(crate) struct EventBlock {
    /// Of the parent, of the worker. Never accessed through a reference to this.
    pub(crate) events: [[AtomicU64; EVENT_BYTES / 8]; 2],
    pub(crate) pending_marks: [Padded<AtomicU32>; 4],
}

/// One slot of a ring.
#[repr(C, align(128))]
pub(crate) struct Slot {
    pub(crate) words: [AtomicU64; SLOT_WORDS],
}

impl Control {
    #[cfg(any(loom, test))]
    pub(crate) fn new() -> Control {
        Control {
            head: Padded { word: AtomicU64::new(0) },
            data_doorbell: Padded { word: AtomicU32::new(0) },
            space_doorbell: Padded { word: AtomicU32::new(0) },
            closed: Padded { word: AtomicU32::new(0) },
            urgent: Padded { word: AtomicU32::new(0) },
            report: Report {
                registered: AtomicU32::new(0),
                unheard: AtomicU64::new(0),
                undecodable: AtomicU64::new(0),
                mistyped: AtomicU64::new(0),
            },
        }
    }
}

impl EventBlock {
    #[cfg(any(loom, test))]
    pub(crate) fn new() -> EventBlock {
        EventBlock {
            events: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            pending_marks: std::array::from_fn(|_| Padded { word: AtomicU32::new(0) }),
        }
    }
}

/// The slot at `position`: its low bits say which.
#[inline]
#[expect(clippy::indexing_slicing, reason = "a ring has a power of two of slots, at least one: masked, no position is out of bounds")]
pub(crate) fn slot_at(slots: &[Slot], position: u64) -> &Slot {
    &slots[position as usize & slots.len().wrapping_sub(1)]
}

impl Slot {
    /// The frame word.
    #[inline]
    pub(crate) fn frame(&self) -> &AtomicU64 {
        let [frame, ..] = &self.words;
        frame
    }

    /// The payload words of a frame that starts here.
    #[inline]
    pub(crate) fn payload(&self) -> &[AtomicU64; SLOT_WORDS - 1] {
        let [_, payload @ ..] = &self.words;
        payload
    }

    #[cfg(any(loom, test))]
    pub(crate) fn new() -> Slot {
        Slot { words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

#[cfg(not(loom))]
#[expect(clippy::arithmetic_side_effects, reason = "happens while compiling")]
const _: () = {
    assert!(size_of::<Header>() == 48);
    assert!(size_of::<HeaderWords>() == size_of::<Header>());
    assert!(size_of::<Slot>() == SLOT_BYTES && align_of::<Slot>() == 128);
    assert!(size_of::<Control>() == 768 && align_of::<Control>() == 128);
    assert!(std::mem::offset_of!(Control, head) == 0);
    assert!(std::mem::offset_of!(Control, data_doorbell) == 128);
    assert!(std::mem::offset_of!(Control, space_doorbell) == 256);
    assert!(std::mem::offset_of!(Control, closed) == 384);
    assert!(std::mem::offset_of!(Control, urgent) == 512);
    assert!(std::mem::offset_of!(Control, report) == 640 && size_of::<Report>() == 128);
    assert!(std::mem::offset_of!(Report, registered) == 0);
    assert!(std::mem::offset_of!(Report, unheard) == 8);
    assert!(std::mem::offset_of!(Report, undecodable) == 16);
    assert!(std::mem::offset_of!(Report, mistyped) == 24);
    assert!(size_of::<HeaderWords>() <= CONTROL_OFFSET[0]);
    assert!(CONTROL_OFFSET[0] + size_of::<Control>() <= CONTROL_OFFSET[1]);
    assert!(CONTROL_OFFSET[1] + size_of::<Control>() <= EVENTS_OFFSET);
    assert!(size_of::<EventBlock>() == 1024 && EVENTS_OFFSET.is_multiple_of(align_of::<EventBlock>()));
    assert!(std::mem::offset_of!(EventBlock, events) == 0 && std::mem::offset_of!(EventBlock, pending_marks) == 512);
    assert!(EVENTS_OFFSET + size_of::<EventBlock>() <= SLOTS_OFFSET);
};
