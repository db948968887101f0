//! The claim.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, recvmsg, sendmsg};

/// "coproces", read as a little-endian number: the same as the segment's.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"coproces");

/// A number that the claim in the socket repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nonce(u64);

impl Nonce {
    /// Makes one that no other start of a worker has.
    pub(crate) fn new() -> Nonce {
        // Chance tells sockets apart here; it keeps no secret. The keys of the standard library's
        // hasher are random for each process and differ for each hasher.
        Nonce(RandomState::new().hash_one(std::process::id()))
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// Reads what `Display` writes.
    pub(crate) fn from_hex(text: &str) -> Option<Nonce> {
        u64::from_str_radix(text, 16).ok().map(Nonce)
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Nonce {
        Nonce(u64::from_le_bytes(bytes))
    }
}

/// In hexadecimal.
impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Why a claim or a hello cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unacceptable {
    #[error("the parent's hello makes no sense")]
    Nonsense,
    #[error("the parent speaks another version of the protocol")]
    Abi,
    #[error("the parent is gone")]
    Gone,
    #[error("another process has become the worker already")]
    Taken,
}

/// What stands first in a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The claim of the start that the nonce is of.
    Ours,
    /// Nothing: another process has taken it.
    Taken,
    /// Nothing will come.
    Gone,
    /// Something else: of this length at least.
    Other { is_longer: bool },
}

fn claim_of(nonce: Nonce) -> [u8; 16] {
    let mut claim = [0; 16];
    let (magic, number) = claim.split_at_mut(8);
    magic.copy_from_slice(&MAGIC.to_le_bytes());
    number.copy_from_slice(&nonce.to_bytes());
    claim
}

/// Lets one process be the worker: the one that takes the claim.
pub(crate) fn send_claim(socket: BorrowedFd<'_>, nonce: Nonce) -> io::Result<()> {
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&claim_of(nonce))], &[], MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Looks whether the claim is there, and leaves it there.
pub(crate) fn look_at_claim(socket: BorrowedFd<'_>, nonce: Nonce) -> Claim {
    // What cannot be read does not confirm anything.
    receive_claim(socket, nonce, MsgFlags::MSG_PEEK).unwrap_or(Claim::Other { is_longer: false })
}

fn receive_claim(socket: BorrowedFd<'_>, nonce: Nonce, flags: MsgFlags) -> io::Result<Claim> {
    let expected = claim_of(nonce);
    let mut claim = [0; 16];
    let mut buffer = [IoSliceMut::new(&mut claim)];
    let received = despite_reset(|| {
        recvmsg::<()>(socket.as_raw_fd(), &mut buffer, None, flags | MsgFlags::MSG_DONTWAIT)
            .map(|received| (received.bytes, received.flags))
    });
    let (bytes, flags) = match received {
        Ok(received) => received,
        Err(nix::Error::EAGAIN) => return Ok(Claim::Taken),
        Err(nix::Error::ECONNRESET) => return Ok(Claim::Gone),
        Err(error) => return Err(error.into()),
    };
    let is_longer = flags.contains(MsgFlags::MSG_TRUNC);
    Ok(match bytes {
        0 => Claim::Gone,
        16 if claim == expected && !is_longer => Claim::Ours,
        _ => Claim::Other { is_longer },
    })
}

/// Receives what is there although the other end was closed with something unread: the kernel tells that once, before it gives what is there.
pub(crate) fn despite_reset<T>(mut receive: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    match receive() {
        Err(nix::Error::ECONNRESET) => receive(),
        received => received,
    }
}

/// Takes the claim, so that this process is the worker.
pub(crate) fn take_claim(socket: BorrowedFd<'_>, nonce: Nonce) -> io::Result<Result<(), Unacceptable>> {
    Ok(match receive_claim(socket, nonce, MsgFlags::empty())? {
        Claim::Ours => Ok(()),
        Claim::Taken => Err(Unacceptable::Taken),
        Claim::Gone => Err(Unacceptable::Gone),
        // A hello, from a version without claims.
        Claim::Other { is_longer: true } => Err(Unacceptable::Abi),
        Claim::Other { is_longer: false } => Err(Unacceptable::Nonsense),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_starts_have_one_nonce() {
        assert_ne!(Nonce::new(), Nonce::new());
    }
}
