//! What the parent makes of the batches: rates of the counters, and distributions of all values.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::protocol::{Batch, CpuTime, Process, ProcessId, Traffic};
use crate::units::Unit;

/// The span over which a rate is computed.
///
/// The kernel counts processor time in ticks, a hundred a second on most machines. Between two
/// rounds of a twentieth of a second, a processor could only seem 0, 20, 40 .. percent busy.
const SPAN: Duration = Duration::from_millis(250);

/// The sum of all batches so far.
#[derive(Debug, Default)]
pub(crate) struct Aggregate {
    /// Number of batches handled.
    pub(crate) batches: u64,
    /// Number of batches that were out of turn. The pair delivers all batches in order, so this
    /// stays 0.
    pub(crate) out_of_turn: u64,
    metrics: BTreeMap<Key, Metric>,
    /// Sources that appeared in a batch.
    offered: HashSet<Source>,
    /// The rounds of the last [`SPAN`], and the last round before it.
    recent: VecDeque<Round>,
    processes: HashMap<ProcessId, Lifetime>,
    first_at: Option<Duration>,
    last_at: Duration,
}

/// Where a metric comes from: about one file of `/proc` each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Cpu,
    Memory,
    Load,
    Processes,
    Disk,
    Network,
}

/// One metric. The variants are in the order of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Busy,
    User,
    System,
    MemoryUsed,
    MemoryAvailable,
    SwapUsed,
    Load,
    Processes,
    Disk(String, Direction),
    Network(String, Direction),
    /// In the last place, since a large machine has hundreds of processors.
    OneCpu(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Direction {
    Inward,
    Outward,
}

impl Key {
    fn source(&self) -> Source {
        match self {
            Key::Busy | Key::User | Key::System | Key::OneCpu(_) => Source::Cpu,
            Key::MemoryUsed | Key::MemoryAvailable | Key::SwapUsed => Source::Memory,
            Key::Load => Source::Load,
            Key::Processes => Source::Processes,
            Key::Disk(..) => Source::Disk,
            Key::Network(..) => Source::Network,
        }
    }

    fn name(&self) -> String {
        use Direction::{Inward, Outward};
        match self {
            Key::Busy => "cpu busy".into(),
            Key::User => "cpu user".into(),
            Key::System => "cpu system".into(),
            Key::OneCpu(number) => format!("cpu {number} busy"),
            Key::MemoryUsed => "memory used".into(),
            Key::MemoryAvailable => "memory available".into(),
            Key::SwapUsed => "swap used".into(),
            Key::Load => "load, 1 minute".into(),
            Key::Processes => "processes".into(),
            Key::Disk(device, Inward) => format!("disk {device} read/s"),
            Key::Disk(device, Outward) => format!("disk {device} write/s"),
            Key::Network(device, Inward) => format!("net {device} in/s"),
            Key::Network(device, Outward) => format!("net {device} out/s"),
        }
    }

    fn unit(&self) -> Unit {
        match self {
            Key::Busy | Key::User | Key::System | Key::OneCpu(_) => Unit::Percent,
            Key::Load => Unit::Plain,
            Key::Processes => Unit::Count,
            _ => Unit::Bytes,
        }
    }
}

/// The distribution of one metric over all rounds.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) unit: Unit,
    /// Values in hundredths, since a histogram counts whole numbers.
    histogram: Histogram<u64>,
    pub(crate) last: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    sum: f64,
    samples: u64,
}

impl Metric {
    const SCALE: f64 = 100.0;

    fn new(unit: Unit) -> Metric {
        Metric {
            unit,
            histogram: Histogram::new(3).expect("three digits are a valid precision"),
            last: 0.0,
            min: f64::INFINITY,
            max: 0.0,
            sum: 0.0,
            samples: 0,
        }
    }

    fn record(&mut self, value: f64) {
        self.histogram
            .record((value * Metric::SCALE).round() as u64)
            .expect("the histogram grows by itself");
        self.last = value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.samples += 1;
    }

    /// Returns `true` if there is no value yet: a rate takes two rounds, some time apart.
    pub(crate) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.samples as f64
    }

    /// Returns a quantile, exact to a thousandth, and between the smallest and the largest value.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let value = self.histogram.value_at_quantile(quantile) as f64 / Metric::SCALE;
        value.clamp(self.min, self.max)
    }
}

/// The counters of one round.
#[derive(Debug)]
struct Round {
    at: Duration,
    counters: HashMap<Key, Counter>,
}

/// An amount and the whole that it is compared with, both of which grow: busy ticks and all ticks,
/// or bytes and nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Counter {
    amount: u64,
    whole: u64,
    /// The rate of one unit of the amount per unit of the whole.
    scale: f64,
}

impl Counter {
    /// Returns the rate since an earlier round, or `None` if the whole has not grown.
    fn rate_since(self, earlier: Counter) -> Option<f64> {
        // Some counters of the kernel step back a little at times.
        let amount = self.amount.saturating_sub(earlier.amount) as f64;
        let whole = self.whole.saturating_sub(earlier.whole) as f64;
        (whole > 0.0).then(|| self.scale * amount / whole)
    }
}

/// What one process has used while the worker watched it.
#[derive(Debug)]
pub(crate) struct Lifetime {
    pub(crate) id: ProcessId,
    pub(crate) name: String,
    ticks_before: u64,
    ticks: u64,
    pub(crate) resident: u64,
    pub(crate) peak_resident: u64,
}

impl Lifetime {
    /// Returns the clock ticks that the process has used while the worker watched it.
    pub(crate) fn ticks_used(&self) -> u64 {
        self.ticks.saturating_sub(self.ticks_before)
    }
}

/// A line of the table.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    Metric(String, &'a Metric),
    /// A source without metrics, and the reason.
    Note(&'static str, &'static str),
}

impl Aggregate {
    /// Adds one batch.
    pub(crate) fn add(&mut self, batch: Batch) {
        if batch.number != self.batches {
            self.out_of_turn += 1;
        }
        self.last_at = batch.at;
        self.gauges(&batch);
        self.rates(&batch);
        self.processes(batch.at, batch.processes.unwrap_or_default());
        self.batches += 1;
    }

    /// Returns how long the worker has sampled.
    pub(crate) fn elapsed(&self) -> Duration {
        self.last_at.saturating_sub(self.first_at.unwrap_or_default())
    }

    /// Returns how many processes were seen.
    pub(crate) fn processes_seen(&self) -> usize {
        self.processes.len()
    }

    /// Returns the processes that used most processor time, and then most memory.
    pub(crate) fn busiest(&self, n: usize) -> Vec<&Lifetime> {
        let mut all: Vec<&Lifetime> = self.processes.values().collect();
        all.sort_by_key(|process| {
            use std::cmp::Reverse;
            (Reverse(process.ticks_used()), Reverse(process.peak_resident), process.id.pid)
        });
        all.truncate(n);
        all
    }

    /// Returns all metrics in the order of the table, and notes for the sources that this machine
    /// lacks.
    pub(crate) fn lines(&self) -> Vec<Line<'_>> {
        let mut lines: Vec<Line<'_>> =
            self.metrics.iter().map(|(key, metric)| Line::Metric(key.name(), metric)).collect();
        let sources = [
            (Source::Cpu, "cpu"),
            (Source::Memory, "memory"),
            (Source::Load, "load"),
            (Source::Processes, "processes"),
            (Source::Disk, "disk"),
            (Source::Network, "net"),
        ];
        for (source, name) in sources {
            if !self.offered.contains(&source) {
                lines.push(Line::Note(name, "unavailable"));
            } else if !self.metrics.keys().any(|key| key.source() == source) {
                lines.push(Line::Note(name, "none in use"));
            }
        }
        lines
    }

    fn metric(&mut self, key: Key) -> &mut Metric {
        let unit = key.unit();
        self.metrics.entry(key).or_insert_with(|| Metric::new(unit))
    }

    /// Records the values that count as they are.
    fn gauges(&mut self, batch: &Batch) {
        if let Some(memory) = &batch.memory {
            self.offered.insert(Source::Memory);
            let used = memory.total.saturating_sub(memory.available);
            self.metric(Key::MemoryUsed).record(used as f64);
            self.metric(Key::MemoryAvailable).record(memory.available as f64);
            if memory.swap_total > 0 {
                let used = memory.swap_total.saturating_sub(memory.swap_free);
                self.metric(Key::SwapUsed).record(used as f64);
            }
        }
        if let Some(load) = batch.load {
            self.offered.insert(Source::Load);
            self.metric(Key::Load).record(f64::from(load));
        }
        if let Some(processes) = &batch.processes {
            self.offered.insert(Source::Processes);
            self.metric(Key::Processes).record(processes.len() as f64);
        }
    }

    /// Records the counters that count by their growth since the last round that is at least
    /// [`SPAN`] old.
    fn rates(&mut self, batch: &Batch) {
        let round = Round { at: batch.at, counters: self.counters(batch) };
        let is_old = |earlier: &Round| round.at.saturating_sub(earlier.at) >= SPAN;
        while self.recent.get(1).is_some_and(is_old) {
            self.recent.pop_front();
        }
        let earlier = self.recent.front().filter(|earlier| is_old(earlier));
        let rate = |(key, counter): (&Key, &Counter)| {
            let earlier = earlier.and_then(|earlier| earlier.counters.get(key));
            (key.clone(), earlier.and_then(|&earlier| counter.rate_since(earlier)))
        };
        let rates: Vec<(Key, Option<f64>)> = round.counters.iter().map(rate).collect();
        for (key, rate) in rates {
            // The metric gets its line in the first round, even if there is no rate yet.
            let metric = self.metric(key);
            if let Some(rate) = rate {
                metric.record(rate);
            }
        }
        self.recent.push_back(round);
    }

    fn counters(&mut self, batch: &Batch) -> HashMap<Key, Counter> {
        let mut counters = HashMap::new();
        if let Some(cpus) = &batch.cpus {
            self.offered.insert(Source::Cpu);
            let mut share = |key, time: &CpuTime, amount| {
                let counter = Counter {
                    amount,
                    whole: time.user + time.system + time.steal + time.idle,
                    scale: 100.0,
                };
                counters.insert(key, counter);
            };
            share(Key::Busy, &cpus.all, cpus.all.user + cpus.all.system);
            share(Key::User, &cpus.all, cpus.all.user);
            share(Key::System, &cpus.all, cpus.all.system);
            for (number, time) in &cpus.each {
                share(Key::OneCpu(*number), time, time.user + time.system);
            }
        }
        let mut traffic = |devices: &[Traffic], key: fn(String, Direction) -> Key| {
            for device in devices {
                let ways =
                    [(Direction::Inward, device.inward), (Direction::Outward, device.outward)];
                for (direction, amount) in ways {
                    let counter = Counter { amount, whole: batch.at.as_nanos() as u64, scale: 1e9 };
                    counters.insert(key(device.device.clone(), direction), counter);
                }
            }
        };
        if let Some(disks) = &batch.disks {
            self.offered.insert(Source::Disk);
            traffic(disks, Key::Disk);
        }
        if let Some(networks) = &batch.networks {
            self.offered.insert(Source::Network);
            traffic(networks, Key::Network);
        }
        counters
    }

    fn processes(&mut self, at: Duration, processes: Vec<Process>) {
        let first_round = self.first_at.is_none();
        self.first_at.get_or_insert(at);
        for process in processes {
            let lifetime = self.processes.entry(process.id).or_insert_with(|| Lifetime {
                id: process.id,
                name: String::new(),
                // A process that appears later has used all its ticks while it was watched.
                ticks_before: if first_round { process.ticks } else { 0 },
                ticks: 0,
                resident: 0,
                peak_resident: 0,
            });
            lifetime.name = process.name; // changes when the process executes a program
            lifetime.ticks = process.ticks;
            lifetime.resident = process.resident;
            lifetime.peak_resident = lifetime.peak_resident.max(process.resident);
        }
    }
}
