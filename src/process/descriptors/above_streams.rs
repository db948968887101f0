//! Descriptors at numbers that no standard stream has: a program that was started without some of its streams would print to them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};

/// A copy of a descriptor, close-on-exec.
pub(crate) fn copied(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The descriptor itself, if it can stay where it is, or a copy.
pub(crate) fn moved(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO { Ok(fd) } else { copied(fd.as_fd()) }
}

/// The most numbers that a process has by default. A higher one would make its table of files larger.
const USUAL_LIMIT: libc::rlim_t = 1024;

/// The descriptor at a number that the program does not reuse soon after it has closed all: the
/// kernel gives new files the lowest that are free. If there is none, the lowest possible one.
pub(crate) fn far_above(fd: OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: all zeros is a valid rlimit: numbers.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to `limit`, which outlives the call, and to nothing else.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let limit = limit.rlim_cur.min(USUAL_LIMIT);
    let least = RawFd::try_from(limit.saturating_sub(limit / 16)).unwrap_or(0);
    match fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(least.max(libc::STDERR_FILENO + 1))) {
        // SAFETY: the kernel has just made this descriptor for us, and nothing else knows of it.
        Ok(copy) => Ok(unsafe { OwnedFd::from_raw_fd(copy) }),
        Err(_) => moved(fd),
    }
}
