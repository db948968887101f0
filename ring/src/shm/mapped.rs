//! Maps memory that the peer maps, too.
//!
//! This is the only file that turns addresses into references, and only into references to atomics.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use nix::sys::mman::{MmapAdvise, madvise, munmap};

use crate::error::{SegmentError, os};
use crate::shm::layout::*;

/// Says how a mapping is removed in the end.
pub(crate) enum Unmap {
    /// By munmap.
    Munmap,
    /// By the package that made the mapping.
    #[cfg(feature = "named")]
    Package(std::mem::ManuallyDrop<shared_memory::Shmem>),
}

/// A mapped segment.
///
/// # Invariants
///
/// - `base` is the start of a shared, readable and writable mapping of `segment_bytes(capacity)`
///   bytes, page-aligned, in the process `owner`. The mapping stays in place until `unmap` removes
///   it.
/// - All of the mapping is backed by memory, so no access fails. The files that make such mappings
///   say how that is made sure, and against whom.
/// - `capacity` is a power of two between `MIN_CAPACITY` and `MAX_CAPACITY`.
pub(crate) struct Mapped {
    base: NonNull<u8>,
    capacity: usize,
    /// The process that mapped the segment. In a forked child the range is not mapped, or holds
    /// something else.
    owner: u32,
    unmap: Unmap,
}

// SAFETY: the mapping belongs to no thread, everything in it is accessed through atomics, and only
// drop touches `unmap`.
unsafe impl Send for Mapped {}
// SAFETY: as above; no method hands out anything but references to atomics.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Takes over a mapping. `unmap` removes the mapping even if this fails.
    ///
    /// # Safety
    ///
    /// The invariants above hold, for this process.
    pub(crate) unsafe fn new(
        base: NonNull<u8>,
        capacity: usize,
        unmap: Unmap,
    ) -> Result<Mapped, SegmentError> {
        let mapped = Mapped { base, capacity, owner: std::process::id(), unmap };
        // A child of a plain fork(2) has no business in these rings.
        // SAFETY: the range is the mapping.
        unsafe { madvise(base.cast(), segment_bytes(capacity), MmapAdvise::MADV_DONTFORK) }
            .map_err(os("keep the segment from forked children"))?;
        Ok(mapped)
    }

    /// Writes the header of a new segment. From then on the segment can be attached.
    ///
    /// `wakeup` is the wake-up primitive as `Header::wakeup` describes it.
    pub(crate) fn publish(&self, nonce: u64, wakeup: u64) {
        let header = Header {
            magic: MAGIC,
            abi: ABI_VERSION,
            slot_bytes: SLOT_BYTES as u32,
            capacity: self.capacity as u64,
            segment_bytes: segment_bytes(self.capacity) as u64,
            nonce,
            wakeup,
        };
        let words: [u64; HEADER_WORDS] = bytemuck::cast(header);
        // The magic comes last, so that a half-made segment is refused.
        // Release: pairs with the Acquire in `check`.
        for (word, value) in self.header().words.iter().zip(words).rev() {
            word.store(value, Ordering::Release);
        }
    }

    /// Refuses a segment that is not the announced one. The header is not read again.
    ///
    /// `wakeup` is the wake-up primitive as `Header::wakeup` describes it.
    pub(crate) fn check(&self, nonce: u64, wakeup: u64) -> Result<(), SegmentError> {
        // Acquire: pairs with the Release in `publish`.
        let words: [u64; HEADER_WORDS] =
            self.header().words.each_ref().map(|word| word.load(Ordering::Acquire));
        let header: Header = bytemuck::cast(words);
        if header.magic != MAGIC {
            return Err(SegmentError::Foreign("its magic number is wrong"));
        }
        if header.abi != ABI_VERSION {
            return Err(SegmentError::Abi { ours: ABI_VERSION, theirs: header.abi });
        }
        let expected =
            (SLOT_BYTES as u32, self.capacity as u64, segment_bytes(self.capacity) as u64);
        if (header.slot_bytes, header.capacity, header.segment_bytes) != expected {
            return Err(SegmentError::Foreign("its geometry is not the announced one"));
        }
        if header.nonce != nonce {
            return Err(SegmentError::Foreign(
                "its nonce is not the announced one: another process has made it",
            ));
        }
        if header.wakeup & 0xff != wakeup & 0xff {
            return Err(SegmentError::Foreign("it was made for another kind of wake-up"));
        }
        if header.wakeup != wakeup {
            return Err(SegmentError::Foreign("its events were made by another C library"));
        }
        Ok(())
    }

    fn header(&self) -> &HeaderWords {
        // SAFETY: by the invariants the address is valid for the lifetime of self and aligned, and
        // the memory is only ever accessed atomically.
        unsafe { self.base.cast().as_ref() }
    }

    #[inline]
    pub(crate) fn control(&self, ring: usize) -> &Control {
        // No table and no check: each message comes here several times. The number of a ring comes
        // from a `Side`: 0 or 1.
        let offset = CONTROL_OFFSET[0].wrapping_add((ring & 1).wrapping_mul(CONTROL_STEP));
        // SAFETY: both offsets are below `SLOTS_OFFSET`, which every mapping exceeds.
        let at = unsafe { self.base.add(offset) };
        // SAFETY: as in `header`; the offset keeps the alignment of 128.
        unsafe { at.cast().as_ref() }
    }

    pub(crate) fn events(&self) -> &EventBlock {
        // SAFETY: the offset is below `SLOTS_OFFSET`, which every mapping exceeds.
        let at = unsafe { self.base.add(EVENTS_OFFSET) };
        // SAFETY: as in `header`; the offset keeps the alignment of 128. The C library writes
        // through its own pointers, and no code reads those words through this reference.
        unsafe { at.cast().as_ref() }
    }

    #[inline]
    pub(crate) fn slots(&self, ring: usize) -> &[Slot] {
        assert!(ring < 2, "a segment has two rings");
        // SAFETY: with `ring` at most 1 the offset is within the mapping of
        // `segment_bytes(capacity)`.
        let at =
            unsafe { self.base.add(SLOTS_OFFSET.wrapping_add(ring.wrapping_mul(self.capacity))) };
        // SAFETY: `capacity` bytes follow. They are aligned to 128, since offset and capacity are
        // multiples of 128, and are only accessed atomically.
        unsafe {
            std::slice::from_raw_parts(at.cast::<Slot>().as_ptr(), self.capacity / SLOT_BYTES)
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        match &mut self.unmap {
            Unmap::Munmap => {
                // SAFETY: the mapping belongs to self, and no reference into it outlives self.
                let unmapped = unsafe { munmap(self.base.cast(), segment_bytes(self.capacity)) };
                debug_assert!(
                    unmapped.is_ok(),
                    "munmap of one's own mapping cannot fail: {unmapped:?}"
                );
            }
            #[cfg(feature = "named")]
            Unmap::Package(shmem) => {
                // SAFETY: the package is dropped here and nowhere else; no reference into the
                // mapping outlives self.
                unsafe { std::mem::ManuallyDrop::drop(shmem) };
            }
        }
    }
}
