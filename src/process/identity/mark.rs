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
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::parent_id;
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::process::handshake::{Claim, Creator, Lifeline, Nonce, look_at_claim};
use crate::process::identity::executable::{self, ITSELF};
use crate::process::identity::function;

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
        let nonce = Nonce::from_hex(parts.next()?)?;
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
                let maker = if is_socket { Creator::of(socket, parent) } else { Creator::Unknown };
                // A child of the maker is no helper: the mark is younger than the maker.
                if maker != Creator::Parent && (self.is_of_parent() || maker.lives_elsewhere()) {
                    // What the helper starts in turn is none of the worker's, either.
                    forget_variable();
                    return Found::Nothing { generation: 0 };
                }
                if !is_socket {
                    return Found::Lost("the parent's socket was closed before init() was called: it must be the first line of main()");
                }
                if let Creator::Other(_) = maker {
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
        let is_child = self.role == Role::Function || Creator::of(socket.as_fd(), parent) == Creator::Parent;
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
        write!(f, "{role}:{}:{}:{}:{:x}:{device}:{inode}", self.fd, self.nonce, self.generation, self.library)
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
    fn the_executable_is_told_from_others() {
        assert!(FileId::of(ITSELF).unwrap().is_ours().unwrap());
        assert!(!FileId::of("/").unwrap().is_ours().unwrap());
    }
}
