//! Finds out whether two processes can run at the same time.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// Returns `true` if this process and `peer` can run at the same time, by their sets of processors
/// and, where that decides, by `quota`.
pub(super) fn can_run_at_once(peer: Option<Pid>, quota: impl FnOnce() -> bool) -> bool {
    let count =
        |set: &CpuSet| (0..CpuSet::count()).filter(|&i| set.is_set(i).unwrap_or(false)).count();
    let Ok(own) = sched_getaffinity(Pid::from_raw(0)) else {
        return false;
    };
    if count(&own) >= 2 {
        return quota();
    }
    // One processor is this process's. It is enough if the peer has another.
    let Some(Ok(theirs)) = peer.map(sched_getaffinity) else {
        return false;
    };
    (0..CpuSet::count())
        .any(|i| theirs.is_set(i).unwrap_or(false) && !own.is_set(i).unwrap_or(true))
}
