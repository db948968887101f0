//! System calls of a pair while both sides are busy: none.

use std::process::{Command, Stdio};

use crate::Result;
use crate::machine::Host;
use crate::measure::{Bound, Plan, Verdict, median, progress};
use crate::peer::arguments;
use crate::subjects::steady::{PEER, Steady, Visits};

/// Counts the operations between two looks at the counters.
const SLICE: u64 = 10_000;

pub(super) fn measure(plan: &Plan, host: &Host) -> Result<Vec<Verdict>> {
    if !host.two_cpus() {
        let skipped = Verdict::new("system calls, both sides busy", f64::NAN, "")
            .detail("not measured: it needs two CPUs");
        return Ok(vec![skipped]);
    }
    progress("system calls of a steady pair");
    let steady = Steady::start(host)?;
    let slices = if plan.quick { 20 } else { 400 };
    let calls = count(&steady, slices, Steady::calls)?;
    let events = count(&steady, slices, Steady::events)?;
    steady.finish()?;
    // Processes that are started from here on must not inherit where this thread is pinned.
    host.release(0)?;
    let traced = trace(if plan.quick { 100_000 } else { 1_000_000 })?;
    progress("");
    Ok(vec![verdict("call", &calls), verdict("emit", &events), traced])
}

/// Returns what each of `slices` slices of operations cost.
fn count(
    steady: &Steady,
    slices: usize,
    operate: fn(&Steady, u64) -> Result<()>,
) -> Result<Vec<Visits>> {
    // Wakes the worker and warms the caches.
    operate(steady, SLICE)?;
    let mut before = steady.visits()?;
    (0..slices)
        .map(|_| {
            operate(steady, SLICE)?;
            let after = steady.visits()?;
            let visits = after.since(before);
            before = after;
            Ok(visits)
        })
        .collect()
}

/// Judges the median slice, which shows what the library does by itself: now and then the machine
/// takes a processor away from one side, and the other side goes to sleep.
fn verdict(what: &str, slices: &[Visits]) -> Verdict {
    let operations = slices.len() as f64 * SLICE as f64;
    let per_million =
        |count: fn(&Visits) -> u64| slices.iter().map(count).sum::<u64>() as f64 * 1e6 / operations;
    let free = slices.iter().filter(|visits| visits.system_calls() == 0).count();
    let detail = format!(
        "median of {} runs, {free} had none; per million over all: {:.1} sleeps, \
         {:.1} wake-ups, {:.1} voluntary and {:.1} involuntary context switches",
        slices.len(),
        per_million(|visits| visits.sleeps),
        per_million(|visits| visits.wakeups),
        per_million(|visits| visits.given_up),
        per_million(|visits| visits.taken),
    );
    let median = median(slices.iter().map(|visits| visits.system_calls() as f64));
    Verdict::new(
        format!("system calls in {SLICE} operations ({what}), both sides busy"),
        median,
        "",
    )
    .must(Bound::AtMost(0.0))
    .detail(detail)
}

/// Counts from outside, by strace: the system calls of a pair that makes `count` calls and emits as
/// many events, less those of a pair that only starts and ends. Without strace nothing is counted.
fn trace(count: u64) -> Result<Verdict> {
    const WHAT: &str = "system calls by strace, both sides busy, start and end taken off";
    if Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        return Ok(Verdict::new(WHAT, f64::NAN, "").detail("not measured: strace is not installed"));
    }
    progress("system calls of a steady pair, by strace");
    let (idle, busy) = (traced(0)?, traced(count)?);
    let million = (2 * count) as f64 / 1e6;
    let measured = (busy as f64 - idle as f64) / million;
    let detail = format!(
        "{busy} with {count} calls and {count} events, {idle} with none, of both processes"
    );
    Ok(Verdict::new(WHAT, measured, "per million").detail(detail))
}

/// Returns the system calls of all threads of both processes, from their start to their end.
fn traced(count: u64) -> Result<u64> {
    let output = Command::new("strace")
        // The traced process stays the child of this process.
        .args(["-D", "-f", "-c", "-qq"])
        // By name: strace executes the program, and its own `/proc/self/exe` is strace.
        .arg(std::env::current_exe()?)
        .args(arguments(PEER))
        .arg(count.to_string())
        .stdin(Stdio::null())
        .output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("strace ended with {}: {report}", output.status).into());
    }
    // The last line: percent, seconds, microseconds for each, calls, perhaps errors, and "total".
    let total = report
        .lines()
        .find(|line| line.ends_with("total"))
        .and_then(|line| line.split_whitespace().nth(3));
    Ok(total.ok_or_else(|| format!("strace reports no total: {report}"))?.parse()?)
}
