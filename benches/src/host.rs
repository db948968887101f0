//! The machine: which CPUs there are, who runs where, and whether the others are quiet.

use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::measure::Plan;
use crate::subject::Subject;
use crate::{Error, Result};

/// The CPUs that this process may use.
#[derive(Debug)]
pub struct Host {
    cpus: Vec<usize>,
}

impl Host {
    /// Looks which CPUs there are. Later changes are not seen.
    ///
    /// # Errors
    ///
    /// The kernel does not tell.
    pub fn look() -> Result<Host> {
        let usable = sched_getaffinity(Pid::from_raw(0))?;
        let cpus = (0..CpuSet::count()).filter(|&cpu| usable.is_set(cpu).unwrap_or(false)).collect();
        Ok(Host { cpus })
    }

    /// The CPUs that may be used.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Whether two processes can run at the same time.
    pub fn two_cpus(&self) -> bool {
        self.cpus.len() > 1
    }

    /// The CPU of this process and that of the peers, where there are two.
    pub fn pinned(&self) -> Option<(usize, usize)> {
        match self.cpus[..] {
            [near, far, ..] => Some((near, far)),
            _ => None,
        }
    }

    /// Pins this thread and the main threads of `peers`, where there are two CPUs for them. To be called when the peers have started:
    /// whoever starts with one usable CPU has every reason not to spin.
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

    /// Lets this thread, or the main thread of a process, run on every CPU again; 0 is this thread.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn release(&self, id: u32) -> Result<()> {
        set_affinity(id, &self.cpus)
    }

    /// The subject while `peer` is on the CPU of this process instead of the other one.
    pub fn on_one_cpu<'a>(&self, peer: u32, mut subject: Subject<'a>) -> Subject<'a> {
        let pinned = self.pinned();
        let (name, note, limit) = (format!("{}, one CPU", subject.name()), subject.note().to_owned(), subject.most());
        let payload = subject.carries().cloned();
        let moved = Subject::new(name, note, move |count, timing| {
            let Some((near, far)) = pinned else { return subject.run(count, timing) };
            pin(peer, near)?;
            let outcome = subject.run(count, timing);
            pin(peer, far)?;
            outcome
        });
        match payload {
            Some(payload) => moved.limit(limit).payload(format!("{}, one CPU", payload.series), payload.bytes),
            None => moved.limit(limit),
        }
    }

    /// Returns once no thread of `peers` runs or wants to: what is measured next has the CPUs to itself.
    ///
    /// # Errors
    ///
    /// One of them has ended, or does not go to sleep.
    pub fn settle(&self, peers: &[u32]) -> Result<()> {
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

    /// The processor time used so far: of everything, and of this process, its ended children and `peers`.
    ///
    /// # Errors
    ///
    /// A peer is gone.
    pub fn usage(&self, peers: &[u32]) -> Result<Usage> {
        Usage::of(peers)
    }

    /// What the figures were taken on, and how: the header of every report, as names and values.
    pub fn describe(&self, plan: &Plan) -> Vec<(&'static str, String)> {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown model", |(_, model)| model);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let pinning = match self.pinned() {
            Some((near, far)) if siblings(near, far) => {
                format!("parent on CPU {near}, peers on CPU {far}, two threads of one core")
            }
            Some((near, far)) => format!("parent on CPU {near}, peers on CPU {far}"),
            None => "none: ONE usable CPU, the sides cannot run at the same time, so that every row measures switching between processes"
                .to_owned(),
        };
        let build = if cfg!(debug_assertions) { "UNOPTIMISED, the figures mean nothing" } else { "optimised" };
        let rough = if plan.quick { "; QUICK, the figures are rough" } else { "" };
        vec![
            ("machine", format!("{model}, {} usable CPU(s), {}", self.cpus.len(), std::env::consts::ARCH)),
            ("kernel", format!("Linux {}", kernel.trim())),
            ("pinning", pinning),
            ("build", build.to_owned()),
            ("rounds", format!("{} of {:?} for each row, taking turns{rough}", plan.rounds, plan.slice)),
            ("clock", format!("{:.0} ns for a reading, which is in every percentile", clock_reading().as_secs_f64() * 1e9)),
        ]
    }
}

/// Moves a thread, or the main thread of a process, to one CPU; 0 is the calling thread.
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
    sched_setaffinity(Pid::from_raw(id.cast_signed()), &set)
        .map_err(|error| -> Error { format!("cannot pin process {id} to CPUs {cpus:?}: {error}").into() })
}

fn siblings(one: usize, other: usize) -> bool {
    let core = |cpu: usize| fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
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

/// Processor time used so far, in clock ticks.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    whole_machine: u64,
    ours: u64,
    at: Instant,
}

impl Usage {
    fn of(peers: &[u32]) -> Result<Usage> {
        let times = |fields: &str, places: &[usize]| -> u64 {
            let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            places.iter().filter_map(|&place| fields.get(place)).sum()
        };
        // The first line is the sum over the CPUs: user, nice, system, (idle, waiting,) interrupts, and what the host took away.
        let whole_machine = times(fs::read_to_string("/proc/stat")?.lines().next().unwrap_or_default(), &[1, 2, 3, 6, 7, 8]);
        let mut ours = 0;
        for process in peers.iter().copied().chain([std::process::id()]) {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).map_err(|error| format!("process {process}: {error}"))?;
            // After the name and the state: user and system, its own and those of children it has waited for.
            ours += stat.rsplit_once(") ").map_or(0, |(_, rest)| times(rest, &[11, 12, 13, 14]));
        }
        Ok(Usage { whole_machine, ours, at: Instant::now() })
    }

    /// How many CPUs, on average, were busy with something else since `earlier`, or taken away by the host.
    pub fn others_since(&self, earlier: Usage) -> f64 {
        const TICKS: f64 = 100.0; // a second, in every file of /proc on every architecture we know
        let others = (self.whole_machine - earlier.whole_machine) as f64 - (self.ours - earlier.ours) as f64;
        (others / TICKS / self.at.duration_since(earlier.at).as_secs_f64()).max(0.0)
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
