//! Holds the worker's end of the socket pair.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::parent_id;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;

use crate::process::handshake::claim::Nonce;
use crate::process::handshake::creator::Creator;
use crate::process::pidfd;

/// Says how often a worker checks the number of its parent, if it can have no descriptor of the
/// parent.
///
/// The lifeline alone does not suffice: a child that the parent has forked may keep it open.
pub(crate) const PARENT_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Owns the socket that leads to the parent.
#[derive(Debug)]
pub(crate) struct Lifeline {
    pub(crate) socket: OwnedFd,
    /// The number that the claim in the socket must repeat.
    pub(crate) nonce: Nonce,
    /// The number of this process's parent, if that process is certain to hold the other end. When
    /// the parent ends, this process gets another parent, with another number.
    pub(crate) child_of: Option<u32>,
}

impl Lifeline {
    /// Opens a descriptor of the process that created the socket, if it is this process's parent.
    ///
    /// Behind a wrapper, or in another process id namespace, there is none: the socket alone must
    /// do.
    pub(crate) fn parent(&self) -> Option<OwnedFd> {
        let parent = parent_id();
        let is_parent = || Creator::of(self.socket.as_fd(), parent_id()) == Creator::Parent;
        let pidfd = is_parent().then(|| pidfd::open(parent).ok()).flatten();
        // Checked again: if the parent has ended in between, another process may have its number.
        pidfd.filter(|_| is_parent())
    }

    /// Waits until the socket can be read, or the parent has ended.
    ///
    /// `parent` is the parent's descriptor, if there is one. A child that the parent has forked may
    /// keep the socket open after the parent's end.
    ///
    /// # Blocking
    ///
    /// Until:
    ///
    /// - something arrives,
    /// - the other end of the socket is closed,
    /// - the parent ends, as far as its descriptor or its number tells.
    pub(crate) fn wait(&self, parent: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let socket = self.socket.as_fd();
        let by_number = parent.is_none() && self.child_of.is_some();
        let interval = PollTimeout::try_from(PARENT_POLL_INTERVAL).unwrap_or(PollTimeout::MAX);
        let timeout = if by_number { interval } else { PollTimeout::NONE };
        let mut fds =
            [socket, parent.unwrap_or(socket)].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        loop {
            match poll(&mut fds, timeout) {
                Ok(0) if self.child_of == Some(parent_id()) => {}
                Err(nix::Error::EINTR) => {}
                ended => return Ok(ended.map(drop)?),
            }
        }
    }

    /// Returns `true` if the creator of the socket may tell this process what to run: its user is
    /// the user of this process, or root. Where the system does not tell, the nonce alone must do.
    pub(crate) fn is_trusted(&self) -> bool {
        let Ok(peer) = getsockopt(&self.socket, sockopt::PeerCredentials) else { return true };
        peer.uid() == 0 || peer.uid() == geteuid().as_raw() || is_overflow_user(peer.uid())
    }
}

/// Returns `true` if the number stands for all users who have none in this process's user
/// namespace. Root of the host may be among them.
fn is_overflow_user(user: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let are_all_known =
        read("/proc/self/uid_map").split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    !are_all_known && read("/proc/sys/kernel/overflowuid").trim().parse() == Ok(user)
}
