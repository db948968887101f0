//! The name of a segment.

use nix::errno::Errno;
use nix::sys::mman::shm_unlink;

use crate::error::{SegmentError, os};

/// What all names begin with. The slash is what shm_open wants.
pub(super) const PREFIX: &str = "/coprocess-";
pub(super) const NONCE_BYTES: usize = 8;

/// The name of a segment, and its nonce. It is removed when this is dropped, by the process that has made it.
#[derive(Debug)]
pub(crate) struct Name {
    /// The nonce, and the name.
    bytes: Vec<u8>,
    name: String,
    nonce: u64,
    owner: u32,
    exists: bool,
}

impl Name {
    /// Of a segment that was just made.
    pub(super) fn new(nonce: u64, name: &str) -> Name {
        Name {
            bytes: [&nonce.to_le_bytes(), name.as_bytes()].concat(),
            name: name.to_owned(),
            nonce,
            owner: std::process::id(),
            exists: true,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.name
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// As the other side is to get it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the name away. The memory stays.
    pub(crate) fn remove(mut self) -> Result<(), SegmentError> {
        self.exists = false;
        unlink(&self.name).map_err(os("remove the name of the segment"))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.exists && self.owner == std::process::id() {
            // On the way of another error, which is the one to be told. What stays behind is found by the next start.
            let _ = unlink(&self.name);
        }
    }
}

/// That it is gone already is no error.
pub(super) fn unlink(name: &str) -> nix::Result<()> {
    match shm_unlink(name) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}
