//! More of everything: pairs, threads, handlers, calls in flight.

use std::time::Duration;

use crate::Result;
use crate::machine::Host;
use crate::measure::{Bound, Outcome, Plan, Regime, Table, Verdict, take_turns};
use crate::subjects::calls_in_flight::CallsInFlight;
use crate::subjects::many_handlers::ManyHandlers;
use crate::subjects::together::{Operation, together};
use crate::subjects::waits::with_waits;
use crate::subjects::working_pair::WorkingPair;
use crate::subjects::working_pipe::WorkingPipe;

/// Measures more of everything.
pub const REGIME: Regime =
    Regime { name: "scaling", about: "many pairs, threads, handlers, calls in flight", run };

const PAIRS: usize = 8;
const THREADS: usize = 4;

/// Keeps handlers free of work, since exchanges are counted.
const NO_WORK: Duration = Duration::ZERO;

fn run(plan: &Plan, host: &Host) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for measure in [pairs, threads, handlers, in_flight] {
        // A new process would inherit the pinning of the measurement before.
        host.release(0)?;
        let (table, verdict) = measure(plan, host)?;
        outcome.tables.push(table);
        outcome.verdicts.push(verdict);
    }
    Ok(outcome.for_two_cpus(host))
}

fn pairs(plan: &Plan, host: &Host) -> Result<(Table, Verdict)> {
    const CALLS: &str = "8 pairs";
    const PIPES: &str = "8 pairs of pipes";
    let pairs = (0..PAIRS).map(|_| WorkingPair::start()).collect::<Result<Vec<_>>>()?;
    let pipes = (0..PAIRS).map(|_| WorkingPipe::start()).collect::<Result<Vec<_>>>()?;
    let peers: Vec<u32> = pairs
        .iter()
        .map(WorkingPair::peer_id)
        .chain(pipes.iter().map(WorkingPipe::peer_id))
        .collect();

    let calls = pairs.iter().map(|pair| operation(|| pair.exchange(NO_WORK))).collect();
    let exchanges = pipes.iter().map(|pipe| operation(|| pipe.exchange(NO_WORK))).collect();
    let subjects = vec![
        with_waits(pairs.iter().map(WorkingPair::co).collect(), together(CALLS, "", host, calls)),
        together(PIPES, "no codec, no name, one at a time", host, exchanges),
    ];
    let table =
        take_turns(plan, "pairs at once, not pinned", &peers, subjects)?.compared_with([PIPES]);
    for pair in &pairs {
        pair.finish()?;
    }
    let what = "8 pairs calling at once: calls per second in all, over 8 pairs of pipes";
    let verdict = Verdict::of_times(what, &table, PIPES, CALLS)?
        .must(Bound::AtLeast(1.0))
        .aim(Bound::AtLeast(3.0));
    Ok((table, verdict))
}

fn threads(plan: &Plan, host: &Host) -> Result<(Table, Verdict)> {
    const ONE: &str = "1 thread";
    const FOUR: &str = "4 threads";
    let pair = WorkingPair::start()?;
    let callers = |count| (0..count).map(|_| operation(|| pair.exchange(NO_WORK))).collect();
    let counted = |subject| with_waits(vec![pair.co()], subject);
    let subjects = vec![
        counted(together(ONE, "", host, callers(1))),
        counted(together(FOUR, "", host, callers(THREADS))),
    ];
    let table = take_turns(plan, "threads of one handle, not pinned", &[pair.peer_id()], subjects)?
        .compared_with([ONE]);
    pair.finish()?;
    let what = "4 threads calling through one handle: calls per second, over 1 thread";
    let verdict = Verdict::of_times(what, &table, ONE, FOUR)?
        .must(Bound::AtLeast(0.8))
        .aim(Bound::AtLeast(1.2));
    Ok((table, verdict))
}

fn handlers(plan: &Plan, host: &Host) -> Result<(Table, Verdict)> {
    const ONE: &str = "1 handler";
    const SOME: [&str; 3] = [
        "10 handlers, called in turn",
        "100 handlers, called in turn",
        "1,000 handlers, called in turn",
    ];
    const SAME: &str = "1,000 handlers, one called";
    let one = ManyHandlers::start::<1>()?;
    let some = [
        ManyHandlers::start::<10>()?,
        ManyHandlers::start::<100>()?,
        ManyHandlers::start::<1000>()?,
    ];
    let peers: Vec<u32> = [&one].into_iter().chain(&some).map(ManyHandlers::peer_id).collect();
    host.pin(&peers)?;
    let mut subjects = vec![one.call_one(ONE.to_owned())];
    subjects
        .extend(some.iter().zip(SOME).map(|(worker, name)| worker.call_in_turn(name.to_owned())));
    subjects.extend(some.last().map(|worker| worker.call_one(SAME.to_owned())));
    let table = take_turns(plan, "handlers of one worker", &peers, subjects)?.compared_with([ONE]);
    for worker in [&one].into_iter().chain(&some) {
        worker.finish()?;
    }
    // The harder case is judged: all handlers are in use.
    let verdict = flat(
        "cost per call with 1 to 1,000 handlers, called in turn",
        &table,
        ONE,
        &SOME,
        Some(SAME),
    )?;
    Ok((table, verdict))
}

fn in_flight(plan: &Plan, host: &Host) -> Result<(Table, Verdict)> {
    const ONE: &str = "1 call in flight";
    const MORE: [&str; 2] = ["1,000 calls in flight", "100,000 calls in flight"];
    // The measured call is in flight, too.
    let workers =
        [CallsInFlight::start(0)?, CallsInFlight::start(999)?, CallsInFlight::start(99_999)?];
    let peers = workers.each_ref().map(CallsInFlight::peer_id);
    host.pin(&peers)?;
    let subjects = workers
        .iter()
        .zip([ONE, MORE[0], MORE[1]])
        .map(|(worker, name)| worker.call(name.to_owned()))
        .collect();
    let table =
        take_turns(plan, "calls beside others in flight", &peers, subjects)?.compared_with([ONE]);
    for worker in workers {
        worker.finish()?;
    }
    let verdict =
        flat("cost per call with 1 to 100,000 calls in flight", &table, ONE, &MORE, None)?;
    Ok((table, verdict))
}

fn operation<'a>(operation: impl Fn() -> Result<()> + Send + Sync + 'a) -> Operation<'a> {
    Box::new(operation)
}

/// Judges the greatest increase of the rows `names` over `base`, in percent.
fn flat(
    what: &str,
    table: &Table,
    base: &str,
    names: &[&str],
    shown: Option<&str>,
) -> Result<Verdict> {
    let mut worst = f64::NEG_INFINITY;
    let mut detail = Vec::new();
    for &name in names.iter().chain(shown.iter()) {
        let change = (table.time_ratio(name, base)? - 1.0) * 100.0;
        detail.push(format!("{name} {change:+.1} %"));
        if names.contains(&name) {
            worst = change.max(worst);
        }
    }
    let verdict =
        Verdict::new(format!("{what}: greatest increase"), worst, "%").must(Bound::AtMost(10.0));
    Ok(verdict.detail(format!("over {base}: {}", detail.join(", "))))
}
