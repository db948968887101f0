//! Counts how often the two ends of a pair go to the kernel while something is measured.

use coprocess::Coprocess;

use crate::Result;
use crate::measure::{Sample, Subject, Waits};

/// Lets the worker report the counts of its end.
pub(crate) fn serve_waits(co: &Coprocess) {
    let this = co.downgrade();
    co.serve("waits", move |()| {
        this.upgrade().map_or((0, 0), |co| (co.stats().sleeps, co.stats().wakeups_sent))
    });
}

/// Counts the waits of `pairs` while the subject runs.
pub(crate) fn with_waits<'a>(pairs: Vec<&'a Coprocess>, subject: Subject<'a>) -> Subject<'a> {
    subject.wrapped(move |run, count, timing| {
        let before = sum(&pairs)?;
        let Sample { elapsed, .. } = run(count, timing)?;
        let after = sum(&pairs)?;
        let waits =
            Waits { sleeps: after.sleeps - before.sleeps, wakeups: after.wakeups - before.wakeups };
        Ok(Sample { elapsed, waits: Some(waits) })
    })
}

fn sum(pairs: &[&Coprocess]) -> Result<Waits> {
    let mut sum = Waits::default();
    for co in pairs {
        let (sleeps, wakeups): (u64, u64) = co.call("waits", ())?;
        let ours = co.stats();
        sum.sleeps += ours.sleeps + sleeps;
        sum.wakeups += ours.wakeups_sent + wakeups;
    }
    Ok(sum)
}
