//! What the rounds add up to.

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use crate::measure::subject::{Payload, Sample, Subject, Waits};
use crate::{Error, Result};

/// The rows of subjects that took turns.
#[derive(Debug, Serialize)]
pub struct Table {
    /// Says what was measured, in a few words.
    pub title: String,
    /// Holds the rows in the order of the subjects.
    pub rows: Vec<Row>,
    /// Names the rows that all rows are compared with.
    pub baselines: Vec<String>,
    /// Counts the CPUs that were, on average, busy with something else meanwhile, or taken away by
    /// the host.
    #[serde(rename = "cpus_busy_with_others")]
    pub others: f64,
}

impl Table {
    /// Names the rows that all rows are compared with. A name without a row is left out of the
    /// report.
    #[must_use]
    pub fn compared_with<S: Into<String>>(
        mut self,
        baselines: impl IntoIterator<Item = S>,
    ) -> Self {
        self.baselines = baselines.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the row of the subject of that name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Returns the median over the rounds of time(a) / time(b). Both times are of one round,
    /// because the machine changes its speed between rounds.
    ///
    /// # Errors
    ///
    /// There is no row of such a name.
    pub fn time_ratio(&self, a: &str, b: &str) -> Result<f64> {
        let (a, b) = (self.expect(a)?, self.expect(b)?);
        Ok(a.over(b))
    }

    /// Returns the least and the greatest time(a) / time(b) of single rounds.
    ///
    /// # Errors
    ///
    /// There is no row of such a name.
    pub fn time_ratio_range(&self, a: &str, b: &str) -> Result<(f64, f64)> {
        let (a, b) = (self.expect(a)?, self.expect(b)?);
        Ok(range(a.means().zip(b.means()).map(|(mine, its)| mine / its)))
    }

    /// Returns the name of the row with the least median among `names`. Names without a row do not
    /// count: a machine with one CPU has fewer rows.
    ///
    /// # Errors
    ///
    /// None of them has a row.
    pub fn fastest<'n>(&self, names: &[&'n str]) -> Result<&'n str> {
        let rows = names.iter().filter_map(|name| Some((*name, self.row(name)?.mean())));
        let fastest = rows.min_by(|(_, one), (_, other)| one.total_cmp(other));
        fastest
            .map(|(name, _)| name)
            .ok_or_else(|| format!("no row is called any of {names:?}").into())
    }

    pub(crate) fn expect(&self, name: &str) -> Result<&Row> {
        self.row(name).ok_or_else(|| -> Error {
            let names: Vec<_> = self.rows.iter().map(|row| &row.name).collect();
            format!("no row is called {name:?} among {names:?}").into()
        })
    }
}

/// One subject, over all rounds.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Names the subject.
    pub name: String,
    /// Says what the subject does not do.
    pub note: String,
    /// Says what an operation carries, if that is known.
    pub payload: Option<Payload>,
    /// Holds the rounds in the order in which they were measured.
    pub rounds: Vec<Round>,
    /// Holds every operation of the runs that time each, in nanoseconds.
    #[serde(rename = "distribution", serialize_with = "serialize_distribution")]
    pub each: Histogram<u64>,
}

/// One turn of a subject.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// Counts the operations of the run without a timer inside.
    pub operations: u64,
    /// Says how long that run took.
    pub nanos: u64,
    /// Counts the visits to the kernel of that run, or is `None`.
    pub waits: Option<Waits>,
    /// Summarizes the run that times each operation.
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
        Percentiles {
            operations: each.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: each.max(),
        }
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

    pub(crate) fn add(
        &mut self,
        operations: u64,
        whole: &Sample,
        each: &Histogram<u64>,
    ) -> Result<()> {
        let nanos = whole.elapsed.as_nanos().try_into()?;
        self.rounds.push(Round {
            operations,
            nanos,
            waits: whole.waits,
            each: Percentiles::of(each),
        });
        self.each.add(each)?;
        Ok(())
    }

    /// Returns the nanoseconds of an operation, the mean of each round.
    pub fn means(&self) -> impl Iterator<Item = f64> + '_ {
        self.rounds.iter().map(|round| round.nanos as f64 / round.operations as f64)
    }

    /// Returns the median of the rounds' means, in nanoseconds.
    pub fn mean(&self) -> f64 {
        median(self.means())
    }

    /// Returns the least and the greatest of the rounds' means, in nanoseconds.
    pub fn range(&self) -> (f64, f64) {
        range(self.means())
    }

    /// Returns quantiles of single operations and their nanoseconds. The quantiles are closer to
    /// each other towards the slowest operation.
    pub fn distribution(&self) -> Vec<(f64, u64)> {
        distribution(&self.each)
    }

    /// Returns the percentiles over all rounds.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles::of(&self.each)
    }

    /// Returns the median over the rounds of this row's time / the time of `other`.
    pub fn over(&self, other: &Row) -> f64 {
        median(self.means().zip(other.means()).map(|(mine, its)| mine / its))
    }

    /// Returns sleeps and wake-ups per million operations, where they are counted.
    pub fn waits_per_million(&self) -> Option<(f64, f64)> {
        let counted: Vec<_> =
            self.rounds.iter().filter_map(|round| Some((round.operations, round.waits?))).collect();
        let operations: u64 = counted.iter().map(|(operations, _)| operations).sum();
        let per_million = |count: u64| count as f64 * 1e6 / operations as f64;
        let sleeps = counted.iter().map(|(_, waits)| waits.sleeps).sum();
        let wakeups = counted.iter().map(|(_, waits)| waits.wakeups).sum();
        (operations > 0).then(|| (per_million(sleeps), per_million(wakeups)))
    }
}

fn distribution(each: &Histogram<u64>) -> Vec<(f64, u64)> {
    each.iter_quantiles(10)
        .map(|step| (step.quantile_iterated_to(), step.value_iterated_to()))
        .collect()
}

fn serialize_distribution<S: Serializer>(
    each: &Histogram<u64>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    distribution(each).serialize(serializer)
}

/// Makes a histogram of nanoseconds, from one to a minute, with three digits.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(Error::from)
}

/// Returns the median, which is the upper of two values in the middle. Without values the median is
/// not a number.
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
    use crate::measure::subject::{Sample, Subject};

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
        assert_eq!(table.fastest(&["a", "missing", "b"]).unwrap(), "b");
        assert!(table.time_ratio("a", "missing").is_err());
    }

    #[test]
    fn the_middle_one_is_the_median() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert!(median([]).is_nan());
    }
}
