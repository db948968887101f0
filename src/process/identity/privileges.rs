//! Secure execution: a program that gains rights by being executed is told by the kernel not to trust
//! its environment, and so cannot be told by it that it is a worker.
//!
//! With file capabilities an attacker and the parent are the same user: the worker function, and its
//! arguments, would be the attacker's choice. A set-user-ID program could look at the user who made
//! the other end of its socket. But the kernel tells who made an end, not who sends: a connection to
//! a service of root would do for an attacker who makes that service say the right bytes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::unistd::{getegid, geteuid, getgid, getuid};

use crate::process::identity::executable::ITSELF;

/// Whether this process was executed with other rights than its caller has.
pub(crate) fn is_secure() -> bool {
    // SAFETY: reads a number that the kernel gave this process when it was executed.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Whether this program, executed by this process now, is sure to be executed so. Where only the
/// kernel knows, such as where a security module decides, the worker finds out and says so.
pub(crate) fn worker_is_secure() -> bool {
    // The system call compares the effective user with the real one of before.
    if getuid() != geteuid() || getgid() != getegid() {
        return true;
    }
    // What the file gave this process, it gives the worker again, unless this process renounced it, or
    // has it by itself now.
    is_secure() && !nix::sys::prctl::get_no_new_privs().unwrap_or(false) && file_gives_rights()
}

fn file_gives_rights() -> bool {
    let (user, group) = (getuid(), getgid());
    let gives_ids = |file: fs::Metadata| {
        let mode = file.permissions().mode();
        mode & libc::S_ISUID != 0 && file.uid() != user.as_raw() || mode & libc::S_ISGID != 0 && file.gid() != group.as_raw()
    };
    if fs::metadata(ITSELF).is_ok_and(gives_ids) {
        return true;
    }
    // Root has all capabilities.
    if user.is_root() {
        return false;
    }
    // SAFETY: both are C strings; with a size of zero nothing is written through the null pointer.
    let size = unsafe { libc::getxattr(c"/proc/self/exe".as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    size > 0
}
