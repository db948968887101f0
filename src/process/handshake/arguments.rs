//! Passes on the arguments that `fork_with` hands to a worker function.
//!
//! The parent sends them through the lifeline, in pieces, after the hello. The worker decodes them
//! before it says that it has attached. So if a value does not decode, the worker refuses with a
//! reason, rather than attach and wait for nothing.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, recvmsg, sendmsg};

use crate::process::handshake::lifeline::Lifeline;

/// Bounds the bytes in one datagram: far less than a socket's buffer holds.
const PIECE: usize = 32 * 1024;

/// Holds the encoded arguments of a worker function.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The distance of the function that decodes the arguments, from the start of the executable.
    pub(crate) shim: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Sends the next piece without waiting. Returns the bytes that are left.
pub(crate) fn send_piece<'a>(lifeline: BorrowedFd<'_>, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
    let (piece, rest) = bytes.split_at(bytes.len().min(PIECE));
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    match sendmsg::<()>(lifeline.as_raw_fd(), &[IoSlice::new(piece)], &[], flags, None) {
        Ok(_) => Ok(rest),
        Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENOBUFS) => Ok(bytes),
        // The worker has closed the socket, or ended. The caller finds out which, and whether the
        // worker has said why.
        Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => Ok(&[]),
        Err(error) => Err(error.into()),
    }
}

/// Waits for `length` bytes, and receives them. Returns `None` if the parent is gone, or sends
/// something else.
///
/// # Blocking
///
/// Until all bytes have arrived, or as [`Lifeline::wait`] says.
pub(crate) fn receive(
    lifeline: &Lifeline,
    parent: Option<BorrowedFd<'_>>,
    length: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE];
    while bytes.len() < length {
        lifeline.wait(parent)?;
        let mut buffer = [IoSliceMut::new(&mut piece)];
        // Without space for descriptors: the kernel closes any that come along.
        let (count, flags) = match recvmsg::<()>(
            lifeline.socket.as_raw_fd(),
            &mut buffer,
            None,
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(received) => (received.bytes, received.flags),
            Err(nix::Error::EINTR) => continue,
            // Nothing has arrived, so the wait has ended since the parent is gone.
            Err(nix::Error::EAGAIN | nix::Error::ECONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let left = length.saturating_sub(bytes.len());
        if count == 0 || count > left || flags.contains(MsgFlags::MSG_TRUNC) {
            return Ok(None);
        }
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::thread;

    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sys::socket::{AddressFamily, ControlMessage, SockFlag, SockType, socketpair};

    use super::*;
    use crate::process::handshake::claim::Nonce;

    fn sockets() -> (OwnedFd, Lifeline) {
        let (ours, socket) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .unwrap();
        (ours, Lifeline { socket, nonce: Nonce::new(), child_of: None })
    }

    #[test]
    fn many_pieces_are_one() {
        let (ours, theirs) = sockets();
        let bytes: Vec<u8> = (0..10 * PIECE + 1).map(|place| place as u8).collect();
        let sent = bytes.clone();
        let sender = thread::spawn(move || {
            let mut left = &sent[..];
            while !left.is_empty() {
                let mut fds = [PollFd::new(ours.as_fd(), PollFlags::POLLOUT)];
                assert_eq!(poll(&mut fds, 20_000_u16), Ok(1));
                left = send_piece(ours.as_fd(), left).unwrap();
            }
        });
        assert!(receive(&theirs, None, bytes.len()).unwrap().unwrap() == bytes);
        sender.join().unwrap();
    }

    /// The cases: more than was announced, a piece that is too long, too little, no piece, an empty
    /// piece.
    #[test]
    fn what_was_not_announced_is_refused() {
        for (pieces, announced) in
            [(&[3_usize, 2][..], 4), (&[PIECE + 1], 2 * PIECE), (&[1], 2), (&[], 1), (&[0], 1)]
        {
            let (ours, theirs) = sockets();
            for length in pieces {
                let piece = vec![7; *length];
                sendmsg::<()>(
                    ours.as_raw_fd(),
                    &[IoSlice::new(&piece)],
                    &[],
                    MsgFlags::empty(),
                    None,
                )
                .unwrap();
            }
            drop(ours);
            assert_eq!(receive(&theirs, None, announced).unwrap(), None, "{pieces:?}");
        }
    }

    #[test]
    fn descriptors_that_come_along_are_closed() {
        let (ours, theirs) = sockets();
        let (mut end, passed) = std::io::pipe().unwrap();
        let fds = [passed.as_raw_fd(); 100];
        sendmsg::<()>(
            ours.as_raw_fd(),
            &[IoSlice::new(b"abc")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        drop(passed);
        assert_eq!(receive(&theirs, None, 3).unwrap(), Some(b"abc".to_vec()));
        // A process that another test starts has a copy of each descriptor until it runs its
        // program. So the hang-up may take a moment.
        let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 20_000_u16), Ok(1));
        assert_eq!(std::io::Read::read(&mut end, &mut [0]).unwrap(), 0);
    }
}
