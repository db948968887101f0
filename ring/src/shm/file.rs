//! Computes sizes of rings and of their files, and reserves the memory of such a file.

use std::os::fd::AsFd;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::error::{SegmentError, os};
use crate::shm::layout::{MAX_CAPACITY, MIN_CAPACITY};

/// Returns the capacity of a ring for which `asked` bytes are wanted.
pub(crate) fn ring_capacity(asked: usize) -> usize {
    asked.clamp(MIN_CAPACITY, MAX_CAPACITY).next_power_of_two()
}

/// Refuses an announced capacity that no ring can have.
pub(crate) fn check_capacity(capacity: usize) -> Result<(), SegmentError> {
    if capacity.is_power_of_two() && (MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) {
        return Ok(());
    }
    Err(SegmentError::Foreign("the announced capacity is not one a ring can have"))
}

pub(crate) fn file_size(bytes: usize) -> Result<libc::off_t, SegmentError> {
    libc::off_t::try_from(bytes)
        .map_err(|_| SegmentError::Foreign("its size exceeds what a file can have"))
}

/// Refuses a size beyond the limit for files. Beyond that limit the kernel does not only refuse: it
/// sends SIGXFSZ, which ends the process.
pub(crate) fn check_file_size(bytes: usize) -> Result<(), SegmentError> {
    let (limit, _) =
        getrlimit(Resource::RLIMIT_FSIZE).map_err(os("read the limit of the size of files"))?;
    if bytes as u64 > limit { Err(os("size the memory file")(nix::Error::EFBIG)) } else { Ok(()) }
}

/// Has the kernel give the file all the memory that the file does not have yet.
///
/// Signals are held back meanwhile. Older kernels stop at each signal and give back what they have
/// reserved. Frequent signals would keep the call from ever coming to an end.
pub(crate) fn reserve(file: impl AsFd, bytes: usize) -> Result<(), SegmentError> {
    let size = file_size(bytes)?;
    let before =
        SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(os("hold signals back"))?;
    let reserved = fallocate(file, FallocateFlags::empty(), 0, size);
    before.thread_set_mask().map_err(os("let signals through again"))?;
    reserved.map_err(os("reserve the shared memory"))
}
