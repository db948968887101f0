//! Removes names that dead processes have left behind.
//!
//! The owner of a name removes it once both sides have attached, or when the owner gives up. An
//! owner that is killed before that cannot. So the name tells its creator, by three things:
//!
//! - the process id
//! - when that process was started, which tells it from a later process with the same id
//! - the namespaces in which the other two mean anything, since several containers may share
//!   `/dev/shm`
//!
//! The name holds these, not the header of the segment. The name is there from the first moment,
//! and can be read without opening a file that another process may have put there.

use std::os::unix::fs::MetadataExt;
use std::{fs, io};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

use crate::shm::named::name::{PREFIX, unlink};

/// The directory in which the system keeps the names.
const DIRECTORY: &str = "/dev/shm";

/// The process that made a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Creator {
    /// The namespace of process ids, and that of the clock by which the start is told.
    namespaces: u64,
    id: u32,
    /// When the process was started, in ticks since the system was started.
    start: u64,
}

impl Creator {
    /// Describes this process. Returns `None` if there is no /proc, or one of other process ids.
    fn this() -> Option<Creator> {
        let id = std::process::id();
        if fs::read_link("/proc/self").ok()?.to_str() != Some(&id.to_string()) {
            return None;
        }
        // The namespaces of this thread: those of the main thread cannot be read any more once the
        // main thread has ended.
        let namespace =
            |of: &str| fs::metadata(format!("/proc/thread-self/ns/{of}")).map(|n| n.ino());
        let time = match namespace("time_for_children") {
            // A kernel from before time namespaces has one time for all.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            other => other.ok()?,
        };
        Some(Creator {
            namespaces: namespace("pid").ok()? << 32 | time,
            id,
            start: Process::read(id)?.start,
        })
    }

    fn of_name(name: &str) -> Option<Creator> {
        let mut parts = name.strip_prefix(PREFIX.trim_start_matches('/'))?.split('-');
        let namespaces = u64::from_str_radix(parts.next()?, 16).ok()?;
        let (id, start) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let random = parts.next()?;
        (random.len() == 32 && parts.next().is_none()).then_some(Creator { namespaces, id, start })
    }

    /// Returns `true` if it is certain that this process has ended.
    fn is_dead(&self) -> bool {
        let Ok(id) = i32::try_from(self.id) else { return false };
        if id <= 0 {
            return false;
        }
        if kill(Pid::from_raw(id), None) == Err(Errno::ESRCH) {
            return true;
        }
        // A zombie has ended, too, and a process with another start is another process. A process
        // that cannot be looked at is left alone.
        Process::read(self.id).is_some_and(|found| found.has_ended || found.start != self.start)
    }
}

/// What /proc says of a process.
struct Process {
    has_ended: bool,
    start: u64,
}

impl Process {
    fn read(id: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name of the program may hold any characters; only numbers follow its last
        // parenthesis. The first field there is the third of proc(5).
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let is_zombie = matches!(fields.next()?, "Z" | "X");
        // A process whose main thread has ended looks like a zombie, too, as long as it has other
        // threads.
        let threads: u64 = fields.nth(16)?.parse().ok()?;
        Some(Process { has_ended: is_zombie && threads <= 1, start: fields.nth(1)?.parse().ok()? })
    }
}

/// Removes the names that can be removed, and returns the part of a name that tells its creator.
pub(super) fn remove_stale_names() -> String {
    let this = Creator::this();
    if let Some(this) = &this {
        remove_names_of_the_dead(this);
    }
    // If the creator is unknown, no process takes the name for one of a process that has ended.
    let Creator { namespaces, id, start } =
        this.unwrap_or(Creator { namespaces: 0, id: 0, start: 0 });
    format!("{namespaces:x}-{id}-{start}")
}

/// Removes the names of this user that dead processes have left.
///
/// This is tidiness: a name that cannot be removed does not keep a pair from starting.
fn remove_names_of_the_dead(this: &Creator) {
    let Ok(entries) = fs::read_dir(DIRECTORY) else { return };
    let user = geteuid().as_raw();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((name, creator)) =
            name.to_str().and_then(|name| Some((name, Creator::of_name(name)?)))
        else {
            continue;
        };
        if creator.namespaces != this.namespaces || creator == *this {
            continue;
        }
        // Not through a link, and nothing but what shm_open makes.
        let is_ours = entry.metadata().is_ok_and(|m| m.uid() == user && m.file_type().is_file());
        if is_ours && creator.is_dead() {
            // The name is random, so no process makes it anew between the look and this call.
            // Another process may have removed it.
            let _ = unlink(&format!("/{name}"));
        }
    }
}
