//! Detects secure execution, in which a process must not become a worker.
//!
//! When a program gains rights by being executed, the kernel tells it not to trust its environment.
//! The environment is what tells a process that it is a worker.
//!
//! With file capabilities, attacker and parent can be one user: the attacker would choose the
//! worker function and its arguments. A set-user-ID program could check the user who created the
//! other end of its socket. But the kernel tells the creator of an end, not the sender of a
//! message. An attacker could connect to a service of root, and make that service send the right
//! bytes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::unistd::{getegid, geteuid, getgid, getuid};

use crate::process::identity::executable::SELF_EXE;

/// Returns `true` if this process was executed with other rights than its caller had.
pub(crate) fn is_secure() -> bool {
    // SAFETY: reads a number that the kernel gave this process when it was executed.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Returns `true` if a worker that this process starts now would certainly run in secure execution.
///
/// Sometimes only the kernel knows, such as where a security module decides. Then the worker finds
/// out, and tells its parent.
pub(crate) fn worker_is_secure() -> bool {
    // At exec, the kernel compares the new effective user with the previous real user.
    if getuid() != geteuid() || getgid() != getegid() {
        return true;
    }
    // The rights that the file gave this process, it gives the worker again, unless this process
    // has renounced them, or now has them by itself.
    is_secure() && !nix::sys::prctl::get_no_new_privs().unwrap_or(false) && file_gives_rights()
}

/// Returns `true` if executing the program's file would give this process further rights.
fn file_gives_rights() -> bool {
    let (user, group) = (getuid(), getgid());
    let gives_ids = |file: fs::Metadata| {
        let mode = file.permissions().mode();
        mode & libc::S_ISUID != 0 && file.uid() != user.as_raw()
            || mode & libc::S_ISGID != 0 && file.gid() != group.as_raw()
    };
    if fs::metadata(SELF_EXE).is_ok_and(gives_ids) {
        return true;
    }
    // Root has all capabilities already.
    if user.is_root() {
        return false;
    }
    // SAFETY: both names are C strings. With a size of zero, the kernel writes nothing through the
    // null pointer.
    let size = unsafe {
        libc::getxattr(
            c"/proc/self/exe".as_ptr(),
            c"security.capability".as_ptr(),
            std::ptr::null_mut(),
            0,
        )
    };
    size > 0
}
