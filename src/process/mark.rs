//! How a process is told that it was started to be a worker: a variable of its environment that names
//! a socket, and a number that only the socket at the other end of the parent's lifeline confirms.
//!
//! The environment is inherited by every process that a worker starts, the socket is not. So the
//! variable alone means nothing: see [`Mark::examine`]. The worker removes it before it runs any code
//! of the program's, so that nothing it starts ever sees it.
//!
//! A worker may start helpers before its `init`, which inherit both. A process is taken for a helper
//! only on evidence: its parent was started with this very mark, or the maker of the socket lives and
//! is not its parent. Without that it is the worker, whose parent may have died.
//!
//! A worker program may lose the socket, behind a wrapper that closes what it does not know. Then
//! nothing tells it from a helper, and it may start workers: itself, if it is careless. So marks count
//! the generations that were started and have not attached.

use std::fmt;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use nix::unistd::geteuid;

use crate::process::executable::ITSELF;
use crate::process::handshake::{Claim, look_at_claim};
use crate::process::{executable, function, pidfd};

/// Carries the mark: role, descriptor, nonce, generation, library, device and inode of the executable.
pub(crate) const VARIABLE: &str = "COPROCESS_LIFELINE";

/// What a worker is started to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The same executable, to run a function.
    Function,
    /// A program that calls `parent`.
    Program,
}

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

    #[cfg(any(test, fuzzing))]
    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Nonce {
        Nonce(u64::from_le_bytes(bytes))
    }
}

/// Which file an executable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: impl AsRef<Path>) -> io::Result<FileId> {
        let metadata = fs::metadata(path)?;
        Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Whether this process runs this file.
    ///
    /// # Errors
    ///
    /// If the system does not say which file it runs.
    fn is_ours(self) -> io::Result<bool> {
        // An emulator or a checker that runs the program as its guest answers the second form with the
        // guest's file, and the first one with its own.
        let guest = || fs::read_link(ITSELF).and_then(FileId::of);
        Ok(FileId::of(ITSELF)? == self || guest().is_ok_and(|guest| guest == self))
    }
}

/// What the variable says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    role: Role,
    fd: RawFd,
    nonce: Nonce,
    /// How many processes have started one another, up to this one, of which none has attached.
    generation: u32,
    /// Which copy of this library started the worker: an executable may have several.
    library: u64,
    executable: FileId,
}

/// Which process made the socket, as this process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// The parent of this process.
    Parent,
    /// Another process, by its number: it has ended, or this process is no child of it.
    Other(u32),
    /// The system does not tell.
    Unknown,
}

impl Maker {
    /// `parent`: the number of the parent of this process, before this is called.
    fn of(socket: BorrowedFd<'_>, parent: u32) -> Maker {
        let Ok(peer) = getsockopt(&socket, sockopt::PeerCredentials) else { return Maker::Unknown };
        match peer.pid().cast_unsigned() {
            // It is in an outer process id namespace.
            0 => Maker::Unknown,
            maker if maker == parent => Maker::Parent,
            // A worker makes no socket before its `init`. gVisor names the process that asks.
            maker if maker == std::process::id() => Maker::Unknown,
            maker => Maker::Other(maker),
        }
    }

    /// Returns `true` if this is another process, and certain to live. It is older than this one: a
    /// younger one has got its number.
    fn lives_elsewhere(self) -> bool {
        let Maker::Other(maker) = self else { return false };
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
        let is_parent = || Maker::of(self.socket.as_fd(), parent_id()) == Maker::Parent;
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

/// What this process is, by its mark.
#[derive(Debug)]
pub(crate) enum Found {
    /// It was not started to be a worker, or cannot know: it has no mark, or one that leads to nothing.
    Nothing {
        /// How many processes have started one another, up to this one, of which none has attached.
        generation: u32,
    },
    /// It was started to run a worker function.
    Function(Lifeline),
    /// It was started to be a worker program.
    Program(Lifeline),
    /// It was started to run a worker function, and can not: why.
    Lost(&'static str),
}

impl Mark {
    /// Makes the mark of a worker of this executable that finds its socket at `fd`.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub(crate) fn of_function(fd: RawFd, nonce: Nonce, executable: &Path) -> io::Result<Mark> {
        Ok(Mark { role: Role::Function, fd, nonce, generation: 1, library: function::of_library(), executable: FileId::of(executable)? })
    }

    /// Makes the mark of a worker program. Any program may be the worker, behind any wrapper.
    /// `generation`: that of this process.
    pub(crate) fn of_program(fd: RawFd, nonce: Nonce, generation: u32) -> Mark {
        Mark {
            role: Role::Program,
            fd,
            nonce,
            generation: generation.saturating_add(1),
            library: 0,
            executable: FileId { device: 0, inode: 0 },
        }
    }

    fn parse(value: &str) -> Option<Mark> {
        let mut parts = value.split(':');
        let role = match parts.next()? {
            "function" => Role::Function,
            "program" => Role::Program,
            _ => return None,
        };
        let fd = parts.next()?.parse().ok().filter(|fd| *fd >= 0)?;
        let nonce = Nonce(u64::from_str_radix(parts.next()?, 16).ok()?);
        let generation = parts.next()?.parse().ok()?;
        let library = u64::from_str_radix(parts.next()?, 16).ok()?;
        let executable = FileId { device: parts.next()?.parse().ok()?, inode: parts.next()?.parse().ok()? };
        Some(Mark { role, fd, nonce, generation, library, executable })
    }

    /// Finds out what this process is, and takes the socket if it is a worker's: neither the socket
    /// nor the variable is inherited any more then.
    pub(crate) fn examine() -> Found {
        let Some(mark) = std::env::var(VARIABLE).ok().as_deref().and_then(Mark::parse) else {
            return Found::Nothing { generation: 0 };
        };
        if mark.role == Role::Function {
            match mark.executable.is_ours() {
                Ok(true) => {}
                // Started by a worker before its `init`, or executed in its place: another program.
                Ok(false) => return Found::Nothing { generation: 0 },
                Err(_) => return Found::Lost("it cannot find out which executable it is: /proc must be mounted"),
            }
            executable::learn();
            // The worker of another copy of this library in this executable, whose `init` is to come.
            if mark.library != function::of_library() {
                return Found::Nothing { generation: 0 };
            }
        }
        let found = mark.claimed();
        if let Found::Function(_) | Found::Program(_) = found {
            forget_variable();
        }
        found
    }

    fn claimed(self) -> Found {
        // Before all else: if the parent ends meanwhile, that is seen.
        let parent = parent_id();
        // SAFETY: whether it is open is what the first look finds out; nothing closes it meanwhile.
        let socket = unsafe { BorrowedFd::borrow_raw(self.fd) };
        let is_socket = matches!(getsockopt(&socket, sockopt::SockType), Ok(SockType::SeqPacket));
        match self.role {
            Role::Function => {
                let maker = if is_socket { Maker::of(socket, parent) } else { Maker::Unknown };
                // A child of the maker is no helper: the mark is younger than the maker.
                if maker != Maker::Parent && (self.is_of_parent() || maker.lives_elsewhere()) {
                    // What the helper starts in turn is none of the worker's, either.
                    forget_variable();
                    return Found::Nothing { generation: 0 };
                }
                if !is_socket {
                    return Found::Lost("the parent's socket was closed before init() was called: it must be the first line of main()");
                }
                if let Maker::Other(_) = maker {
                    return Found::Lost("the parent is gone");
                }
                match look_at_claim(socket, self.nonce) {
                    Claim::Ours => {}
                    Claim::Gone => return Found::Lost("the parent is gone"),
                    Claim::Taken => return Found::Lost("another process has become the worker already"),
                    Claim::Other { .. } => return Found::Lost("the parent's socket does not confirm that it is one"),
                }
            }
            // One that was only inherited, or that another process has claimed, is none of ours.
            Role::Program if !is_socket || look_at_claim(socket, self.nonce) != Claim::Ours => {
                return Found::Nothing { generation: self.generation };
            }
            Role::Program => {}
        }
        if fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_err() {
            return Found::Lost("the parent's socket cannot be kept from other programs");
        }
        // SAFETY: the descriptor was inherited for this library alone, which takes it once: the
        // variable that names it is removed, and `entry` looks under a lock.
        let socket = unsafe { OwnedFd::from_raw_fd(self.fd) };
        // A worker function's process is executed by the parent itself, whatever the system tells of
        // the socket. A parent in an outer process id namespace is zero, whichever it is.
        let is_child = self.role == Role::Function || Maker::of(socket.as_fd(), parent) == Maker::Parent;
        let lifeline = Lifeline { socket, nonce: self.nonce, child_of: (is_child && parent != 0).then_some(parent) };
        match self.role {
            Role::Function => Found::Function(lifeline),
            Role::Program => Found::Program(lifeline),
        }
    }
}

impl Mark {
    /// Returns `true` if the parent of this process was started with this very mark: then the parent is
    /// the worker, or another helper of it. Also returns `false` if the system does not tell.
    fn is_of_parent(self) -> bool {
        // By the number that /proc has for the parent: it may be that of another namespace.
        let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
        let Some(parent) = status.lines().find_map(|line| line.strip_prefix("PPid:")) else { return false };
        // What the kernel shows is the environment that a process was executed with.
        let Ok(environment) = fs::read(format!("/proc/{}/environ", parent.trim())) else { return false };
        let variable = format!("{VARIABLE}={self}");
        environment.split(|byte| *byte == 0).any(|theirs| theirs == variable.as_bytes())
    }
}

/// The value of the variable.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Function => "function",
            Role::Program => "program",
        };
        let FileId { device, inode } = self.executable;
        write!(f, "{role}:{}:{:016x}:{}:{:x}:{device}:{inode}", self.fd, self.nonce.0, self.generation, self.library)
    }
}

fn forget_variable() {
    // SAFETY: `init` is the first line of main, and `parent` is called early. Where other threads run
    // nevertheless, Rust's own accesses share a lock with this one; and removal, unlike a change,
    // frees no memory that C code beside it may read.
    unsafe { std::env::remove_var(VARIABLE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_what_the_variable_says() {
        for mark in [Mark::of_function(7, Nonce::new(), Path::new(ITSELF)).unwrap(), Mark::of_program(7, Nonce::new(), 3)] {
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        }
    }

    #[test]
    fn what_is_no_mark_is_none() {
        for value in
            ["", "function", "function:7", "function:-1:0:0:0:0:0", "other:7:0:0:0:0:0", "program:7:x:0:0:0:0", "function:7:0:0:0:0:"]
        {
            assert_eq!(Mark::parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn no_two_starts_have_one_nonce() {
        assert_ne!(Nonce::new(), Nonce::new());
    }

    #[test]
    fn the_executable_is_told_from_others() {
        assert!(FileId::of(ITSELF).unwrap().is_ours().unwrap());
        assert!(!FileId::of("/").unwrap().is_ours().unwrap());
    }
}
