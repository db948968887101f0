//! Rounds in which the subjects take turns.

use std::time::{Duration, Instant};

use crate::Result;
use crate::machine::{Usage, settle};
use crate::measure::plan::{Plan, progress};
use crate::measure::subject::{Subject, Timing};
use crate::measure::table::{Row, Table, histogram};

/// Measures every subject twice a round: its mean without a timer inside, then each operation.
/// Before each subject, all `peers` (process ids) must sleep, so that only the measured processes
/// run.
///
/// # Errors
///
/// A subject failed, two have the same name, or a peer does not go to sleep.
pub fn take_turns(
    plan: &Plan,
    title: &str,
    peers: &[u32],
    mut subjects: Vec<Subject<'_>>,
) -> Result<Table> {
    let before = Usage::of(peers)?;
    let mut counts = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for subject in &mut subjects {
        if rows.iter().any(|row| row.name == subject.name()) {
            return Err(format!("two subjects are called {:?}", subject.name()).into());
        }
        progress(&format!("{title}: calibrating {}", subject.name()));
        settle(peers)?;
        counts.push(calibrate(subject, plan.slice)?);
        rows.push(Row::new(subject, histogram()?));
    }
    let start = Instant::now();
    for round in 0..plan.rounds {
        progress(&format!(
            "{title}: round {} of {}{}",
            round + 1,
            plan.rounds,
            time_left(start, round, plan.rounds)
        ));
        for ((subject, &count), row) in subjects.iter_mut().zip(&counts).zip(&mut rows) {
            settle(peers)?;
            subject.run(count.div_ceil(10), Timing::Whole)?; // wakes the peer and warms the caches
            let whole = subject.run(count, Timing::Whole)?;
            let mut each = histogram()?;
            subject.run(count, Timing::Each(&mut each))?;
            row.add(count, &whole, &each)?;
        }
    }
    progress("");
    let others = Usage::of(peers)?.others_since(before);
    Ok(Table { title: title.to_owned(), rows, baselines: Vec::new(), others })
}

/// Returns how many operations fill about `slice`.
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

fn time_left(start: Instant, done: usize, rounds: usize) -> String {
    if done == 0 {
        return String::new();
    }
    let left = start.elapsed().as_secs_f64() / done as f64 * (rounds - done) as f64;
    format!(", {left:.0} s left")
}
