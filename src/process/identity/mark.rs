//! Defines the mark: a variable of the environment that tells a process that it was started as a
//! worker.
//!
//! The variable names a socket and a nonce. Only the claim in the parent's socket confirms the
//! nonce.
//!
//! - Every process that a worker starts inherits the environment, but not the socket. So the
//!   variable alone means nothing: see [`Mark::examine`]. The worker removes the variable before it
//!   runs any code of the program's, so that no process that it starts sees the variable.
//! - Before its `init`, a worker may start helpers, which inherit both. A process counts as a
//!   helper only on evidence: its parent was started with this very mark, or the creator of the
//!   socket lives and is not its parent. Without such evidence, the process is the worker, whose
//!   parent may have died.
//! - A worker program may lose the socket, behind a wrapper that closes descriptors that it does
//!   not know. Then nothing tells the program from a helper, so it may start workers, and by
//!   mistake itself. So marks count the processes that have started one another without attaching.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::parent_id;
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::process::handshake::{Claim, Creator, Lifeline, Nonce, peek_claim};
use crate::process::identity::executable::{self, SELF_EXE};
use crate::process::identity::function;

/// Holds the mark: role, descriptor, nonce, chain length, library, device and inode of the
/// executable.
pub(crate) const VARIABLE: &str = "COPROCESS_LIFELINE";

/// Says what kind of worker a process is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The same executable, which runs a worker function.
    Function,
    /// A worker program, which calls `parent`.
    Program,
}

/// Identifies the file of an executable.
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

    /// Returns `true` if this process runs this file.
    ///
    /// # Errors
    ///
    /// If the system does not tell which file this process runs.
    fn is_ours(self) -> io::Result<bool> {
        // An emulator or a checker may run the program as its guest. It answers `readlink` with the
        // guest's file, and `stat` with its own.
        let guest = || fs::read_link(SELF_EXE).and_then(FileId::of);
        Ok(FileId::of(SELF_EXE)? == self || guest().is_ok_and(|guest| guest == self))
    }
}

/// Holds the parsed value of the variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    role: Role,
    fd: RawFd,
    nonce: Nonce,
    /// How many processes have started one another, up to this one, without attaching.
    chain_length: u32,
    /// The copy of this library that started the worker: an executable may contain several.
    library: u64,
    executable: FileId,
}

/// Says what this process was started as, by its mark.
#[derive(Debug)]
pub(crate) enum StartedAs {
    /// No worker, as far as the process can know: it has no mark, or the mark leads nowhere.
    NoWorker {
        /// How many processes have started one another, up to this one, without attaching.
        chain_length: u32,
    },
    /// A worker that runs a worker function.
    Function(Lifeline),
    /// A worker program.
    Program(Lifeline),
    /// A worker that should run a worker function, and cannot: the reason.
    Lost(&'static str),
}

impl Mark {
    /// Makes the mark of a worker that runs this executable, and finds its socket at `fd`.
    ///
    /// # Errors
    ///
    /// The system's error for the file.
    pub(crate) fn of_function(fd: RawFd, nonce: Nonce, executable: &Path) -> io::Result<Mark> {
        Ok(Mark {
            role: Role::Function,
            fd,
            nonce,
            chain_length: 1,
            library: function::of_library(),
            executable: FileId::of(executable)?,
        })
    }

    /// Makes the mark of a worker program. Any program may be the worker, behind any wrapper.
    /// `chain_length` is that of this process.
    pub(crate) fn of_program(fd: RawFd, nonce: Nonce, chain_length: u32) -> Mark {
        Mark {
            role: Role::Program,
            fd,
            nonce,
            chain_length: chain_length.saturating_add(1),
            library: 0,
            executable: FileId { device: 0, inode: 0 },
        }
    }

    /// Parses what `Display` writes.
    fn parse(value: &str) -> Option<Mark> {
        let mut parts = value.split(':');
        let role = match parts.next()? {
            "function" => Role::Function,
            "program" => Role::Program,
            _ => return None,
        };
        let fd = parts.next()?.parse().ok().filter(|fd| *fd >= 0)?;
        let nonce = Nonce::from_hex(parts.next()?)?;
        let chain_length = parts.next()?.parse().ok()?;
        let library = u64::from_str_radix(parts.next()?, 16).ok()?;
        let executable =
            FileId { device: parts.next()?.parse().ok()?, inode: parts.next()?.parse().ok()? };
        Some(Mark { role, fd, nonce, chain_length, library, executable })
    }

    /// Finds out what this process was started as. If it is a worker, takes the socket: from then
    /// on, no process inherits the socket or the variable.
    pub(crate) fn examine() -> StartedAs {
        let Some(mark) = std::env::var(VARIABLE).ok().as_deref().and_then(Mark::parse) else {
            return StartedAs::NoWorker { chain_length: 0 };
        };
        if mark.role == Role::Function {
            match mark.executable.is_ours() {
                Ok(true) => {}
                // Another program, which a worker has started before its `init`, or executed in its
                // place.
                Ok(false) => return StartedAs::NoWorker { chain_length: 0 },
                Err(_) => {
                    return StartedAs::Lost(
                        "it cannot find out which executable it is: /proc must be mounted",
                    );
                }
            }
            executable::learn();
            // The worker of another copy of this library in this executable. The `init` of that
            // copy runs later.
            if mark.library != function::of_library() {
                return StartedAs::NoWorker { chain_length: 0 };
            }
        }
        let found = mark.follow();
        if let StartedAs::Function(_) | StartedAs::Program(_) = found {
            remove_variable();
        }
        found
    }

    /// Finds out whether the socket of this mark leads to a parent that waits for this process.
    fn follow(self) -> StartedAs {
        // Read before all else, so that a parent that ends meanwhile is noticed.
        let parent = parent_id();
        // SAFETY: the first system call finds out whether the descriptor is open. Nothing closes it
        // meanwhile.
        let socket = unsafe { BorrowedFd::borrow_raw(self.fd) };
        let is_socket = matches!(getsockopt(&socket, sockopt::SockType), Ok(SockType::SeqPacket));
        match self.role {
            Role::Function => {
                let creator =
                    if is_socket { Creator::of(socket, parent) } else { Creator::Unknown };
                // A child of the creator is no helper: the mark is younger than the creator.
                if creator != Creator::Parent && (self.is_of_parent() || creator.lives_elsewhere())
                {
                    // The processes that a helper starts are no workers, either.
                    remove_variable();
                    return StartedAs::NoWorker { chain_length: 0 };
                }
                if !is_socket {
                    return StartedAs::Lost(
                        "the parent's socket was closed before init() was called: it must be the first line of main()",
                    );
                }
                if let Creator::Other(_) = creator {
                    return StartedAs::Lost("the parent is gone");
                }
                match peek_claim(socket, self.nonce) {
                    Claim::Ours => {}
                    Claim::Gone => return StartedAs::Lost("the parent is gone"),
                    Claim::Taken => {
                        return StartedAs::Lost("another process has become the worker already");
                    }
                    Claim::Other { .. } => {
                        return StartedAs::Lost(
                            "the parent's socket does not confirm that it is one",
                        );
                    }
                }
            }
            // A mark that was only inherited, or whose claim another process has taken.
            Role::Program if !is_socket || peek_claim(socket, self.nonce) != Claim::Ours => {
                return StartedAs::NoWorker { chain_length: self.chain_length };
            }
            Role::Program => {}
        }
        if fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_err() {
            return StartedAs::Lost("the parent's socket cannot be kept from other programs");
        }
        // SAFETY: the descriptor was inherited for this library alone, which takes it once:
        // `start::role` examines the mark under a lock, and the variable is removed afterwards.
        let socket = unsafe { OwnedFd::from_raw_fd(self.fd) };
        // The parent itself executes the process of a worker function, whatever the system tells of
        // the socket. The number of a parent in an outer process id namespace is always zero.
        let is_child =
            self.role == Role::Function || Creator::of(socket.as_fd(), parent) == Creator::Parent;
        let lifeline = Lifeline {
            socket,
            nonce: self.nonce,
            child_of: (is_child && parent != 0).then_some(parent),
        };
        match self.role {
            Role::Function => StartedAs::Function(lifeline),
            Role::Program => StartedAs::Program(lifeline),
        }
    }
}

impl Mark {
    /// Returns `true` if the parent of this process was started with this very mark: then the
    /// parent is the worker, or another helper. Returns `false` if the system does not tell.
    fn is_of_parent(self) -> bool {
        // The parent's number as /proc shows it, which may belong to another namespace than
        // `parent_id`.
        let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
        let Some(parent) = status.lines().find_map(|line| line.strip_prefix("PPid:")) else {
            return false;
        };
        // The kernel shows the environment that the process was executed with.
        let Ok(environment) = fs::read(format!("/proc/{}/environ", parent.trim())) else {
            return false;
        };
        let variable = format!("{VARIABLE}={self}");
        environment.split(|byte| *byte == 0).any(|theirs| theirs == variable.as_bytes())
    }
}

/// Writes the value of the variable.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Function => "function",
            Role::Program => "program",
        };
        let FileId { device, inode } = self.executable;
        write!(
            f,
            "{role}:{}:{}:{}:{:x}:{device}:{inode}",
            self.fd, self.nonce, self.chain_length, self.library
        )
    }
}

/// Removes the variable from the environment.
fn remove_variable() {
    // SAFETY: `init` is the first line of main, and `parent` is called early. If other threads run
    // nevertheless, Rust's own accesses to the environment share a lock with this call. Removing a
    // variable, unlike changing it, frees no memory that C code may be reading.
    unsafe { std::env::remove_var(VARIABLE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_what_the_variable_says() {
        for mark in [
            Mark::of_function(7, Nonce::new(), Path::new(SELF_EXE)).unwrap(),
            Mark::of_program(7, Nonce::new(), 3),
        ] {
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        }
    }

    #[test]
    fn what_is_no_mark_is_none() {
        for value in [
            "",
            "function",
            "function:7",
            "function:-1:0:0:0:0:0",
            "other:7:0:0:0:0:0",
            "program:7:x:0:0:0:0",
            "function:7:0:0:0:0:",
        ] {
            assert_eq!(Mark::parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn the_executable_is_told_from_others() {
        assert!(FileId::of(SELF_EXE).unwrap().is_ours().unwrap());
        assert!(!FileId::of("/").unwrap().is_ours().unwrap());
    }
}
