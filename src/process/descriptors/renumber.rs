//! Moves descriptors to numbers that no standard stream has.
//!
//! A program that was started without some of its streams would print to the files that have their
//! numbers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};

/// Is the limit on descriptors that a process has by default. A number above the limit would
/// enlarge the process's table of files.
const USUAL_LIMIT: libc::rlim_t = 1024;

/// Copies a descriptor to a number above the standard streams. The copy is close-on-exec.
pub(crate) fn copy_above_streams(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Returns the descriptor itself, or a copy if the number is that of a standard stream.
pub(crate) fn move_above_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO { Ok(fd) } else { copy_above_streams(fd.as_fd()) }
}

/// Moves the descriptor to a high number, or above the standard streams if no high one is free.
///
/// The kernel gives new files the lowest free numbers. So a program that has closed all descriptors
/// does not reuse a high number soon.
pub(crate) fn move_far_up(fd: OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: all zeros is a valid rlimit: numbers.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to `limit`, which outlives the call, and to nothing else.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let limit = limit.rlim_cur.min(USUAL_LIMIT);
    let least = RawFd::try_from(limit.saturating_sub(limit / 16)).unwrap_or(0);
    match fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(least.max(libc::STDERR_FILENO + 1))) {
        // SAFETY: the kernel has just made this descriptor for us, and nothing else knows of it.
        Ok(copy) => Ok(unsafe { OwnedFd::from_raw_fd(copy) }),
        Err(_) => move_above_streams(fd),
    }
}
