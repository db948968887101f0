//! The machine: which CPUs there are, which process runs where, and what else runs.

mod load;

use std::fs;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::{Error, Result};

pub(crate) use load::{Usage, settle};

/// Holds the CPUs that this process may use.
#[derive(Debug)]
pub struct Host {
    cpus: Vec<usize>,
}

impl Host {
    /// Asks the kernel for the usable CPUs, once: later changes are not seen.
    ///
    /// # Errors
    ///
    /// The kernel does not tell.
    pub fn look() -> Result<Host> {
        let usable = sched_getaffinity(Pid::from_raw(0))?;
        let cpus =
            (0..CpuSet::count()).filter(|&cpu| usable.is_set(cpu).unwrap_or(false)).collect();
        Ok(Host { cpus })
    }

    /// Returns the CPUs that may be used.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Returns `true` if two processes can run at the same time.
    pub fn two_cpus(&self) -> bool {
        self.cpus.len() > 1
    }

    /// Returns the CPU of this process and the CPU of the peers, if there are two.
    pub fn pinned(&self) -> Option<(usize, usize)> {
        match self.cpus[..] {
            [near, far, ..] => Some((near, far)),
            _ => None,
        }
    }

    /// Pins this thread and the main threads of `peers`, if there are two CPUs.
    ///
    /// Call this once the peers have started: a process that starts with one usable CPU does not
    /// spin.
    ///
    /// # Errors
    ///
    /// A peer is gone.
    pub fn pin(&self, peers: &[u32]) -> Result<()> {
        if let Some((near, far)) = self.pinned() {
            pin(0, near)?;
            for &peer in peers {
                pin(peer, far)?;
            }
        }
        Ok(())
    }

    /// Lets a thread run on every CPU again: the main thread of the process `id`, or this thread if
    /// `id` is 0.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn release(&self, id: u32) -> Result<()> {
        set_affinity(id, &self.cpus)
    }

    /// Describes the machine, for the head of a report: names and values.
    pub fn describe(&self) -> [(&'static str, String); 4] {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown model", |(_, model)| model);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let pinning = match self.pinned() {
            Some((near, far)) if siblings(near, far) => {
                format!("parent on CPU {near}, peers on CPU {far}, two threads of one core")
            }
            Some((near, far)) => format!("parent on CPU {near}, peers on CPU {far}"),
            None => {
                "none: ONE usable CPU, the sides cannot run at the same time, so that every row \
                 measures switching between processes"
                    .to_owned()
            }
        };
        [
            (
                "machine",
                format!("{model}, {} usable CPU(s), {}", self.cpus.len(), std::env::consts::ARCH),
            ),
            ("kernel", format!("Linux {}", kernel.trim())),
            ("pinning", pinning),
            (
                "clock",
                format!(
                    "{:.0} ns for a reading, which is in every percentile",
                    clock_reading().as_secs_f64() * 1e9
                ),
            ),
        ]
    }
}

/// Moves a thread to one CPU: the main thread of the process `id`, or the calling thread if `id` is
/// 0.
///
/// # Errors
///
/// The process is gone, or may not use that CPU.
pub fn pin(id: u32, cpu: usize) -> Result<()> {
    set_affinity(id, &[cpu])
}

fn set_affinity(id: u32, cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu)?;
    }
    sched_setaffinity(Pid::from_raw(id.cast_signed()), &set).map_err(|error| -> Error {
        format!("cannot pin process {id} to CPUs {cpus:?}: {error}").into()
    })
}

fn siblings(one: usize, other: usize) -> bool {
    let core = |cpu: usize| {
        fs::read_to_string(format!(
            "/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        ))
    };
    matches!((core(one), core(other)), (Ok(one), Ok(other)) if one == other)
}

fn clock_reading() -> Duration {
    const READINGS: u32 = 10_000;
    let start = Instant::now();
    let mut last = start;
    for _ in 0..READINGS {
        last = std::hint::black_box(Instant::now());
    }
    last.duration_since(start) / READINGS
}
