//! UNIX sockets, of bytes and of packets.

use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::Result;
use crate::subjects::exchange::Exchange;

/// Starts the second process behind a socket that carries a stream of bytes.
///
/// # Errors
///
/// There are no sockets, or the process cannot be started.
pub fn stream() -> Result<Exchange> {
    start("UNIX stream", SockType::Stream)
}

/// Starts the second process behind a socket that keeps the bounds of what was written.
///
/// # Errors
///
/// There are no sockets, or the process cannot be started.
pub fn seqpacket() -> Result<Exchange> {
    start("UNIX seqpacket", SockType::SeqPacket)
}

fn start(kind: &'static str, socket: SockType) -> Result<Exchange> {
    let (ours, theirs): (OwnedFd, OwnedFd) =
        socketpair(AddressFamily::Unix, socket, None, SockFlag::SOCK_CLOEXEC)?;
    Exchange::start(kind, ours.try_clone()?, ours, theirs.try_clone()?, theirs)
}
