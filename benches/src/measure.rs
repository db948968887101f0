//! Rounds in which the subjects take turns.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::host::Host;
use crate::subject::{Subject, Timing};
use crate::table::{Row, Table};
use crate::{Error, Result};

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often every subject gets its turn.
    pub rounds: usize,
    /// How long a subject runs at a time. Short: a virtual machine may be moved to other cores at any second, and a ratio is only good
    /// between neighbours in time.
    pub slice: Duration,
    /// When to give up on a regime: a bench that hangs must not hang whoever started it.
    pub limit: Duration,
    /// Whether the figures are rough: a run that shows that everything works.
    pub quick: bool,
}

impl Plan {
    /// Figures to be shown.
    pub const FULL: Plan = Plan { rounds: 15, slice: Duration::from_millis(40), limit: Duration::from_secs(300), quick: false };
    /// A few seconds.
    pub const QUICK: Plan = Plan { rounds: 3, slice: Duration::from_millis(10), limit: Duration::from_secs(60), quick: true };
}

/// Measures every subject once a round, twice: its mean without a timer inside, then each operation. Before each, waits until all `peers`
/// (process ids) sleep, so that only the measured ones run.
///
/// # Errors
///
/// A subject failed, two have the same name, or a peer does not go to sleep.
pub fn take_turns(plan: &Plan, title: &str, host: &Host, peers: &[u32], mut subjects: Vec<Subject<'_>>) -> Result<Table> {
    let before = host.usage(peers)?;
    let mut counts = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for subject in &mut subjects {
        if rows.iter().any(|row| row.name == subject.name()) {
            return Err(format!("two subjects are called {:?}", subject.name()).into());
        }
        progress(&format!("{title}: calibrating {}", subject.name()));
        host.settle(peers)?;
        counts.push(calibrate(subject, plan.slice)?);
        rows.push(Row::new(subject, histogram()?));
    }
    let start = Instant::now();
    for round in 0..plan.rounds {
        progress(&format!("{title}: round {} of {}{}", round + 1, plan.rounds, time_left(start, round, plan.rounds)));
        for ((subject, &count), row) in subjects.iter_mut().zip(&counts).zip(&mut rows) {
            host.settle(peers)?;
            subject.run(count.div_ceil(10), Timing::Whole)?; // wakes the peer and warms the caches
            let whole = subject.run(count, Timing::Whole)?;
            let mut each = histogram()?;
            subject.run(count, Timing::Each(&mut each))?;
            row.add(count, &whole, &each)?;
        }
    }
    progress("");
    let others = host.usage(peers)?.others_since(before);
    Ok(Table { title: title.to_owned(), rows, baselines: Vec::new(), others })
}

/// How many operations fill about `slice`.
fn calibrate(subject: &mut Subject<'_>, slice: Duration) -> Result<u64> {
    let most = subject.most();
    let mut count = most.min(64);
    loop {
        let elapsed = subject.run(count, Timing::Whole)?.elapsed;
        if elapsed * 8 >= slice {
            let fitting = (count as f64 * slice.as_secs_f64() / elapsed.as_secs_f64()) as u64 + 1;
            return Ok(fitting.min(most));
        }
        if count == most {
            return Ok(most);
        }
        count = most.min(count * 4);
    }
}

/// From a nanosecond to a minute, three digits of each.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(Error::from)
}

fn time_left(start: Instant, done: usize, rounds: usize) -> String {
    if done == 0 {
        return String::new();
    }
    let left = start.elapsed().as_secs_f64() / done as f64 * (rounds - done) as f64;
    format!(", {left:.0} s left")
}

/// Shows what is going on, on standard error: in place on a terminal, where an empty text wipes the line.
pub fn progress(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r{text:<80}\r");
    } else if !text.is_empty() {
        eprintln!("{text}");
    }
}
