//! Counts one path: starts the worker under valgrind and plays its parent.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use coprocess::Builder;
use coprocess_bench::Result;

use crate::callgrind;
use crate::paths::{COUNT, Path};
use crate::turns::Host;

/// Bounds the start and the end of a worker, which is slow under valgrind.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sizes each ring: space for all that is sent and not read, in bytes.
const RING: usize = 8 << 20;

/// Counts the instructions per message of a path. The profile goes to the directory `profiles`.
///
/// # Errors
///
/// The worker cannot be started, fails, or counts nothing.
pub(crate) fn measure(path: &Path, profiles: &std::path::Path) -> Result<f64> {
    let profile = callgrind::profile(profiles, path.name);
    let log = callgrind::log(&profile);
    count(path, &profile)
        .map_err(|error| format!("{}: {error}; see also {}", path.name, log.display()).into())
}

fn count(path: &Path, profile: &std::path::Path) -> Result<f64> {
    // The profile of an earlier run must not be taken for the profile of this run.
    match fs::remove_file(profile) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let host = Host::new()?;
    let builder = Builder::new().ring_capacity(RING).fork_timeout(PATIENCE).close_timeout(PATIENCE);
    let co = builder.env(callgrind::PROFILE_VARIABLE, profile).fork(path.worker)?;
    host.serve(&co, (path.parent)(&co))?;
    match co.close()? {
        Some(status) if status.success() => {}
        status => return Err(format!("the counted worker ended with {status:?}").into()),
    }
    let total = callgrind::total(profile)?;
    Ok(total as f64 / f64::from(COUNT))
}
