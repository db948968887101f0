//! Wraps a descriptor, and remembers which file it was opened for.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::fstat;

/// Holds a descriptor, and remembers which file it was opened for.
///
/// Device and inode identify the file. Each socket has its own inode, and so has each process
/// descriptor since Linux 6.9. All epolls, eventfds and older process descriptors share one inode,
/// so that one of these cannot be told from another.
///
/// A check does not bind the future: before the descriptor is used, another thread of the program
/// can close the number and open another file there.
pub(crate) struct Descriptor<T: AsFd = OwnedFd> {
    fd: ManuallyDrop<T>,
    /// Device and inode. `None` if the system does not tell them, as in a sandbox that the program
    /// has entered.
    file: Option<(u64, u64)>,
}

/// Returns device and inode of a file, or `None` if the system does not tell them.
///
/// # Errors
///
/// `EBADF` if no file is open at the number.
fn file_of(fd: BorrowedFd<'_>) -> io::Result<Option<(u64, u64)>> {
    match fstat(fd) {
        // Both have 64 bits on some targets, and fewer on others.
        #[allow(clippy::useless_conversion, reason = "the types differ between targets")]
        Ok(stat) => Ok(Some((stat.st_dev.into(), stat.st_ino.into()))),
        Err(nix::Error::EBADF) => Err(nix::Error::EBADF.into()),
        Err(_) => match fcntl(fd, FcntlArg::F_GETFD) {
            Err(nix::Error::EBADF) => Err(nix::Error::EBADF.into()),
            _ => Ok(None),
        },
    }
}

impl<T: AsFd> Descriptor<T> {
    /// Wraps an open descriptor.
    pub(crate) fn new(fd: T) -> io::Result<Descriptor<T>> {
        let file = file_of(fd.as_fd())?;
        Ok(Descriptor { fd: ManuallyDrop::new(fd), file })
    }

    /// Returns `true` if the number still stands for the file that it was opened for. Where the
    /// system does not tell, any open file counts.
    pub(crate) fn is_intact(&self) -> bool {
        let is_known = |file: Option<_>| file.zip(self.file).is_none_or(|(now, then)| now == then);
        file_of(self.fd.as_fd()).is_ok_and(is_known)
    }

    /// Forgets the number without closing it. For a file that the program has closed already.
    pub(crate) fn abandon(self) {
        std::mem::forget(self);
    }
}

impl<T: AsFd> Deref for Descriptor<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.fd
    }
}

impl<T: AsFd> AsFd for Descriptor<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Descriptor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fd.fmt(f)
    }
}

impl<T: AsFd> Drop for Descriptor<T> {
    /// Closes the file, unless the program has closed it: then the number may be another file's.
    fn drop(&mut self) {
        let is_intact = self.is_intact();
        // SAFETY: `fd` is taken once, here, where the value ends.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        if is_intact {
            drop(fd);
        } else {
            std::mem::forget(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_number_that_was_reused_is_left_alone() {
        let (ours, theirs) = io::pipe().unwrap();
        let descriptor = Descriptor::new(OwnedFd::from(ours)).unwrap();
        assert!(descriptor.is_intact());
        let number = descriptor.as_fd().as_raw_fd();
        // As a program that closes the number and then opens a file.
        let other = File::open("/dev/null").unwrap();
        // SAFETY: takes two numbers; the replaced number is used through `descriptor` only.
        assert_eq!(unsafe { libc::dup3(other.as_raw_fd(), number, libc::O_CLOEXEC) }, number);
        assert!(!descriptor.is_intact());
        drop(descriptor);
        // SAFETY: the number is open, and nothing else closes it: `descriptor` has left it alone.
        let there = unsafe { BorrowedFd::borrow_raw(number) };
        assert_eq!(file_of(there).unwrap(), file_of(other.as_fd()).unwrap());
        // SAFETY: opened by `dup3` above.
        drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) });
        drop(theirs);
    }
}
