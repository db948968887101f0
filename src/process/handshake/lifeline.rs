//! The socket that leads to the parent.

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

/// What leads to the parent.
#[derive(Debug)]
pub(crate) struct Lifeline {
    pub(crate) socket: OwnedFd,
    /// What the claim in the socket must repeat.
    pub(crate) nonce: Nonce,
    /// The parent's number, if the parent of this process is certain to be at the other end, and its
    /// end changes that number.
    pub(crate) child_of: Option<u32>,
}

/// How often a worker looks whether its parent lives, of which it can have no descriptor: a child that the parent has forked may keep the
/// lifeline.
pub(crate) const GLANCE_AT_PARENT: Duration = Duration::from_millis(250);

impl Lifeline {
    /// Opens a descriptor of the process that made the socket, if it is the parent of this one.
    /// Behind a wrapper, or in another process id namespace, there is none: the socket alone must do.
    pub(crate) fn parent(&self) -> Option<OwnedFd> {
        let parent = parent_id();
        let is_parent = || Creator::of(self.socket.as_fd(), parent_id()) == Creator::Parent;
        let pidfd = is_parent().then(|| pidfd::open(parent).ok()).flatten();
        // Again: if the parent has ended in between, another process may have its number.
        pidfd.filter(|_| is_parent())
    }

    /// Waits until there is something to receive, or the parent has ended, as far as that can be told.
    /// `parent`: its descriptor. A child that the parent has forked may keep the socket open.
    pub(crate) fn wait(&self, parent: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let socket = self.socket.as_fd();
        let by_number = parent.is_none() && self.child_of.is_some();
        let glance = PollTimeout::try_from(GLANCE_AT_PARENT).unwrap_or(PollTimeout::MAX);
        let timeout = if by_number { glance } else { PollTimeout::NONE };
        let mut fds = [socket, parent.unwrap_or(socket)].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        loop {
            match poll(&mut fds, timeout) {
                Ok(0) if self.child_of == Some(parent_id()) => {}
                Err(nix::Error::EINTR) => {}
                ended => return Ok(ended.map(drop)?),
            }
        }
    }

    /// Returns `true` if the process that made the socket may tell this one what to run: it belongs to
    /// the same user, or to root. Where the system does not tell, the nonce alone must do.
    pub(crate) fn is_trusted(&self) -> bool {
        let Ok(peer) = getsockopt(&self.socket, sockopt::PeerCredentials) else { return true };
        peer.uid() == 0 || peer.uid() == geteuid().as_raw() || has_no_number_here(peer.uid())
    }
}

/// Returns `true` if this is what stands for all users who have no number in the user namespace of this
/// process, root of the host among them.
fn has_no_number_here(user: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let are_all_known = read("/proc/self/uid_map").split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    !are_all_known && read("/proc/sys/kernel/overflowuid").trim().parse() == Ok(user)
}
