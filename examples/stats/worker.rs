//! The worker: samples at the rate that the parent has set, and answers the parent meanwhile.
//!
//! The worker has two threads. The library's thread, which ran [`worker`], goes on to answer calls.
//! The sampler's thread takes each round when the round is due, and emits it. The threads share
//! [`Control`].

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use coprocess::Coprocess;

use crate::proc::Reader;
use crate::protocol::{
    BATCH, Batch, MAX_RATE, Process, ProcessId, SET_RATE, STOP, TOP, Totals, Usage,
};
use crate::signals;

/// Registers the worker's methods, starts the sampler and returns. This is the worker function.
pub(crate) fn worker(parent: Coprocess) {
    signals::leave_to_the_parent();
    let control = Arc::new(Control::default());

    // The sampler waits for the first `set_rate`, so it sends no batch before the parent listens.
    let sampler = thread::spawn({
        let (control, parent) = (control.clone(), parent.clone());
        move || sample(&parent, &control)
    });
    let sampler: Mutex<Option<JoinHandle<_>>> = Mutex::new(Some(sampler));

    parent.try_serve(SET_RATE, {
        let control = control.clone();
        move |rate: u32| control.set_rate(rate)
    });
    parent.serve(TOP, {
        let control = control.clone();
        move |n: u32| -> Vec<Usage> {
            let state = control.lock();
            state.busiest.iter().take(n as usize).cloned().collect()
        }
    });
    // The answer follows the last batch, and the parent receives it after that batch. So the answer
    // confirms all batches.
    parent.try_serve(STOP, move |()| -> Result<Totals, String> {
        control.stop();
        let sampler = sampler.lock().unwrap_or_else(PoisonError::into_inner).take();
        match sampler.ok_or("already stopped")?.join() {
            Ok(totals) => totals.map_err(|error| error.to_string()),
            Err(_) => Err("the sampler panicked".into()),
        }
    });
}

/// Samples until [`Control::stop`], or until the parent is gone and `emit` fails. Runs in the
/// sampler's thread.
fn sample(parent: &Coprocess, control: &Control) -> coprocess::Result<Totals> {
    let mut reader = Reader::new();
    let mut ranking = Ranking::default();
    let mut schedule = Schedule::default();
    let mut totals = Totals::default();
    loop {
        let turn = control.wait_for_turn(&mut schedule);
        let batch = reader.round(totals.batches);
        if let Some(busiest) = ranking.update(&batch) {
            control.lock().busiest = busiest;
        }
        parent.emit(BATCH, batch)?;
        totals.batches += 1;
        if turn == Turn::Last {
            totals.skipped = schedule.skipped;
            return Ok(totals);
        }
    }
}

/// State that the library's thread and the sampler's thread share.
#[derive(Debug, Default)]
struct Control {
    state: Mutex<State>,
    /// Notified when the rate changes, and when the sampler is to stop.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until the first `set_rate`: the sampler waits.
    rate: Option<Rate>,
    stopping: bool,
    /// All processes in the last round, the busiest first.
    busiest: Vec<Usage>,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    period: Duration,
    since: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Due,
    /// Take one more round, so that the counts reach to the end, and stop.
    Last,
}

impl Control {
    fn set_rate(&self, rounds_per_second: u32) -> Result<(), String> {
        if !(1..=MAX_RATE).contains(&rounds_per_second) {
            return Err(format!("the rate {rounds_per_second} is not between 1 and {MAX_RATE}"));
        }
        self.lock().rate = Some(Rate {
            period: Duration::from_secs(1) / rounds_per_second,
            since: Instant::now(),
        });
        self.changed.notify_one();
        Ok(())
    }

    fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_one();
    }

    /// Sleeps until the next round is due by the present rate, or until the sampler is to stop.
    fn wait_for_turn(&self, schedule: &mut Schedule) -> Turn {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return Turn::Last;
            }
            state = if let Some(rate) = state.rate {
                let now = Instant::now();
                let due = schedule.due(rate);
                if due <= now {
                    schedule.take(due, rate, now);
                    return Turn::Due;
                }
                let woken = self.changed.wait_timeout(state, due - now);
                woken.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Locks the state. The state is sound even if a holder panicked: each change is one
    /// assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The times at which rounds are due: at whole periods after the first round, however long each
/// round takes. So the times do not drift.
#[derive(Debug, Default)]
struct Schedule {
    /// The time at which the last round was due.
    last: Option<Instant>,
    /// Number of rounds left out because an earlier round took too long.
    skipped: u64,
}

impl Schedule {
    /// Returns when the next round is due: at once after a change of the rate, if the round is
    /// overdue by the new rate.
    fn due(&self, rate: Rate) -> Instant {
        match self.last {
            Some(last) => (last + rate.period).max(rate.since),
            None => rate.since,
        }
    }

    /// Takes the round that is due, and skips all later rounds whose time has passed, too.
    fn take(&mut self, due: Instant, rate: Rate, now: Instant) {
        let overdue = (now - due).as_nanos() / rate.period.as_nanos();
        let overdue = u32::try_from(overdue).unwrap_or(u32::MAX);
        self.last = Some(due + rate.period * overdue);
        self.skipped += u64::from(overdue);
    }
}

/// Orders the processes by what they have used since the ranking before.
#[derive(Debug, Default)]
struct Ranking {
    before: Option<(Duration, HashMap<ProcessId, u64>)>,
}

impl Ranking {
    /// The time between two rankings. It is long, since the kernel counts a process's time in
    /// ticks, a hundred a second on most machines.
    const SPAN: Duration = Duration::from_secs(1);

    /// Makes a new ranking, or returns `None` if the last one is too recent.
    fn update(&mut self, batch: &Batch) -> Option<Vec<Usage>> {
        let processes = batch.processes.as_ref()?;
        let span = match &self.before {
            Some((at, _)) => batch.at - *at,
            None => Duration::ZERO,
        };
        if self.before.is_some() && span < Ranking::SPAN {
            return None;
        }
        let seconds = span.as_secs_f64() * procfs::ticks_per_second() as f64;
        let usage = |process: &Process| {
            let cpu_percent = match &self.before {
                // A new process has used all its ticks since the ranking before.
                Some((_, ticks)) => {
                    let before = ticks.get(&process.id).copied().unwrap_or(0);
                    100.0 * process.ticks.saturating_sub(before) as f64 / seconds
                }
                None => 0.0,
            };
            Usage {
                pid: process.id.pid,
                name: process.name.clone(),
                cpu_percent,
                resident: process.resident,
            }
        };
        let mut usages: Vec<Usage> = processes.iter().map(usage).collect();
        usages.sort_by(|a, b| {
            let busier = b.cpu_percent.total_cmp(&a.cpu_percent);
            busier.then(b.resident.cmp(&a.resident)).then(a.pid.cmp(&b.pid))
        });
        let ticks = processes.iter().map(|process| (process.id, process.ticks));
        self.before = Some((batch.at, ticks.collect()));
        Some(usages)
    }
}
