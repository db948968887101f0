//! Descriptors that the rest of the program may close, although they are the library's.
//!
//! Daemons and sandboxes close every descriptor above the standard streams, by `close_range(2)` or
//! by a loop. The kernel then gives the same numbers to the next files that the program opens. So a
//! number alone does not say that the file behind it is still the library's.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::fstat;

/// A descriptor that remembers which file it was opened for.
///
/// The file is told by its device and inode. Sockets have an inode of their own each, and so have
/// process descriptors since Linux 6.9. Epolls, eventfds, and older process descriptors share one:
/// one of these is not told from another. Between the look and the use, another thread of the
/// program can still close the number and open another file there.
pub(crate) struct Descriptor<T: AsFd = OwnedFd> {
    fd: ManuallyDrop<T>,
    /// `None` if the system refuses to tell, as in a sandbox that the program has entered.
    file: Option<(u64, u64)>,
}

/// # Errors
///
/// `EBADF` if the number stands for no file.
fn file_of(fd: BorrowedFd<'_>) -> io::Result<Option<(u64, u64)>> {
    match fstat(fd) {
        // Both are of 64 bits on some targets, and narrower on others.
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
    pub(crate) fn new(fd: T) -> io::Result<Descriptor<T>> {
        let file = file_of(fd.as_fd())?;
        Ok(Descriptor { fd: ManuallyDrop::new(fd), file })
    }

    /// Returns `true` if the number still stands for the file that it was opened for, as far as the
    /// system tells.
    pub(crate) fn is_intact(&self) -> bool {
        let is_known = |file: Option<_>| file.zip(self.file).is_none_or(|(now, then)| now == then);
        file_of(self.fd.as_fd()).is_ok_and(is_known)
    }

    /// Lets go of the number without closing it: the program has closed the file already.
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
    /// Closes the file, unless the program has: the number may be another file's by now.
    fn drop(&mut self) {
        let is_intact = self.is_intact();
        // SAFETY: taken once, here, where the value ends.
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
        // Puts another file there, as a program does that closes the number and opens a file.
        let other = File::open("/dev/null").unwrap();
        // SAFETY: takes two numbers; the one that is replaced is used through `descriptor` only.
        assert_eq!(unsafe { libc::dup3(other.as_raw_fd(), number, libc::O_CLOEXEC) }, number);
        assert!(!descriptor.is_intact());
        drop(descriptor);
        // SAFETY: the number is open, and nothing else closes it: it was left alone.
        let there = unsafe { BorrowedFd::borrow_raw(number) };
        assert_eq!(file_of(there).unwrap(), file_of(other.as_fd()).unwrap());
        // SAFETY: opened by `dup3` above.
        drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) });
        drop(theirs);
    }
}
