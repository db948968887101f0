//! What runs besides the measured processes, and whether the peers sleep.

use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// Holds processor time used so far, in clock ticks: of the whole machine, and of this process, its
/// ended children and the peers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    whole_machine: u64,
    ours: u64,
    at: Instant,
}

impl Usage {
    /// Reads what was used so far.
    ///
    /// # Errors
    ///
    /// A peer is gone.
    pub(crate) fn of(peers: &[u32]) -> Result<Usage> {
        let times = |fields: &str, places: &[usize]| -> u64 {
            let fields: Vec<u64> =
                fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            places.iter().filter_map(|&place| fields.get(place)).sum()
        };
        // The first line is the sum over the CPUs: user, nice, system, (idle, waiting,) interrupts,
        // and what the host took away.
        let whole_machine = times(
            fs::read_to_string("/proc/stat")?.lines().next().unwrap_or_default(),
            &[1, 2, 3, 6, 7, 8],
        );
        let mut ours = 0;
        for process in peers.iter().copied().chain([std::process::id()]) {
            let stat = fs::read_to_string(format!("/proc/{process}/stat"))
                .map_err(|error| format!("process {process}: {error}"))?;
            // After the name and the state: user and system time, of the process and of the
            // children that it has waited for.
            ours += stat.rsplit_once(") ").map_or(0, |(_, rest)| times(rest, &[11, 12, 13, 14]));
        }
        Ok(Usage { whole_machine, ours, at: Instant::now() })
    }

    /// Returns how many CPUs, on average, were busy with something else since `earlier`, or taken
    /// away by the host.
    pub(crate) fn others_since(&self, earlier: Usage) -> f64 {
        // Ticks of a second, in every file of /proc on every known architecture.
        const TICKS: f64 = 100.0;
        let others =
            (self.whole_machine - earlier.whole_machine) as f64 - (self.ours - earlier.ours) as f64;
        (others / TICKS / self.at.duration_since(earlier.at).as_secs_f64()).max(0.0)
    }
}

/// Blocks until no thread of `peers` runs or wants to, so that what is measured next has the CPUs
/// to itself.
///
/// # Errors
///
/// A peer has ended, or does not go to sleep.
pub(crate) fn settle(peers: &[u32]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    for &peer in peers {
        while runs(peer)? {
            if Instant::now() > deadline {
                return Err(format!(
                    "process {peer} does not go to sleep while it has nothing to do"
                )
                .into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Returns `true` if a thread of the process runs or wants to.
fn runs(peer: u32) -> Result<bool> {
    let tasks = fs::read_dir(format!("/proc/{peer}/task"))
        .map_err(|error| format!("process {peer} is gone: {error}"))?;
    for task in tasks {
        match fs::read_to_string(task?.path().join("stat")) {
            // The state follows the name, which is in parentheses and may hold any character.
            Ok(stat) => match stat.rsplit_once(") ") {
                Some((_, rest)) if rest.starts_with('R') => return Ok(true),
                Some((_, rest)) if rest.starts_with(['Z', 'X']) => {
                    return Err(format!("process {peer} has ended").into());
                }
                _ => {}
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {} // the thread ended meanwhile
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}
