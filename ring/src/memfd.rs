//! Segments without a name: sealed memfds. What the other side gets is a descriptor.
//!
//! Nobody can change the size of such a file, so nothing that the other side does makes an access fail; and it is gone with the last process
//! that has it, however that ends.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use crate::error::{SegmentError, os};
use crate::layout::segment_bytes;
use crate::mapped::{Keeper, Mapped, check_capacity, check_file_size, file_size, ring_capacity};
use crate::region::Region;
use crate::wakeup::Wakeup;

/// What a segment has from the start: nobody can change its size.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);
/// What it gets once both sides have mapped it: nobody can map it anew for writing, nor take pages out of it.
const FINAL_SEALS: SealFlag = SealFlag::F_SEAL_FUTURE_WRITE.union(SealFlag::F_SEAL_SEAL);

/// The unit in which a file's memory is counted, whatever the size of a page.
const BLOCK_BYTES: usize = 512;

/// Has the kernel give the file all its memory, as far as it does not have it; undisturbed by signals: older kernels stop at each and give
/// back what they have, so that frequent ones would let it never come to an end.
pub(crate) fn reserve(file: impl AsFd, bytes: usize) -> Result<(), SegmentError> {
    let size = file_size(bytes)?;
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(os("hold signals back"))?;
    let reserved = fallocate(file, FallocateFlags::empty(), 0, size);
    before.thread_set_mask().map_err(os("let signals through again"))?;
    reserved.map_err(os("reserve the shared memory"))
}

impl Region {
    /// Makes a segment whose rings have room for `capacity` bytes each, rounded up to a power of two, at least [`MIN_CAPACITY`](crate::MIN_CAPACITY).
    ///
    /// The returned file is close-on-exec and sealed: nobody who gets hold of it can shrink or grow it. All its memory is
    /// reserved, so that a lack of memory is an error here and never a SIGBUS later. Once the other side has attached, call
    /// [`seal_for_good`](Self::seal_for_good): it may have given memory back meanwhile.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Os`] if the system has no memory or no descriptor left. Nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// let (region, file) = coprocess_ring::Region::create(64 * 1024)?;
    /// # let _ = (region, file);
    /// # Ok::<(), coprocess_ring::SegmentError>(())
    /// ```
    pub fn create(capacity: usize) -> Result<(Region, OwnedFd), SegmentError> {
        Region::create_memfd(capacity, Wakeup::Futex)
    }

    pub(crate) fn create_memfd(capacity: usize, wakeup: Wakeup) -> Result<(Region, OwnedFd), SegmentError> {
        let capacity = ring_capacity(capacity);
        let bytes = segment_bytes(capacity);
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        check_file_size(bytes)?;
        let file = memfd_create(c"coprocess", flags).map_err(os("make a memory file"))?;
        ftruncate(&file, file_size(bytes)?).map_err(os("size the memory file"))?;
        reserve(&file, bytes)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS)).map_err(os("seal the memory file"))?;
        let region = Region::made(map(&file, capacity)?, wakeup, 0)?;
        Ok((region, file))
    }

    /// Makes sure that the segment stays as it was made, once the other side has attached to it.
    ///
    /// Until then it must be possible to map the file for writing, and who can do that can also punch holes into it: the memory is
    /// given back, and whoever touches it next must get new memory, or a SIGBUS where there is none. From here on the kernel refuses
    /// holes and new writable mappings to everybody, this side included; holes that were punched before are filled. Use the segment
    /// only after this.
    ///
    /// The seal is as old as Linux 5.1. Where the host gives huge pages to all shared memory (`shmem_enabled` is `always`), pages beyond
    /// the end are counted, too, and the memory is reserved anew, which takes longer.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Foreign`] if somebody else has sealed the file, [`SegmentError::Os`] if there is no memory to fill a hole with.
    ///
    /// # Examples
    ///
    /// ```
    /// use coprocess_ring::Region;
    ///
    /// let (ours, file) = Region::create(4096)?;
    /// let _theirs = Region::attach(&file, 4096)?;
    /// ours.seal_for_good(&file)?;
    /// assert!(Region::attach(&file, 4096).is_err(), "nobody can map it for writing any more");
    /// # Ok::<(), coprocess_ring::SegmentError>(())
    /// ```
    pub fn seal_for_good(&self, file: impl AsFd) -> Result<(), SegmentError> {
        let file = file.as_fd();
        match fcntl(file, FcntlArg::F_ADD_SEALS(FINAL_SEALS)) {
            Err(Errno::EPERM) => return Err(SegmentError::Foreign("somebody else has sealed it")),
            other => other.map_err(os("seal the memory file for good"))?,
        };
        // Counting is quick, filling takes a look at each page. Pages beyond the end, which might make up for a hole, are counted only
        // where pages are huge.
        let bytes = segment_bytes(self.capacity());
        let blocks = fstat(file).map_err(os("read the size of the segment"))?.st_blocks;
        if usize::try_from(blocks) != Ok(bytes / BLOCK_BYTES) { reserve(file, bytes) } else { Ok(()) }
    }

    /// Maps a segment that another process made.
    ///
    /// Seals, size, magic, version and geometry are checked first; the geometry is never read again.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Foreign`] or [`SegmentError::Abi`] if it is not a sealed segment of this version and of `capacity` bytes a
    /// ring, [`SegmentError::Os`] if it cannot be mapped.
    ///
    /// # Examples
    ///
    /// ```
    /// use coprocess_ring::Region;
    ///
    /// let (_ours, file) = Region::create(4096)?;
    /// let _theirs = Region::attach(&file, 4096)?;
    /// # Ok::<(), coprocess_ring::SegmentError>(())
    /// ```
    pub fn attach(file: impl AsFd, capacity: usize) -> Result<Region, SegmentError> {
        Region::attach_memfd(file, capacity, Wakeup::Futex)
    }

    pub(crate) fn attach_memfd(file: impl AsFd, capacity: usize, wakeup: Wakeup) -> Result<Region, SegmentError> {
        check_capacity(capacity)?;
        let file: BorrowedFd<'_> = file.as_fd();
        let seals = fcntl(file, FcntlArg::F_GET_SEALS).map_err(os("read the seals of the segment"))?;
        if !SealFlag::from_bits_retain(seals).contains(SEALS) {
            return Err(SegmentError::Foreign("it is not sealed against a change of size"));
        }
        let size = fstat(file).map_err(os("read the size of the segment"))?.st_size;
        if usize::try_from(size) != Ok(segment_bytes(capacity)) {
            return Err(SegmentError::Foreign("its size is not the announced one"));
        }
        Region::found(map(file, capacity)?, wakeup, 0)
    }
}

fn map(file: impl AsFd, capacity: usize) -> Result<Mapped, SegmentError> {
    let length = NonZeroUsize::new(segment_bytes(capacity)).ok_or(SegmentError::Foreign("it is empty"))?;
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing that exists.
    let base = unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, file, 0) }.map_err(os("map the segment"))?;
    // Pages are mapped in where they are first used: a pair that keeps up uses one of each ring.
    // SAFETY: the mapping was just made, of this length; the file is sealed, or about to be checked for it, before anything is read.
    unsafe { Mapped::new(base.cast(), capacity, Keeper::Kernel) }
}
