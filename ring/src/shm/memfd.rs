//! Makes segments without a name: sealed memfds. The peer gets a descriptor.
//!
//! No process can change the size of such a file, so nothing that the peer does makes an access
//! fail. The file is gone with the last process that has it, however that process ends.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use crate::error::{SegmentError, os};
use crate::shm::file::{check_capacity, check_file_size, file_size, reserve, ring_capacity};
use crate::shm::layout::segment_bytes;
use crate::shm::mapped::{Mapped, Unmap};

/// The seals of a segment from the start: no process can change its size.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);
/// The seals that a segment gets once both sides have mapped it. No process can then map it anew
/// for writing, nor take pages out of it.
const FINAL_SEALS: SealFlag = SealFlag::F_SEAL_FUTURE_WRITE.union(SealFlag::F_SEAL_SEAL);

/// The unit in which the memory of a file is counted, in bytes, whatever the size of a page.
const BLOCK_BYTES: usize = 512;

/// Makes the file of a segment, and maps it.
///
/// The descriptor is close-on-exec. All memory of the file is reserved.
pub(crate) fn create(capacity: usize) -> Result<(Mapped, OwnedFd), SegmentError> {
    let capacity = ring_capacity(capacity);
    let bytes = segment_bytes(capacity);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    check_file_size(bytes)?;
    let file = memfd_create(c"coprocess", flags).map_err(os("make a memory file"))?;
    ftruncate(&file, file_size(bytes)?).map_err(os("size the memory file"))?;
    reserve(&file, bytes)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS)).map_err(os("seal the memory file"))?;
    let mapped = map(&file, capacity)?;
    Ok((mapped, file))
}

/// Seals the file for good, and fills the holes that were punched before.
pub(crate) fn seal_for_good(file: impl AsFd, capacity: usize) -> Result<(), SegmentError> {
    let file = file.as_fd();
    match fcntl(file, FcntlArg::F_ADD_SEALS(FINAL_SEALS)) {
        Err(Errno::EPERM) => return Err(SegmentError::Foreign("another process has sealed it")),
        other => other.map_err(os("seal the memory file for good"))?,
    };
    // Counting is quick; filling looks at each page. Only where pages are huge are pages beyond the
    // end counted, which might make up for a hole.
    let bytes = segment_bytes(capacity);
    let blocks = fstat(file).map_err(os("read the size of the segment"))?.st_blocks;
    if usize::try_from(blocks) != Ok(bytes / BLOCK_BYTES) { reserve(file, bytes) } else { Ok(()) }
}

/// Maps the file of a segment that another process made. Refuses a file that is not sealed or not
/// of the announced size.
pub(crate) fn attach(file: impl AsFd, capacity: usize) -> Result<Mapped, SegmentError> {
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
    map(file, capacity)
}

fn map(file: impl AsFd, capacity: usize) -> Result<Mapped, SegmentError> {
    let length =
        NonZeroUsize::new(segment_bytes(capacity)).ok_or(SegmentError::Foreign("it is empty"))?;
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing that exists.
    let base = unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, file, 0) }
        .map_err(os("map the segment"))?;
    // The kernel maps pages in where they are first used: a pair that keeps up uses one page of
    // each ring.
    // SAFETY: the mapping was just made, with this length. The file is sealed, or is about to be
    // checked for seals before anything is read.
    unsafe { Mapped::new(base.cast(), capacity, Unmap::Munmap) }
}
