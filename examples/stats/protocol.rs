//! What travels between the two processes: the names, and the types behind them.
//!
//! Counters are sent as the kernel keeps them, as totals since boot. Rates are the receiver's business, so a round
//! that comes late, or not at all, spoils none.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Event, worker to parent: a [`Batch`].
pub(crate) const BATCH: &str = "batch";
/// Call: `u32` rounds per second, up to [`MAX_RATE`], from now on. Answers `()`. The first one starts the sampling.
pub(crate) const SET_RATE: &str = "set_rate";
/// Call: `u32`, how many. Answers the busiest processes, `Vec<Usage>`.
pub(crate) const TOP: &str = "top";
/// Call: `()`. Takes a last round, stops the sampling, and answers the [`Totals`].
pub(crate) const STOP: &str = "stop";

/// The highest rate that the worker accepts, in rounds per second.
pub(crate) const MAX_RATE: u32 = 2_000;

/// One round of sampling. What this machine or container does not offer is `None`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// Counts from 0, without a gap.
    pub(crate) number: u64,
    /// When the round was taken, since the worker began.
    pub(crate) at: Duration,
    pub(crate) cpus: Option<Cpus>,
    pub(crate) memory: Option<Memory>,
    /// The load average of the last minute.
    pub(crate) load: Option<f32>,
    pub(crate) disks: Option<Vec<Traffic>>,
    pub(crate) networks: Option<Vec<Traffic>>,
    pub(crate) processes: Option<Vec<Process>>,
}

/// The processors' times, in clock ticks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cpus {
    pub(crate) all: CpuTime,
    /// By the kernel's number of the processor; one that is offline is missing.
    pub(crate) each: Vec<(u32, CpuTime)>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct CpuTime {
    pub(crate) user: u64,
    /// The kernel's own work, interrupts included.
    pub(crate) system: u64,
    /// Taken by the hypervisor for other machines.
    pub(crate) steal: u64,
    /// Waiting for I/O included.
    pub(crate) idle: u64,
}

/// In bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) available: u64,
    pub(crate) swap_total: u64,
    pub(crate) swap_free: u64,
}

/// What one device has moved, in bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) device: String,
    /// Read from the disk, or received from the network.
    pub(crate) inward: u64,
    /// Written to the disk, or sent to the network.
    pub(crate) outward: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) name: String,
    /// Clock ticks spent in user and kernel mode.
    pub(crate) ticks: u64,
    /// Bytes of memory in use.
    pub(crate) resident: u64,
}

/// A process, told from a later one to which the kernel gave the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Clock ticks after boot.
    pub(crate) started: u64,
}

/// What a process uses now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) pid: i32,
    pub(crate) name: String,
    /// Of one processor.
    pub(crate) cpu_percent: f64,
    pub(crate) resident: u64,
}

/// What the worker has done, told when it stops.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Batches sent.
    pub(crate) batches: u64,
    /// Rounds left out, because an earlier one took too long.
    pub(crate) skipped: u64,
}
