//! What travels between the two processes: the names, and the types behind them.
//!
//! The worker sends counters as the kernel keeps them, as totals since boot. The receiver computes
//! the rates, so a round that is late or missing spoils no rate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Event from worker to parent: a [`Batch`].
pub(crate) const BATCH: &str = "batch";
/// Call: `u32` rounds per second, up to [`MAX_RATE`], from now on. Returns `()`. The first call
/// starts the sampling.
pub(crate) const SET_RATE: &str = "set_rate";
/// Call: `u32`, the number of processes. Returns the busiest processes, `Vec<Usage>`.
pub(crate) const TOP: &str = "top";
/// Call: `()`. Takes a last round, stops the sampling, and returns the [`Totals`].
pub(crate) const STOP: &str = "stop";

/// The highest rate that the worker accepts, in rounds per second.
pub(crate) const MAX_RATE: u32 = 2_000;

/// One round of sampling. A field is `None` if this machine or container does not offer it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// The number of the round: counts from 0, without a gap.
    pub(crate) number: u64,
    /// The time of the round, since the start of the worker.
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
    /// Times by the kernel's number of the processor. A processor that is offline is missing.
    pub(crate) each: Vec<(u32, CpuTime)>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct CpuTime {
    pub(crate) user: u64,
    /// Time of the kernel's own work, interrupts included.
    pub(crate) system: u64,
    /// Time that the hypervisor has taken for other machines.
    pub(crate) steal: u64,
    /// Idle time, waiting for I/O included.
    pub(crate) idle: u64,
}

/// The memory of the machine, in bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) available: u64,
    pub(crate) swap_total: u64,
    pub(crate) swap_free: u64,
}

/// The traffic of one device since boot, in bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) device: String,
    /// Bytes read from the disk, or received from the network.
    pub(crate) inward: u64,
    /// Bytes written to the disk, or sent to the network.
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

/// Identifies a process: the start time tells it from a later process with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// The start time, in clock ticks after boot.
    pub(crate) started: u64,
}

/// The present usage of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) pid: i32,
    pub(crate) name: String,
    /// Percent of one processor.
    pub(crate) cpu_percent: f64,
    pub(crate) resident: u64,
}

/// What the worker has done, as it reports when it stops.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Number of batches sent.
    pub(crate) batches: u64,
    /// Number of rounds left out because an earlier round took too long.
    pub(crate) skipped: u64,
}
