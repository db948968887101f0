//! Makes segments with a name, by the package `shared_memory`, and adds what the package lacks.
//!
//! The package makes, opens and unmaps segments. It does not reserve memory and does not check what
//! it opens. It removes the name in whichever process thinks that it owns the name, and leaves the
//! name behind after a SIGKILL. Hence the rules here:
//!
//! - The name is random, and tells its creator, so that the next start can remove what a dead
//!   process has left (`stale`).
//! - The name belongs to a [`Name`], in one process, and is gone as soon as both sides have
//!   attached.
//! - All memory is reserved before use.
//! - The side that opens a segment checks its length, its magic and a nonce.
//!
//! One hazard remains: the file has no seals. Any process of the same user that finds the file, by
//! its name or in `/proc`, can shorten it. The next access of either side is then a SIGBUS.

pub(crate) mod name;
mod stale;

use std::fs::File;
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::mman::shm_open;
use nix::sys::stat::Mode;
use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::error::{SegmentError, os};
use crate::shm::file::{check_capacity, check_file_size, reserve, ring_capacity};
use crate::shm::layout::segment_bytes;
use crate::shm::mapped::{Mapped, Unmap};
use crate::shm::named::name::{NONCE_BYTES, Name, PREFIX};

/// Makes a segment with a name of its own, after removing the names that dead processes have left
/// behind.
pub(crate) fn create(capacity: usize) -> Result<(Mapped, Name), SegmentError> {
    let creator = stale::remove_stale_names();
    let (nonce, random) = random()?;
    let name = format!("{PREFIX}{creator}-{:032x}", u128::from_le_bytes(random));
    create_under(&name, u64::from_le_bytes(nonce), capacity)
}

/// Makes a segment under a given name.
pub(crate) fn create_under(
    name: &str,
    nonce: u64,
    capacity: usize,
) -> Result<(Mapped, Name), SegmentError> {
    let capacity = ring_capacity(capacity);
    let bytes = segment_bytes(capacity);
    check_file_size(bytes)?;
    let _streams =
        fill_streams().map_err(|source| SegmentError::Os { action: "open /dev/null", source })?;
    let mut shmem = ShmemConf::new()
        .os_id(name)
        .size(bytes)
        .create()
        .map_err(|error| from_package(error, "make a named segment"))?;
    // The package must not remove the name. It would do so in any process that happens to drop a
    // copy, but not if the descriptor is 0.
    shmem.set_owner(false);
    let name = Name::new(nonce, name);
    let mapped = mapped(shmem, capacity)?;
    // The package does not show its descriptor, and reserves nothing.
    let again = shm_open(
        name.as_str(),
        OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
        Mode::empty(),
    );
    reserve(again.map_err(os("open the named segment"))?, bytes)?;
    Ok((mapped, name))
}

/// Maps a segment that another process made, and returns the nonce that its header must have.
pub(crate) fn attach(name: &[u8], capacity: usize) -> Result<(Mapped, u64), SegmentError> {
    check_capacity(capacity)?;
    let (nonce, name) = name.split_first_chunk::<NONCE_BYTES>().ok_or(BAD_NAME)?;
    let name = std::str::from_utf8(name).map_err(|_| BAD_NAME)?;
    // The package allows no slash but the first, and no zero. No name but one of this library is
    // opened.
    if !name
        .strip_prefix(PREFIX)
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    {
        return Err(BAD_NAME);
    }
    let _streams =
        fill_streams().map_err(|source| SegmentError::Os { action: "open /dev/null", source })?;
    let shmem = ShmemConf::new()
        .os_id(name)
        .open()
        .map_err(|error| from_package(error, "open the named segment"))?;
    if shmem.len() != segment_bytes(capacity) {
        return Err(SegmentError::Foreign("its size is not the announced one"));
    }
    Ok((mapped(shmem, capacity)?, u64::from_le_bytes(*nonce)))
}

const BAD_NAME: SegmentError = SegmentError::Foreign("its name is not one that this library gives");

fn mapped(shmem: Shmem, capacity: usize) -> Result<Mapped, SegmentError> {
    let base = NonNull::new(shmem.as_ptr()).ok_or(SegmentError::Foreign("it is nowhere"))?;
    // SAFETY: the package has mapped whole pages, shared, readable and writable, at an address of
    // the kernel's choice. The length is the one that was asked for or checked. The mapping stays
    // until the package's value is dropped. All memory is reserved before the segment is shared.
    unsafe { Mapped::new(base, capacity, Unmap::Package(ManuallyDrop::new(shmem))) }
}

/// Keeps what is opened next from becoming a standard stream, for programs that have closed one of
/// those.
///
/// The package keeps its descriptor, and a program may print to a standard stream, which would
/// write into the segment.
fn fill_streams() -> io::Result<Vec<OwnedFd>> {
    let mut streams = Vec::new();
    loop {
        let file = OwnedFd::from(File::open("/dev/null")?);
        if file.as_raw_fd() > libc::STDERR_FILENO {
            return Ok(streams);
        }
        streams.push(file);
    }
}

/// Returns a nonce, and the random part of a name.
fn random() -> Result<([u8; NONCE_BYTES], [u8; 16]), SegmentError> {
    let mut nonce = [0; NONCE_BYTES];
    let mut name = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut source| {
        source.read_exact(&mut nonce)?;
        source.read_exact(&mut name)
    });
    read.map_err(|source| SegmentError::Os {
        action: "read random numbers from /dev/urandom",
        source,
    })?;
    Ok((nonce, name))
}

fn from_package(error: ShmemError, action: &'static str) -> SegmentError {
    match error {
        ShmemError::MappingIdExists => os(action)(Errno::EEXIST),
        ShmemError::MapCreateFailed(errno)
        | ShmemError::MapOpenFailed(errno)
        | ShmemError::UnknownOsError(errno) => os(action)(Errno::from_raw(errno.cast_signed())),
        other => SegmentError::Os { action, source: io::Error::other(other.to_string()) },
    }
}
