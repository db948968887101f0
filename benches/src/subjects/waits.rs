//! How often the two ends of a pair went to the kernel while something was measured.

use coprocess::Coprocess;

use crate::Result;
use crate::subject::{Sample, Subject, Waits};

/// Lets the worker tell of its end.
pub(crate) fn serve_waits(co: &Coprocess) {
    let this = co.downgrade();
    co.serve("waits", move |()| this.upgrade().map_or((0, 0), |co| (co.stats().sleeps, co.stats().wakeups_sent)));
}

/// The subject, with the waits of `pairs` counted beside it.
pub(crate) fn with_waits<'a>(pairs: Vec<&'a Coprocess>, mut subject: Subject<'a>) -> Subject<'a> {
    let (name, note, most) = (subject.name().to_owned(), subject.note().to_owned(), subject.most());
    let counted = Subject::new(name, note, move |count, timing| {
        let before = sum(&pairs)?;
        let Sample { elapsed, .. } = subject.run(count, timing)?;
        let after = sum(&pairs)?;
        let waits = Waits { sleeps: after.sleeps - before.sleeps, wakeups: after.wakeups - before.wakeups };
        Ok(Sample { elapsed, waits: Some(waits) })
    });
    counted.limit(most)
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
