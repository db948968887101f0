//! Which process made the socket.

use std::fs;
use std::os::fd::BorrowedFd;

use nix::sys::socket::{getsockopt, sockopt};

/// Which process made the socket, as this process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creator {
    /// The parent of this process.
    Parent,
    /// Another process, by its number: it has ended, or this process is no child of it.
    Other(u32),
    /// The system does not tell.
    Unknown,
}

impl Creator {
    /// `parent`: the number of the parent of this process, before this is called.
    pub(crate) fn of(socket: BorrowedFd<'_>, parent: u32) -> Creator {
        let Ok(peer) = getsockopt(&socket, sockopt::PeerCredentials) else { return Creator::Unknown };
        match peer.pid().cast_unsigned() {
            // It is in an outer process id namespace.
            0 => Creator::Unknown,
            maker if maker == parent => Creator::Parent,
            // A worker makes no socket before its `init`. gVisor names the process that asks.
            maker if maker == std::process::id() => Creator::Unknown,
            maker => Creator::Other(maker),
        }
    }

    /// Returns `true` if this is another process, and certain to live. It is older than this one: a
    /// younger one has got its number.
    pub(crate) fn lives_elsewhere(self) -> bool {
        let Creator::Other(maker) = self else { return false };
        let started = |process: &str| {
            // The name, in brackets, may hold anything; then the state, and, as the 20th, the start.
            let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
            let rest = stat.get(stat.iter().rposition(|byte| *byte == b')')?..)?;
            let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace().skip(1);
            let is_alive = !matches!(fields.next()?, "Z" | "X" | "x");
            Some((is_alive, fields.nth(18)?.parse::<u64>().ok()?))
        };
        matches!((started(&maker.to_string()), started("self")), (Some((true, theirs)), Some((_, own))) if theirs <= own)
    }
}
