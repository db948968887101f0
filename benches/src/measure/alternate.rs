//! Subjects that take turns operation by operation, for operations that are few and slow: between
//! runs of many of them the machine would change its speed.

use std::time::Duration;

use crate::Result;
use crate::machine::{Usage, settle};
use crate::measure::plan::{Plan, progress};
use crate::measure::subject::{Sample, Subject, Timing};
use crate::measure::table::{Row, Table, histogram};

/// Measures every subject `operations` times a round, one operation of each in turn. Visits to the
/// kernel are not counted.
///
/// # Errors
///
/// A subject failed, or a peer does not go to sleep.
pub(crate) fn alternate(
    plan: &Plan,
    title: &str,
    peers: &[u32],
    operations: u64,
    mut subjects: Vec<Subject<'_>>,
) -> Result<Table> {
    let before = Usage::of(peers)?;
    let mut rows = subjects
        .iter()
        .map(|subject| Ok(Row::new(subject, histogram()?)))
        .collect::<Result<Vec<_>>>()?;
    for subject in &mut subjects {
        subject.run(1, Timing::Whole)?; // the first operation has more to do
    }
    for round in 0..plan.rounds {
        progress(&format!("{title}: round {} of {}", round + 1, plan.rounds));
        settle(peers)?;
        let mut sums =
            rows.iter().map(|_| Ok((Duration::ZERO, histogram()?))).collect::<Result<Vec<_>>>()?;
        for _ in 0..operations {
            for (subject, (elapsed, each)) in subjects.iter_mut().zip(&mut sums) {
                *elapsed += subject.run(1, Timing::Each(each))?.elapsed;
            }
        }
        for (row, (elapsed, each)) in rows.iter_mut().zip(sums) {
            row.add(operations, &Sample::from(elapsed), &each)?;
        }
    }
    progress("");
    let others = Usage::of(peers)?.others_since(before);
    Ok(Table { title: title.to_owned(), rows, baselines: Vec::new(), others })
}
