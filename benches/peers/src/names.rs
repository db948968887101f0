//! Names what some peers leave in the file system. All names begin alike, so that they can be found
//! and removed.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use coprocess_bench::Result;

const PREFIX: &str = "coprocess-bench-";

/// Makes a name of something that belongs to this run, a new one at each call.
pub(crate) fn name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}{}-{what}-{}", process::id(), COUNT.fetch_add(1, Relaxed))
}

/// Returns the path of a socket or directory of that name.
pub(crate) fn path(name: &str) -> PathBuf {
    env::temp_dir().join(name)
}

/// Removes what has a name of this run, or of a run whose process is gone.
pub(crate) fn sweep() -> Result<()> {
    for place in [Path::new("/dev/shm"), &env::temp_dir()] {
        let entries = match fs::read_dir(place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(
                    format!("cannot look for leftovers in {}: {error}", place.display()).into()
                );
            }
        };
        for entry in entries {
            let entry = entry?;
            if owner(&entry.file_name()).is_some_and(|owner| {
                owner == process::id() || !Path::new("/proc").join(owner.to_string()).exists()
            }) {
                remove(&entry.path()).map_err(|error| {
                    format!("cannot remove {}: {error}", entry.path().display())
                })?;
            }
        }
    }
    Ok(())
}

/// Returns the process that a name belongs to, if the name begins as those of a run do.
fn owner(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()), // its owner removed it before
        other => other,
    }
}
