//! What the rounds add up to.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::subject::{Payload, Sample, Subject, Waits};
use crate::{Error, Result};

/// The rows of subjects that took turns.
#[derive(Debug)]
pub struct Table {
    /// What was measured, in a few words.
    pub title: String,
    /// In the order of the subjects.
    pub rows: Vec<Row>,
    /// The rows whose times the others' are compared with, by their names.
    pub baselines: Vec<String>,
    /// How many CPUs, on average, were busy with something else meanwhile, or taken away by the host.
    pub others: f64,
}

impl Table {
    /// Names the rows that the others are compared with. A name that has no row is left out of the table.
    #[must_use]
    pub fn compared_with<S: Into<String>>(mut self, baselines: impl IntoIterator<Item = S>) -> Self {
        self.baselines = baselines.into_iter().map(Into::into).collect();
        self
    }

    /// The row of the subject of that name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The median over the rounds of time(a) / time(b), in the same round: the machine changes its speed between rounds.
    ///
    /// # Errors
    ///
    /// There is no row of such a name.
    pub fn time_ratio(&self, a: &str, b: &str) -> Result<f64> {
        let (a, b) = (self.expect(a)?, self.expect(b)?);
        Ok(a.over(b))
    }

    /// The same round by round, the least and the greatest.
    ///
    /// # Errors
    ///
    /// There is no row of such a name.
    pub fn time_ratio_range(&self, a: &str, b: &str) -> Result<(f64, f64)> {
        let (a, b) = (self.expect(a)?, self.expect(b)?);
        Ok(range(a.means().zip(b.means()).map(|(mine, its)| mine / its)))
    }

    /// The name of the row with the least median among `names`, those without a row left out (a machine with one CPU has fewer).
    ///
    /// # Errors
    ///
    /// None of them has a row.
    pub fn fastest<'n>(&self, names: &[&'n str]) -> Result<&'n str> {
        let rows = names.iter().filter_map(|name| Some((*name, self.row(name)?.mean())));
        let fastest = rows.min_by(|(_, one), (_, other)| one.total_cmp(other));
        fastest.map(|(name, _)| name).ok_or_else(|| format!("no row is called any of {names:?}").into())
    }

    pub(crate) fn expect(&self, name: &str) -> Result<&Row> {
        self.row(name).ok_or_else(|| -> Error {
            let names: Vec<_> = self.rows.iter().map(|row| &row.name).collect();
            format!("no row is called {name:?} among {names:?}").into()
        })
    }
}

/// One subject, over all rounds.
#[derive(Debug)]
pub struct Row {
    /// The subject's name.
    pub name: String,
    /// What the subject does not do.
    pub note: String,
    /// What an operation carries, where it was said.
    pub payload: Option<Payload>,
    /// In the order in which they were measured.
    pub rounds: Vec<Round>,
    /// Every operation of the runs that time each, in nanoseconds.
    pub each: Histogram<u64>,
}

/// One turn of a subject.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// How many operations the run without a timer inside performed.
    pub operations: u64,
    /// How long it took.
    pub nanos: u64,
    /// Its visits to the kernel, where they are counted.
    pub waits: Option<Waits>,
    /// The run that times each operation.
    pub each: Percentiles,
}

/// Nanoseconds of single operations.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs, reason = "their names say it")]
pub struct Percentiles {
    pub operations: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
}

impl Percentiles {
    fn of(each: &Histogram<u64>) -> Self {
        let at = |quantile| each.value_at_quantile(quantile);
        Percentiles { operations: each.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: each.max() }
    }
}

impl Row {
    pub(crate) fn new(subject: &Subject<'_>, each: Histogram<u64>) -> Self {
        Row {
            name: subject.name().to_owned(),
            note: subject.note().to_owned(),
            payload: subject.carries().cloned(),
            rounds: Vec::new(),
            each,
        }
    }

    pub(crate) fn add(&mut self, operations: u64, whole: &Sample, each: &Histogram<u64>) -> Result<()> {
        let nanos = whole.elapsed.as_nanos().try_into()?;
        self.rounds.push(Round { operations, nanos, waits: whole.waits, each: Percentiles::of(each) });
        self.each.add(each)?;
        Ok(())
    }

    /// Nanoseconds of an operation, the mean of each round.
    pub fn means(&self) -> impl Iterator<Item = f64> + '_ {
        self.rounds.iter().map(|round| round.nanos as f64 / round.operations as f64)
    }

    /// The median of the rounds' means, in nanoseconds.
    pub fn mean(&self) -> f64 {
        median(self.means())
    }

    /// The least and the greatest of the rounds' means, in nanoseconds.
    pub fn range(&self) -> (f64, f64) {
        range(self.means())
    }

    /// Quantiles of single operations and their nanoseconds, closer to each other towards the slowest.
    pub fn distribution(&self) -> Vec<(f64, u64)> {
        self.each.iter_quantiles(10).map(|step| (step.quantile_iterated_to(), step.value_iterated_to())).collect()
    }

    /// Over all rounds.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles::of(&self.each)
    }

    /// The median over the rounds of this row's time / the other's.
    pub fn over(&self, other: &Row) -> f64 {
        median(self.means().zip(other.means()).map(|(mine, its)| mine / its))
    }

    /// Sleeps and wake-ups per million operations, where they are counted.
    pub fn waits_per_million(&self) -> Option<(f64, f64)> {
        let counted: Vec<_> = self.rounds.iter().filter_map(|round| Some((round.operations, round.waits?))).collect();
        let operations: u64 = counted.iter().map(|(operations, _)| operations).sum();
        let per_million = |count: u64| count as f64 * 1e6 / operations as f64;
        let sleeps = counted.iter().map(|(_, waits)| waits.sleeps).sum();
        let wakeups = counted.iter().map(|(_, waits)| waits.wakeups).sum();
        (operations > 0).then(|| (per_million(sleeps), per_million(wakeups)))
    }
}

/// The median, the upper of two in the middle; not a number where there are no values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::{Row, Table, median};
    use crate::{Sample, Subject};

    fn row(name: &str, nanos_of_ten: &[u64]) -> Row {
        let each = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        let subject = Subject::new(name, "", |_, _| Ok(Sample::from(Duration::ZERO)));
        let mut row = Row::new(&subject, each.clone());
        for &nanos in nanos_of_ten {
            row.add(10, &Sample::from(Duration::from_nanos(nanos)), &each).unwrap();
        }
        row
    }

    #[test]
    fn a_ratio_is_of_neighbours_in_time() {
        let rows = vec![row("a", &[100, 1000, 3000]), row("b", &[50, 500, 1000])];
        let table = Table { title: String::new(), rows, baselines: Vec::new(), others: 0.0 };
        assert_eq!(table.time_ratio("a", "b").unwrap(), 2.0);
        assert_eq!(table.time_ratio_range("a", "b").unwrap(), (2.0, 3.0));
        assert_eq!(table.row("a").unwrap().mean(), 100.0);
        assert_eq!(table.fastest(&["a", "nobody", "b"]).unwrap(), "b");
        assert!(table.time_ratio("a", "nobody").is_err());
    }

    #[test]
    fn the_middle_one_is_the_median() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert!(median([]).is_nan());
    }
}
