//! What the rounds add up to.

use std::fmt::Write;

use crate::{Sample, Waits};

/// What a row is, and hence what it is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Floor,
    Call,
    PipeRoundTrip,
    Event,
    PipeStream,
}

/// One line of the table: the mean time of an operation in each round, in the order of the rounds.
pub(crate) struct Row {
    name: String,
    role: Role,
    means: Vec<f64>,
    operations: u64,
    waits: Option<Waits>,
}

impl Row {
    pub(crate) fn new(name: &str, role: Role) -> Row {
        Row { name: name.to_owned(), role, means: Vec::new(), operations: 0, waits: None }
    }

    pub(crate) fn add(&mut self, operations: u64, sample: &Sample) {
        self.means.push(sample.elapsed.as_nanos() as f64 / operations as f64);
        self.operations += operations;
        if let Some(waits) = sample.waits {
            let sum = self.waits.get_or_insert_default();
            sum.sleeps += waits.sleeps;
            sum.wakeups += waits.wakeups;
        }
    }

    fn spread(&self) -> Spread {
        Spread::of(self.means.clone())
    }

    /// The median of the rounds' ratios, which stands more than the ratio of the medians when the machine changes its
    /// speed between rounds.
    fn over(&self, other: &Row) -> f64 {
        Spread::of(self.means.iter().zip(&other.means).map(|(mine, its)| mine / its).collect()).median
    }
}

struct Spread {
    least: f64,
    median: f64,
    greatest: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        Spread { least: at(0), median: at(values.len() / 2), greatest: at(values.len().saturating_sub(1)) }
    }
}

/// The table, with its legend.
pub(crate) fn table(rows: &[Row]) -> String {
    // Where there are two rows of a kind (a pipe on one CPU and on two), the faster one is the measure.
    let best = |role| rows.iter().filter(|row| row.role == role).min_by(|a, b| a.spread().median.total_cmp(&b.spread().median));
    let mut text = format!(
        "{:<44} {:>9} {:>9} {:>9} {:>10} {:>9} {:>9} {:>10}\n",
        "", "median", "min", "max", "over floor", "pipe over", "sleeps/M", "wake-ups/M"
    );
    for row in rows {
        let (floor, pipe) = match row.role {
            Role::Floor | Role::Call | Role::PipeRoundTrip => (best(Role::Floor), best(Role::PipeRoundTrip)),
            Role::Event | Role::PipeStream => (None, best(Role::PipeStream)),
        };
        let over_floor = cell(floor.map(|floor| row.over(floor)), 2);
        let pipe_over = cell(pipe.map(|pipe| pipe.over(row)), 2);
        let per_million = |count: u64| count as f64 * 1e6 / row.operations as f64;
        let sleeps = cell(row.waits.map(|waits| per_million(waits.sleeps)), 1);
        let wakeups = cell(row.waits.map(|waits| per_million(waits.wakeups)), 1);
        let Spread { least, median, greatest } = row.spread();
        let _ = writeln!(
            text,
            "{:<44} {median:>9.1} {least:>9.1} {greatest:>9.1} {over_floor:>10} {pipe_over:>9} {sleeps:>9} {wakeups:>10}",
            row.name,
        );
    }
    text.push_str(LEGEND);
    if let Some(floor) = best(Role::Floor).map(Row::spread).filter(|floor| floor.greatest > 2.0 * floor.least) {
        let _ = writeln!(
            text,
            "\nThe floor itself moved from {:.0} to {:.0} ns: the machine is shared, or was busy. Trust ratios only.",
            floor.least, floor.greatest
        );
    }
    text
}

const LEGEND: &str = "
Times are nanoseconds per operation: a round trip, or one event of a batch that a call confirms; median, least and
greatest of the rounds' means. Ratios are medians of the rounds' ratios. over floor: this row / floor. pipe over: pipe /
this row, where pipe is the faster 8-byte one for round trips and the 32-byte writes for events. sleeps/M, wake-ups/M: how
often both ends together slept in the kernel and woke each other there, per million operations.
";

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}
