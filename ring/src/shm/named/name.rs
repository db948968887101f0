//! Owns the name of a segment.

use nix::errno::Errno;
use nix::sys::mman::shm_unlink;

use crate::error::{SegmentError, os};

/// What all names begin with. shm_open wants the slash.
pub(super) const PREFIX: &str = "/coprocess-";
pub(super) const NONCE_BYTES: usize = 8;

/// The name of a segment, and its nonce.
///
/// Dropping it removes the name, in the process that made the segment.
#[derive(Debug)]
pub(crate) struct Name {
    /// The nonce, then the name.
    bytes: Vec<u8>,
    name: String,
    nonce: u64,
    owner: u32,
    exists: bool,
}

impl Name {
    /// Takes ownership of the name of a segment that was just made.
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

    /// Returns the nonce and the name, as the peer is to get them.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes the name. The memory stays.
    pub(crate) fn remove(mut self) -> Result<(), SegmentError> {
        self.exists = false;
        unlink(&self.name).map_err(os("remove the name of the segment"))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.exists && self.owner == std::process::id() {
            // Another error led here and is the one to report. The next start finds a name that
            // stays behind.
            let _ = unlink(&self.name);
        }
    }
}

/// Removes a name. A name that is gone already is no error.
pub(super) fn unlink(name: &str) -> nix::Result<()> {
    match shm_unlink(name) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}
