//! Defines the claim: the message whose taker is the worker.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, recvmsg, sendmsg};

/// Spells the text "coproces", read as a little-endian number. The segment has the same magic.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"coproces");

/// Identifies a start: a number that stands both in the worker's mark and in the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nonce(u64);

impl Nonce {
    /// Makes a nonce that no other start of a worker has.
    pub(crate) fn new() -> Nonce {
        // The nonce tells sockets apart; it is no secret. The keys of the standard library's hasher
        // are random for each process, and differ for each hasher.
        Nonce(RandomState::new().hash_one(std::process::id()))
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// Parses what `Display` writes.
    pub(crate) fn from_hex(text: &str) -> Option<Nonce> {
        u64::from_str_radix(text, 16).ok().map(Nonce)
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Nonce {
        Nonce(u64::from_le_bytes(bytes))
    }
}

/// Writes 16 hexadecimal digits.
impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Says why a worker cannot accept a claim or a hello.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unacceptable {
    #[error("the parent's hello makes no sense")]
    Malformed,
    #[error("the parent speaks another version of the protocol")]
    Abi,
    #[error("the parent is gone")]
    Gone,
    #[error("another process has become the worker already")]
    Taken,
}

/// Says what the first message in a socket is, compared with an expected claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The claim with the expected nonce.
    Ours,
    /// No message: another process has taken the claim.
    Taken,
    /// No message, and the other end is closed.
    Gone,
    /// Another message. `is_longer`: than a claim.
    Other { is_longer: bool },
}

/// Encodes a claim.
fn encode(nonce: Nonce) -> [u8; 16] {
    let mut claim = [0; 16];
    let (magic, number) = claim.split_at_mut(8);
    magic.copy_from_slice(&MAGIC.to_le_bytes());
    number.copy_from_slice(&nonce.to_bytes());
    claim
}

/// Sends the claim. The process that takes the claim is the worker.
pub(crate) fn send_claim(socket: BorrowedFd<'_>, nonce: Nonce) -> io::Result<()> {
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&encode(nonce))],
        &[],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Returns what stands first in the socket, and leaves it there.
pub(crate) fn peek_claim(socket: BorrowedFd<'_>, nonce: Nonce) -> Claim {
    // A socket that cannot be read confirms nothing.
    receive_claim(socket, nonce, MsgFlags::MSG_PEEK).unwrap_or(Claim::Other { is_longer: false })
}

fn receive_claim(socket: BorrowedFd<'_>, nonce: Nonce, flags: MsgFlags) -> io::Result<Claim> {
    let expected = encode(nonce);
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

/// Receives what is in a socket, although the other end was closed with something unread.
///
/// The kernel reports such an end once, as ECONNRESET, before it hands out what is in the socket.
pub(crate) fn despite_reset<T>(mut receive: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    match receive() {
        Err(nix::Error::ECONNRESET) => receive(),
        received => received,
    }
}

/// Takes the claim, which makes this process the worker.
pub(crate) fn take_claim(
    socket: BorrowedFd<'_>,
    nonce: Nonce,
) -> io::Result<Result<(), Unacceptable>> {
    Ok(match receive_claim(socket, nonce, MsgFlags::empty())? {
        Claim::Ours => Ok(()),
        Claim::Taken => Err(Unacceptable::Taken),
        Claim::Gone => Err(Unacceptable::Gone),
        // A hello, of a version of this library without claims.
        Claim::Other { is_longer: true } => Err(Unacceptable::Abi),
        Claim::Other { is_longer: false } => Err(Unacceptable::Malformed),
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
