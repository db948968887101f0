//! Memory that two processes share.

// This file, and no other of the benches, maps memory.
#![allow(unsafe_code, reason = "mapping memory")]

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::Result;

/// Marks types that may lie in shared memory.
///
/// # Safety
///
/// The type consists of atomics only, so that every bit pattern is valid and another process may
/// change it. The type is not more strictly aligned than a page, and not of size zero.
pub(crate) unsafe trait Words {}

/// A mapping of a `T`, all zero to begin with.
#[derive(Debug)]
pub(crate) struct Shared<T: Words>(NonNull<T>);

impl<T: Words> Shared<T> {
    const SIZE: NonZeroUsize = NonZeroUsize::new(size_of::<T>()).unwrap();

    /// Makes new memory, and the file through which another process maps it.
    pub(crate) fn create(name: &std::ffi::CStr) -> Result<(Self, File)> {
        let file: OwnedFd = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
        let file = File::from(file);
        file.set_len(Self::SIZE.get() as u64)?;
        Ok((Self::map(&file)?, file))
    }

    /// Maps the file that [`Peer::start`](crate::peer::Peer::start) got as the output of this
    /// process.
    pub(crate) fn inherited() -> Result<Self> {
        Self::map(io::stdout())
    }

    fn map(file: impl AsFd) -> Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe { mmap(None, Self::SIZE, access, MapFlags::MAP_SHARED, file, 0)? };
        Ok(Shared(start.cast()))
    }
}

impl<T: Words> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping is page-aligned, as long as a `T`, and lives as long as `self`.
        // `Words` promises that every content of the mapping is a `T` that other processes may
        // change.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Words> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`. References to it borrow `self`, so none is
        // left.
        let unmapped = unsafe { munmap(self.0.cast(), Self::SIZE.get()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
