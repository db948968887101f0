//! Wakes a thread of this process that polls descriptors: a self-pipe, made of a socket pair.
//!
//! The pair also tells the polling thread that the program has closed all descriptors that it does
//! not know. While the thread polls one end, the kernel keeps that end open, even if the program
//! closes its number. The other end is closed, and its hang-up wakes the thread at once.
//!
//! After the hang-up, the kernel looks the polled number up again. It must not find a file there
//! that the program has opened meanwhile. The kernel gives new files the lowest free numbers, so
//! the polled end has a high number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::process::descriptors::descriptor::Descriptor;
use crate::process::descriptors::renumber::{move_above_streams, move_far_up};

/// Holds the polled end: readable after a notification.
#[derive(Debug)]
pub(crate) struct NotifyReceiver(Descriptor);

/// Holds the end that any thread notifies through.
#[derive(Debug)]
pub(crate) struct Notifier(Descriptor);

/// Makes a connected pair.
pub(crate) fn notifier() -> io::Result<(NotifyReceiver, Notifier)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (receives, sends) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let (receives, sends) = (move_far_up(receives)?, move_above_streams(sends)?);
    Ok((NotifyReceiver(Descriptor::new(receives)?), Notifier(Descriptor::new(sends)?)))
}

impl NotifyReceiver {
    /// Returns `false` if the program has closed this end.
    pub(crate) fn is_intact(&self) -> bool {
        self.0.is_intact()
    }

    /// Takes all notifications out, so that this end is readable only after the next.
    pub(crate) fn drain(&self) {
        let mut bytes = [0; 1];
        while recv(self.as_fd().as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT)
            .is_ok_and(|count| count > 0)
        {}
    }

    /// Returns the descriptor to poll.
    pub(crate) fn into_descriptor(self) -> Descriptor {
        self.0
    }
}

impl AsFd for NotifyReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Notifier {
    /// Returns `false` if the program has closed this end.
    pub(crate) fn is_intact(&self) -> bool {
        self.0.is_intact()
    }

    /// Wakes the thread that polls the other end. Returns `false` if the program has closed either
    /// end.
    pub(crate) fn notify(&self) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        // EAGAIN: the socket is full of notifications that the thread has not taken yet. `send`
        // rather than `write`: a file that is no socket refuses `send`.
        self.is_intact()
            && matches!(
                send(self.0.as_fd().as_raw_fd(), &[1], flags),
                Ok(_) | Err(nix::Error::EAGAIN)
            )
    }
}
