//! The machine: which CPUs there are, who runs where, and whether the others are quiet.

use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::Result;

pub(crate) struct Host {
    cpus: Vec<usize>,
}

impl Host {
    pub(crate) fn look() -> Result<Host> {
        let usable = sched_getaffinity(Pid::from_raw(0))?;
        let cpus = (0..CpuSet::count()).filter(|&cpu| usable.is_set(cpu).unwrap_or(false)).collect();
        Ok(Host { cpus })
    }

    /// Whether two processes can run at the same time.
    pub(crate) fn two_cpus(&self) -> bool {
        self.cpus.len() > 1
    }

    /// The CPU of this process and that of the peers.
    pub(crate) fn pinned(&self) -> Option<(usize, usize)> {
        match self.cpus[..] {
            [near, far, ..] => Some((near, far)),
            _ => None,
        }
    }

    /// Pins this thread and the main threads of `peers`, where there are two CPUs for them.
    pub(crate) fn pin(&self, peers: &[u32]) -> Result<()> {
        if let Some((near, far)) = self.pinned() {
            pin(0, near)?;
            for &peer in peers {
                pin(peer, far)?;
            }
        }
        Ok(())
    }

    pub(crate) fn describe(&self) -> String {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown model", |(_, model)| model);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let pinning = match self.pinned() {
            Some((near, far)) if siblings(near, far) => {
                format!("parent on CPU {near}, peers on CPU {far}, two threads of one core")
            }
            Some((near, far)) => format!("parent on CPU {near}, peers on CPU {far}"),
            None => "none: ONE usable CPU, the sides cannot run at the same time, so that every row \
                     measures switching between processes"
                .to_owned(),
        };
        let build = if cfg!(debug_assertions) { "build    UNOPTIMISED, the figures mean nothing\n" } else { "" };
        format!(
            "machine  {model}, {} usable CPU(s), {}\nkernel   Linux {}\npinning  {pinning}\n{build}",
            self.cpus.len(),
            std::env::consts::ARCH,
            kernel.trim(),
        )
    }
}

/// Moves a thread, or the main thread of a process, to one CPU; 0 is the calling thread.
pub(crate) fn pin(id: u32, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(id.cast_signed()), &set).map_err(|error| format!("cannot pin process {id} to CPU {cpu}: {error}"))?;
    Ok(())
}

fn siblings(one: usize, other: usize) -> bool {
    let core = |cpu: usize| fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    matches!((core(one), core(other)), (Ok(one), Ok(other)) if one == other)
}

/// Returns once no thread of `peers` runs or wants to: what is measured next has both CPUs to itself.
pub(crate) fn settle(peers: &[u32]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    for &peer in peers {
        while runs(peer)? {
            if Instant::now() > deadline {
                return Err(format!("process {peer} does not go to sleep while it has nothing to do").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Processor time used so far, in clock ticks.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    whole_machine: u64,
    ours: u64,
    start: Instant,
}

impl Usage {
    /// Of everything, and of this process and `peers`.
    pub(crate) fn of(peers: &[u32]) -> Result<Usage> {
        let times = |fields: &str, places: &[usize]| -> u64 {
            let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            places.iter().filter_map(|&place| fields.get(place)).sum()
        };
        // The first line is the sum over the CPUs: user, nice, system, (idle, waiting,) interrupts, and what the host took away.
        let whole_machine = times(fs::read_to_string("/proc/stat")?.lines().next().unwrap_or_default(), &[1, 2, 3, 6, 7, 8]);
        let mut ours = 0;
        for process in peers.iter().copied().chain([std::process::id()]) {
            let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
            // After the name and the state: user and system.
            ours += stat.rsplit_once(") ").map_or(0, |(_, rest)| times(rest, &[11, 12]));
        }
        Ok(Usage { whole_machine, ours, start: Instant::now() })
    }

    /// How many CPUs, on average, were busy with something else since `earlier`, or taken away by the host.
    pub(crate) fn others_since(&self, earlier: Usage) -> f64 {
        const TICKS: f64 = 100.0; // a second, in every file of /proc on every architecture we know
        let others = (self.whole_machine - earlier.whole_machine) as f64 - (self.ours - earlier.ours) as f64;
        (others / TICKS / self.start.duration_since(earlier.start).as_secs_f64()).max(0.0)
    }
}

fn runs(peer: u32) -> Result<bool> {
    let tasks = fs::read_dir(format!("/proc/{peer}/task")).map_err(|error| format!("process {peer} is gone: {error}"))?;
    for task in tasks {
        match fs::read_to_string(task?.path().join("stat")) {
            // The state follows the name, which stands in parentheses and may itself hold any character.
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
