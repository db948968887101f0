//! One path: a worker that is counted, and its parent.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use coprocess::Builder;
use coprocess_bench::Result;
use coprocess_bench::budget::Figure;

use crate::callgrind;
use crate::paths::{COUNT, Path};
use crate::turns::Host;

/// Under valgrind everything takes its time, the start most of all.
const PATIENCE: Duration = Duration::from_secs(60);
/// Room for all that is sent and not read.
const RING: usize = 8 << 20;

/// Counts the instructions of a path.
///
/// # Errors
///
/// The worker cannot be started, fails, or counts nothing.
pub(crate) fn measure(path: &Path) -> Result<Figure> {
    let profile = callgrind::profile(path.name)?;
    let log = callgrind::log(&profile);
    count(path, &profile).map_err(|error| format!("{}: {error}; see also {}", path.name, log.display()).into())
}

fn count(path: &Path, profile: &std::path::Path) -> Result<Figure> {
    // That of an earlier run must not be taken for this one's.
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
    Ok(Figure { path: path.name.to_owned(), instructions: total as f64 / f64::from(COUNT) })
}
