//! Segments with a name, by the package `shared_memory`, and what it takes to use them.
//!
//! The package makes, opens and unmaps them. It does not reserve memory, does not check what it opens, removes the name in whichever process
//! thinks that it owns it, and leaves it behind after a SIGKILL. So here: the name is random, and says who has made it, so that the next start can
//! remove what a dead process has left (`stale`); it belongs to a [`Name`], in one process, and is gone as soon as both sides have attached;
//! all memory is reserved before use; length, magic and a nonce are checked by who opens it.
//!
//! What cannot be helped: the file has no seals, so that any process of the same user that finds it, by the name or in `/proc`, can shorten it, and
//! the next access of either side is a SIGBUS.

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

/// Makes a segment with a name of its own, once what dead processes have left behind is removed.
pub(crate) fn create(capacity: usize) -> Result<(Mapped, Name), SegmentError> {
    let creator = stale::remove_stale_names();
    let (nonce, random) = random()?;
    let name = format!("{PREFIX}{creator}-{:032x}", u128::from_le_bytes(random));
    create_under(&name, u64::from_le_bytes(nonce), capacity)
}

/// The same, under a name that was chosen.
pub(crate) fn create_under(name: &str, nonce: u64, capacity: usize) -> Result<(Mapped, Name), SegmentError> {
    let capacity = ring_capacity(capacity);
    let bytes = segment_bytes(capacity);
    check_file_size(bytes)?;
    let _streams = fill_streams().map_err(|source| SegmentError::Os { action: "open /dev/null", source })?;
    let mut shmem = ShmemConf::new().os_id(name).size(bytes).create().map_err(|error| from_package(error, "make a named segment"))?;
    // The name is not the package's to remove: it would do so in any process that happens to drop a copy, and not if the descriptor is 0.
    shmem.set_owner(false);
    let name = Name::new(nonce, name);
    let mapped = mapped(shmem, capacity)?;
    // The package does not show its descriptor, and reserves nothing.
    let again = shm_open(name.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty());
    reserve(again.map_err(os("open the named segment"))?, bytes)?;
    Ok((mapped, name))
}

/// Attaches to one that another process has made.
pub(crate) fn attach(name: &[u8], capacity: usize) -> Result<(Mapped, u64), SegmentError> {
    check_capacity(capacity)?;
    let (nonce, name) = name.split_first_chunk::<NONCE_BYTES>().ok_or(BAD_NAME)?;
    let name = std::str::from_utf8(name).map_err(|_| BAD_NAME)?;
    // The package wants no slash but the first, and no zero. Nothing but one of ours is opened.
    if !name.strip_prefix(PREFIX).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')) {
        return Err(BAD_NAME);
    }
    let _streams = fill_streams().map_err(|source| SegmentError::Os { action: "open /dev/null", source })?;
    let shmem = ShmemConf::new().os_id(name).open().map_err(|error| from_package(error, "open the named segment"))?;
    if shmem.len() != segment_bytes(capacity) {
        return Err(SegmentError::Foreign("its size is not the announced one"));
    }
    Ok((mapped(shmem, capacity)?, u64::from_le_bytes(*nonce)))
}

const BAD_NAME: SegmentError = SegmentError::Foreign("its name is not one that this library gives");

fn mapped(shmem: Shmem, capacity: usize) -> Result<Mapped, SegmentError> {
    let base = NonNull::new(shmem.as_ptr()).ok_or(SegmentError::Foreign("it is nowhere"))?;
    // SAFETY: the package has mapped it, shared, readable and writable, whole pages, at an address of the kernel's choice, with this length, as was
    // asked for or checked. It stays until the unmap is dropped. That all of it is backed by memory is made sure before it is shared.
    unsafe { Mapped::new(base, capacity, Unmap::Package(ManuallyDrop::new(shmem))) }
}

/// Sees to it that what is opened next does not become a standard stream of a program that has closed one: the package keeps its descriptor, and the
/// program may print into it.
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

/// A nonce, and the random part of a name.
fn random() -> Result<([u8; NONCE_BYTES], [u8; 16]), SegmentError> {
    let mut nonce = [0; NONCE_BYTES];
    let mut name = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut source| {
        source.read_exact(&mut nonce)?;
        source.read_exact(&mut name)
    });
    read.map_err(|source| SegmentError::Os { action: "read random numbers from /dev/urandom", source })?;
    Ok((nonce, name))
}

fn from_package(error: ShmemError, action: &'static str) -> SegmentError {
    match error {
        ShmemError::MappingIdExists => os(action)(Errno::EEXIST),
        ShmemError::MapCreateFailed(errno) | ShmemError::MapOpenFailed(errno) | ShmemError::UnknownOsError(errno) => {
            os(action)(Errno::from_raw(errno.cast_signed()))
        }
        other => SegmentError::Os { action, source: io::Error::other(other.to_string()) },
    }
}
