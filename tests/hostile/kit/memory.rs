//! The shared memory as a program sees it that maps the file itself: words anywhere, no rules.
#![expect(unsafe_code, reason = "mapping memory, and the system calls on it")]

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use nix::errno::Errno;
use nix::sys::mman::{MRemapFlags, MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mremap};

/// The layout of a segment as this kit knows it; `coprocess_ring::layout` explains the words.
///
/// ```text
///   0                header
///   1024             control of ring 0: parent to worker
///   2048             control of ring 1: worker to parent
///   4096             slots of ring 0
///   4096 + capacity  slots of ring 1
///
///   control: +0 head u64 (by the consumer) · +128 data bell u32 · +256 room bell u32
///            +384 closed u32 (by the producer) · +512 urgent u32 (by the producer)
///            +640 registered u32 · +648 unheard u64 · +656 undecodable u64 (by the consumer)
///   slot of 128 bytes: frame word = length | marks << 16 | serial << 19, and 15 words of payload
/// ```
pub(crate) const CONTROL: [usize; 2] = [1024, 2048];
pub(crate) const DATA_BELL: usize = 128;
pub(crate) const ROOM_BELL: usize = 256;
pub(crate) const CLOSED: usize = 384;
pub(crate) const URGENT: usize = 512;
pub(crate) const REGISTERED: usize = 640;
pub(crate) const UNHEARD: usize = 648;
pub(crate) const UNDECODABLE: usize = 656;
pub(crate) const SLOTS: usize = 4096;
pub(crate) const SLOT: usize = 128;

/// A segment, mapped for good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    pub(crate) capacity: usize,
}

// SAFETY: the mapping belongs to no thread and is never unmapped; it is accessed by atomics only.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn map(file: &OwnedFd, capacity: usize) -> Result<Memory, Errno> {
        let length = NonZeroUsize::new(SLOTS + 2 * capacity).expect("not empty");
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                file,
                0,
            )
        }?;
        Ok(Memory { base: base.cast(), capacity })
    }

    pub(crate) fn bytes(&self) -> usize {
        SLOTS + 2 * self.capacity
    }

    /// Returns the word at byte `at`, rounded down to a multiple of 8 within the segment.
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        let at = (at % self.bytes()) & !7;
        // SAFETY: within the mapping.
        let address = unsafe { self.base.add(at) };
        // SAFETY: aligned, and never unmapped.
        unsafe { address.cast().as_ref() }
    }

    /// Returns the half word at byte `at`.
    pub(crate) fn half(&self, at: usize) -> &AtomicU32 {
        let at = (at % self.bytes()) & !3;
        // SAFETY: within the mapping.
        let address = unsafe { self.base.add(at) };
        // SAFETY: aligned, and never unmapped.
        unsafe { address.cast().as_ref() }
    }

    /// Returns where slot number `position` of a ring starts.
    pub(crate) fn slot(&self, ring: usize, position: u64) -> usize {
        SLOTS + ring * self.capacity + (position % self.slots()) as usize * SLOT
    }

    pub(crate) fn slots(&self) -> u64 {
        (self.capacity / SLOT) as u64
    }

    /// Wakes every thread that sleeps on a half word, in whatever process.
    pub(crate) fn wake(&self, at: usize) {
        // SAFETY: the address is used as a key only.
        let woken = unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.half(at).as_ptr(),
                libc::FUTEX_WAKE,
                libc::c_int::MAX,
            )
        };
        assert!(woken >= 0, "futex: {}", Errno::last());
    }

    /// Wakes the other side if it has said that it sleeps, as an honest side does after it has
    /// published something.
    pub(crate) fn ring_bell(&self, at: usize) {
        if self.half(at).swap(0, SeqCst) != 0 {
            self.wake(at);
        }
    }

    /// Gives memory back to the system, for all processes that map it.
    pub(crate) fn remove(&self) -> Result<(), Errno> {
        // SAFETY: the mapping is ours; what was there reads as zeros afterwards.
        unsafe { madvise(self.base.cast(), self.bytes(), MmapAdvise::MADV_REMOVE) }
    }

    /// Maps more than there is, and looks whether that has made the file longer.
    pub(crate) fn grow(&self, file: &File) -> bool {
        let before = file.metadata().expect("stat").len();
        // SAFETY: it may move, and this value is not used afterwards: its caller ends.
        let _ = unsafe {
            mremap(
                self.base.cast(),
                self.bytes(),
                2 * self.bytes(),
                MRemapFlags::MREMAP_MAYMOVE,
                None,
            )
        };
        file.metadata().expect("stat").len() != before
    }
}
