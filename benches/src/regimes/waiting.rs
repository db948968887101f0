//! Measures exchanges whose peer does not answer at once: the peer sleeps, has no processor of its
//! own, or computes in its handler. Beside a pipe in the same state.

use std::thread;
use std::time::{Duration, Instant};

use crate::machine::{self, Host};
use crate::measure::{
    Bound, Outcome, Plan, Regime, Subject, Table, Timing, Verdict, alternate, median, take_turns,
};
use crate::subjects::waits::with_waits;
use crate::subjects::working_pair::WorkingPair;
use crate::subjects::working_pipe::WorkingPipe;
use crate::{Result, units};

/// Measures while the peer sleeps, shares the processor, or computes.
pub const REGIME: Regime = Regime {
    name: "waiting",
    about: "the other side sleeps, shares the CPU, or computes; beside a pipe",
    run,
};

/// Is how long both sides pause before a first call. The side that is called has slept longer,
/// because the other mechanism had its turn before.
const PAUSE: Duration = Duration::from_millis(2);
/// Counts the first calls of each kind in a round.
const FIRST_CALLS: u64 = 40;

/// Lists how long handlers compute, in microseconds.
const WORK: [u64; 4] = [2, 10, 50, 200];

const CALL: &str = "call";
const PIPE: &str = "pipe";

/// Says what a pipe leaves to its users.
const NOTE: &str = "no codec, no name, one at a time";

fn run(plan: &Plan, host: &Host) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if host.two_cpus() {
        measure(plan, host, Cpus::Two, &mut outcome)?;
    }
    measure(plan, host, Cpus::One, &mut outcome)?;
    Ok(outcome)
}

/// Which CPUs the two sides have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cpus {
    Two,
    One,
}

impl Cpus {
    fn name(self) -> &'static str {
        match self {
            Cpus::Two => "two CPUs",
            Cpus::One => "one CPU",
        }
    }
}

fn measure(plan: &Plan, host: &Host, cpus: Cpus, outcome: &mut Outcome) -> Result<()> {
    if let (Cpus::One, [near, ..]) = (cpus, host.cpus()) {
        // Processes that are started from here on inherit the pinning, with all their threads.
        machine::pin(0, *near)?;
    }
    let pipe = WorkingPipe::start()?;
    let pair = WorkingPair::start()?;
    let peers = [pipe.peer_id(), pair.peer_id()];
    if cpus == Cpus::Two {
        host.pin(&peers)?;
    }

    let first_calls = vec![
        after_pause(PIPE, NOTE, || pipe.exchange(Duration::ZERO)),
        after_pause(CALL, "", || pair.exchange(Duration::ZERO)),
    ];
    let title = format!("first calls, {}", cpus.name());
    let first_calls =
        alternate(plan, &title, &peers, FIRST_CALLS, first_calls)?.compared_with([first(PIPE)]);

    let mut subjects = Vec::new();
    for micros in [0].into_iter().chain(WORK) {
        subjects.push(working(PIPE, NOTE, micros, |time| pipe.exchange(time)));
        subjects.push(with_waits(
            vec![pair.co()],
            working(CALL, "", micros, |time| pair.exchange(time)),
        ));
    }
    let title = format!("calls less the work, {}", cpus.name());
    let calls = take_turns(plan, &title, &peers, subjects)?.compared_with([busy(PIPE, 0)]);
    pair.finish()?;

    outcome.verdicts.push(first_call(&first_calls, cpus));
    outcome.verdicts.extend(verdicts(&calls, cpus)?);
    outcome.tables.extend([first_calls, calls]);
    Ok(())
}

/// Names the row of a handler that computes.
fn busy(mechanism: &str, micros: u64) -> String {
    if micros == 0 { mechanism.to_owned() } else { format!("{mechanism}, {micros} µs of work") }
}

/// Names the row of first calls.
fn first(mechanism: &str) -> String {
    format!("{mechanism}, after {PAUSE:?} of sleep")
}

/// Makes exchanges whose peer computes for `micros`, which do not count.
fn working<'a>(
    mechanism: &str,
    note: &str,
    micros: u64,
    exchange: impl Fn(Duration) -> Result<()> + 'a,
) -> Subject<'a> {
    let work = Duration::from_micros(micros);
    Subject::new(busy(mechanism, micros), note, move |count, mut timing| {
        let start = Instant::now();
        match timing {
            Timing::Whole => {
                for _ in 0..count {
                    exchange(work)?;
                }
            }
            Timing::Each(_) => {
                for _ in 0..count {
                    let begin = Instant::now();
                    exchange(work)?;
                    timing.record(begin.elapsed().saturating_sub(work));
                }
            }
        }
        Ok(start.elapsed().saturating_sub(work.mul_f64(count as f64)).into())
    })
    // Most of such a run is work, which does not count towards the slice of the run.
    .limit(20_000_u64.checked_div(micros).unwrap_or(u64::MAX))
}

/// Makes exchanges that each follow a pause of both sides.
fn after_pause<'a>(
    mechanism: &str,
    note: &str,
    exchange: impl Fn() -> Result<()> + 'a,
) -> Subject<'a> {
    let pause = |_| {
        thread::sleep(PAUSE);
        Ok(())
    };
    Subject::new(first(mechanism), note, move |count, timing| {
        Ok(timing.laps_after(count, pause, |_| exchange())?.into())
    })
}

/// Judges first calls by medians: they are few, and one call that the machine interrupts for a
/// millisecond would dominate the mean of a round.
fn first_call(table: &Table, cpus: Cpus) -> Verdict {
    let medians = |name: String| {
        let rounds = table.row(&name).map_or(&[][..], |row| &row.rounds);
        rounds.iter().map(|round| round.each.p50 as f64)
    };
    let ratios: Vec<f64> =
        medians(first(CALL)).zip(medians(first(PIPE))).map(|(call, pipe)| call / pipe).collect();
    let time = |name| units::time(median(medians(first(name))));
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let detail = format!(
        "medians: call {}, pipe {}; {} to {} in single rounds",
        time(CALL),
        time(PIPE),
        units::plain(least),
        units::plain(most)
    );
    Verdict::new(
        format!("first call after both slept 2 ms, {}, over a pipe", cpus.name()),
        median(ratios),
        "x",
    )
    .must(Bound::AtMost(1.1))
    .aim(Bound::AtMost(1.0))
    .detail(detail)
}

fn verdicts(table: &Table, cpus: Cpus) -> Result<Vec<Verdict>> {
    let compare = |what: &str, micros| {
        Verdict::of_times(
            format!("{what}, {}, over a pipe", cpus.name()),
            table,
            &busy(CALL, micros),
            &busy(PIPE, micros),
        )
    };
    let steady = compare("call, one after the other", 0)?;
    let mut verdicts = vec![match cpus {
        Cpus::One => steady.must(Bound::AtMost(1.1)).aim(Bound::AtMost(0.9)),
        Cpus::Two => steady,
    }];
    for micros in WORK {
        let added =
            compare(&format!("added latency of a handler that computes {micros} µs"), micros)?;
        verdicts.push(added.must(Bound::AtMost(1.0)));
    }
    Ok(verdicts)
}
