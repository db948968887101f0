//! Defines the bytes of a segment. This file holds the layout and nothing else.
//!
//! ```text
//!   byte 0        header: magic, version, geometry. Written once, before the segment is shared;
//!                 read once, at attach.
//!   byte 1024     control block of ring 0 (parent to worker)
//!   byte 2048     control block of ring 1 (worker to parent)
//!   byte 3072     event block, if the sides are woken by events instead of futexes; else unused
//!   byte 4096     slots of ring 0: `capacity` bytes
//!   + capacity    slots of ring 1: `capacity` bytes
//!
//!   control block, one word to each 128 bytes, so that no two busy words share a line or a
//!   prefetched pair of lines:
//!   +0    head            u64  written by the consumer: every slot before this position is free
//!   +128  data doorbell   u32  the mark of the thread that sleeps until a frame is published, or 0
//!   +256  space doorbell  u32  nonzero: the producer sleeps until `head` moves
//!   +384  closed          u32  written by the producer: nothing follows what is published
//!   +512  urgent          u32  written by the producer, one more each time: something that is
//!                              published is worth a look before the consumer acts on the rest
//!   +640  report               written by the consumer, rarely: four words in one line
//!         +0  registered   u32  1 once the consumer has registered a handler
//!         +8  unheard      u64  events that the consumer has dropped for want of a handler
//!         +16 undecodable  u64  events whose values the consumer could not decode
//!         +24 mistyped     u64  events whose values are of another type than the consumer takes
//!
//!   event block, opaque to all but the package that implements events:
//!   +0    event of the parent   256 bytes, initialized by the parent
//!   +256  event of the worker   256 bytes, initialized by the parent
//!   +512  pending marks         4 x u32, 128 bytes apart: the marks that were taken off the data
//!                               doorbell and the space doorbell of ring 0, then of ring 1.
//!                               The event tells their sleepers to wake.
//!
//!   slot, 128 bytes:
//!   +0    frame word  u64   bit 63                       19  18    17   16  15            0
//!                           | serial of the frame: 45 bits | abort | jump | more | length: 16 |
//!   +8    payload     15 words. A frame of up to 56 bytes thus moves one line, a frame of up to
//!                     120 bytes a pair of lines.
//! ```
//!
//! A frame that needs more than 120 bytes goes on through the following slots, and uses all their
//! 16 words. It wraps at the end of the ring.
//!
//! - `more`: the message goes on in the next frame.
//! - `jump`: the next frame is at the start of the ring's next lap.
//! - `abort`: the fragments before this frame are no message; the receiver forgets them.
//! - `more` and `abort` together: a skip, without payload or jump. The next frame is in this lap,
//!   at the slot at which the last jump left its lap.
//!
//! # Access
//!
//! Every word is an integer atomic, for control and payload alike, and is always accessed at one
//! size. A plain reference must not point to memory that another process may write at any time.
//! Volatile accesses give neither Acquire nor Release. Atomic loads accept any bits as a valid
//! value, and the same code runs under the model checker. The two events are the exception: they
//! belong to the C library.

use crate::sync::atomic::{AtomicU32, AtomicU64};

/// The version of everything in this file and of the frames' meaning. Any change of either raises
/// it.
pub const ABI_VERSION: u32 = 7;
/// The text "coproces", read as a little-endian number.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"coproces");

pub(crate) const SLOT_BYTES: usize = 128;
pub(crate) const SLOT_WORDS: usize = SLOT_BYTES / 8;
/// The smallest ring, in bytes per direction.
pub const MIN_CAPACITY: usize = 4096;
/// The largest ring, in bytes per direction.
pub const MAX_CAPACITY: usize = 1 << 30;

pub(crate) const CONTROL_OFFSET: [usize; 2] = [1024, 2048];
/// The distance from the control block of one ring to that of the other.
pub(crate) const CONTROL_STEP: usize = CONTROL_OFFSET[1] - CONTROL_OFFSET[0];
pub(crate) const EVENTS_OFFSET: usize = 3072;
pub(crate) const SLOTS_OFFSET: usize = 4096;

/// The space for an event, in bytes. An event is a mutex and a condition of the C library, which
/// take 96 to 136 bytes where they were measured.
pub(crate) const EVENT_BYTES: usize = 256;

/// Returns the bytes of a whole segment whose rings have `capacity` bytes each, at most
/// [`MAX_CAPACITY`].
pub(crate) const fn segment_bytes(capacity: usize) -> usize {
    // No machine that has space for a segment wraps here, and the size of the file is checked
    // against the result.
    SLOTS_OFFSET.wrapping_add(capacity.wrapping_mul(2))
}

/// The immutable header as a value. `HeaderWords` is how it is written and read: as whole words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) abi: u32,
    pub(crate) slot_bytes: u32,
    pub(crate) capacity: u64,
    pub(crate) segment_bytes: u64,
    /// Tells a segment from any other that happens to have the same name. Zero where there are no
    /// names.
    pub(crate) nonce: u64,
    /// The number of a [`Wakeup`](crate::Wakeup) in the low 8 bits, and above them a hash of what
    /// an event is.
    pub(crate) wakeup: u64,
}

pub(crate) const HEADER_WORDS: usize = size_of::<Header>() / 8;

/// The header as the segment holds it.
#[repr(C)]
pub(crate) struct HeaderWords {
    pub(crate) words: [AtomicU64; HEADER_WORDS],
}

/// Holds a word that has 128 bytes to itself.
#[repr(C, align(128))]
pub(crate) struct Padded<T> {
    pub(crate) word: T,
}

/// What the consumer of a ring tells the producer, beside the position.
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

/// The memory of the events; see `wake::event`.
#[repr(C)]
pub(crate) struct EventBlock {
    /// The events of the parent and of the worker. Never accessed through a reference to this
    /// field.
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

/// Returns the slot at `position`: the low bits of the position are its index.
#[inline]
#[expect(
    clippy::indexing_slicing,
    reason = "a ring has a power of two of slots: masked, no position is out of bounds"
)]
pub(crate) fn slot_at(slots: &[Slot], position: u64) -> &Slot {
    &slots[position as usize & slots.len().wrapping_sub(1)]
}

impl Slot {
    /// Returns the frame word.
    #[inline]
    pub(crate) fn frame(&self) -> &AtomicU64 {
        let [frame, ..] = &self.words;
        frame
    }

    /// Returns the payload words of a frame that starts in this slot.
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
    assert!(
        size_of::<EventBlock>() == 1024 && EVENTS_OFFSET.is_multiple_of(align_of::<EventBlock>())
    );
    assert!(
        std::mem::offset_of!(EventBlock, events) == 0
            && std::mem::offset_of!(EventBlock, pending_marks) == 512
    );
    assert!(EVENTS_OFFSET + size_of::<EventBlock>() <= SLOTS_OFFSET);
};
