//! A bell within this process: one thread polls it, any other rings it.
//!
//! It is a pair of sockets, both in this process. A thread that polls one of them keeps that one
//! open while it waits, even if the program closes the number. The other one is closed then, and
//! the thread is woken by its hang-up. So a thread that waits for nothing but its bell finds out at
//! once when the program closes all descriptors that it does not know.
//!
//! The kernel looks the number up again then, and must not find a file there that the program has
//! opened meanwhile. The kernel gives new files the lowest free numbers, so this one is a high one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::process::descriptors::{Descriptor, above_streams};

/// The end that is polled: readable once the bell was rung.
#[derive(Debug)]
pub(crate) struct Listener(Descriptor);

/// The end that is rung.
#[derive(Debug)]
pub(crate) struct Ringer(Descriptor);

/// Makes a bell.
pub(crate) fn bell() -> io::Result<(Listener, Ringer)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (listens, rings) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let (listens, rings) = (above_streams::far_above(listens)?, above_streams::moved(rings)?);
    Ok((Listener(Descriptor::new(listens)?), Ringer(Descriptor::new(rings)?)))
}

impl Listener {
    /// Returns `false` if the program has closed it.
    pub(crate) fn is_intact(&self) -> bool {
        self.0.is_intact()
    }

    /// Makes it silent until it is rung again.
    pub(crate) fn hush(&self) {
        let mut rings = [0; 1];
        while recv(self.as_fd().as_raw_fd(), &mut rings, MsgFlags::MSG_DONTWAIT).is_ok_and(|bytes| bytes > 0) {}
    }

    pub(crate) fn into_descriptor(self) -> Descriptor {
        self.0
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Ringer {
    /// Returns `false` if the program has closed it.
    pub(crate) fn is_intact(&self) -> bool {
        self.0.is_intact()
    }

    /// Rings. Returns `false` if the program has closed either end.
    pub(crate) fn ring(&self) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        // A full socket is one that was rung and not heard yet. By `send`: a file that is no socket refuses it.
        self.is_intact() && matches!(send(self.0.as_fd().as_raw_fd(), &[1], flags), Ok(_) | Err(nix::Error::EAGAIN))
    }
}
