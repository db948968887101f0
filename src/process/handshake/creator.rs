//! Finds out which process created a socket.

use std::fs;
use std::os::fd::BorrowedFd;

use nix::sys::socket::{getsockopt, sockopt};

/// Names the process that created a socket, as this process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creator {
    /// The parent of this process.
    Parent,
    /// Another process, by its number. It has ended, or this process is not its child.
    Other(u32),
    /// The system does not tell.
    Unknown,
}

impl Creator {
    /// Asks the system. The caller reads `parent`, the number of this process's parent, beforehand.
    pub(crate) fn of(socket: BorrowedFd<'_>, parent: u32) -> Creator {
        let Ok(peer) = getsockopt(&socket, sockopt::PeerCredentials) else {
            return Creator::Unknown;
        };
        match peer.pid().cast_unsigned() {
            // The creator is in an outer process id namespace.
            0 => Creator::Unknown,
            creator if creator == parent => Creator::Parent,
            // Before its `init`, a worker makes no socket. gVisor names the process that asks.
            creator if creator == std::process::id() => Creator::Unknown,
            creator => Creator::Other(creator),
        }
    }

    /// Returns `true` if the creator is certain to live, and is not the parent of this process.
    ///
    /// The process of that number must be at least as old as this process. A younger one has reused
    /// the number.
    pub(crate) fn lives_elsewhere(self) -> bool {
        let Creator::Other(creator) = self else { return false };
        let started = |process: &str| {
            // The name, in brackets, may contain anything. The state follows, and the start time as
            // the 20th field.
            let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
            let rest = stat.get(stat.iter().rposition(|byte| *byte == b')')?..)?;
            let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace().skip(1);
            let is_alive = !matches!(fields.next()?, "Z" | "X" | "x");
            Some((is_alive, fields.nth(18)?.parse::<u64>().ok()?))
        };
        matches!((started(&creator.to_string()), started("self")), (Some((true, theirs)), Some((_, own))) if theirs <= own)
    }
}
