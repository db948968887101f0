//! System calls about a process: by its process descriptor (pidfd), or, for a child, by its number.
//!
//! A process descriptor is readable once the process has ended, and immune to the reuse of process
//! ids.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

/// Opens a process descriptor for `pid`, close-on-exec.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process. Succeeds if the process has ended.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    // SAFETY: takes a descriptor, two integers and a null pointer, and touches no memory of ours.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as i32,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

/// Reaps the process, and returns its exit status, or `None` if the process has not ended.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    let id = libc::id_t::try_from(pidfd.as_raw_fd())
        .map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    let info = wait_id(libc::P_PIDFD, id, libc::WNOHANG)?;
    // SAFETY: waitid fills this field in, or leaves the zero.
    if unsafe { info.si_pid() } == 0 {
        return Ok(None);
    }
    // SAFETY: the process has ended, so waitid has filled this field in.
    let status = unsafe { info.si_status() };
    // The encoding of wait(2).
    Ok(Some(ExitStatus::from_raw(match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    })))
}

/// Reaps a child by its number, as [`reap`] does by its descriptor.
pub(crate) fn reap_by_number(id: u32) -> io::Result<Option<ExitStatus>> {
    let mut status = 0;
    // SAFETY: the kernel writes to `status`, which outlives the call, and to nothing else.
    match unsafe { libc::waitpid(id.cast_signed(), &mut status, libc::WNOHANG) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some(ExitStatus::from_raw(status))),
    }
}

/// Waits until a child has ended, without reaping it.
///
/// # Blocking
///
/// Until the child has ended, or other code has reaped it.
pub(crate) fn wait_for_end(id: u32) {
    while let Err(error) = wait_id(libc::P_PID, id, libc::WNOWAIT) {
        if error.kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Returns `false` if this process has no child of that number. Then other code has reaped the
/// child.
pub(crate) fn is_child(id: u32) -> bool {
    let looked = wait_id(libc::P_PID, id, libc::WNOWAIT | libc::WNOHANG);
    !looked.is_err_and(|error| error.raw_os_error() == Some(libc::ECHILD))
}

/// Calls waitid(2). Not through nix, whose `waitid` does not know the real-time signals.
fn wait_id(kind: libc::idtype_t, id: libc::id_t, flags: i32) -> io::Result<libc::siginfo_t> {
    // SAFETY: all zeros is a valid siginfo_t: numbers and null pointers.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to `info`, which outlives the call, and to nothing else.
    if unsafe { libc::waitid(kind, id, &mut info, libc::WEXITED | flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info)
}
