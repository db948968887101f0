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

/// One line of the table: the mean time of an operation in each round.
pub(crate) struct Row {
    name: String,
    role: Role,
    means: Vec<f64>,
    operations: u64,
    waits: Option<Waits>,
}

impl Row {
    pub(crate) fn new(name: &str, role: Role) -> Row {
        Row {
            name: name.to_owned(),
            role,
            means: Vec::new(),
            operations: 0,
            waits: None,
        }
    }

    pub(crate) fn add(&mut self, operations: u64, sample: &Sample) {
        let mean = sample.elapsed.as_nanos() as f64 / operations as f64;
        let place = self.means.partition_point(|&other| other < mean);
        self.means.insert(place, mean);
        self.operations += operations;
        if let Some(waits) = sample.waits {
            let sum = self.waits.get_or_insert_default();
            sum.sleeps += waits.sleeps;
            sum.wakeups += waits.wakeups;
        }
    }

    fn median(&self) -> f64 {
        self.means
            .get(self.means.len() / 2)
            .copied()
            .unwrap_or(f64::NAN)
    }
}

/// The table, with its legend.
pub(crate) fn table(rows: &[Row]) -> String {
    // Where there are two rows of a kind (a pipe on one CPU and on two), the faster one is the measure.
    let best = |role| {
        rows.iter()
            .filter(|row| row.role == role)
            .map(Row::median)
            .reduce(f64::min)
    };
    let mut text = format!(
        "{:<44} {:>9} {:>9} {:>9} {:>10} {:>9} {:>9} {:>10}\n",
        "", "median", "min", "max", "over floor", "pipe over", "sleeps/M", "wake-ups/M"
    );
    for row in rows {
        let (floor, pipe) = match row.role {
            Role::Floor | Role::Call | Role::PipeRoundTrip => {
                (best(Role::Floor), best(Role::PipeRoundTrip))
            }
            Role::Event | Role::PipeStream => (None, best(Role::PipeStream)),
        };
        let over_floor = ratio(floor.map(|floor| row.median() / floor));
        let pipe_over = ratio(pipe.map(|pipe| pipe / row.median()));
        let per_million = |count: u64| format!("{:.1}", count as f64 * 1e6 / row.operations as f64);
        let sleeps = row
            .waits
            .map_or("-".to_owned(), |waits| per_million(waits.sleeps));
        let wakeups = row
            .waits
            .map_or("-".to_owned(), |waits| per_million(waits.wakeups));
        let least = row.means.first().copied().unwrap_or(f64::NAN);
        let most = row.means.last().copied().unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "{:<44} {:>9.1} {least:>9.1} {most:>9.1} {over_floor:>10} {pipe_over:>9} {sleeps:>9} {wakeups:>10}",
            row.name,
            row.median(),
        );
    }
    text.push_str(
        "\nTimes are nanoseconds per operation: a round trip, or one event of a batch that a call confirms. Median, least and\n\
         greatest of the rounds' means. over floor: this row / floor. pipe over: pipe / this row, for round trips the faster\n\
         8-byte one, for events the 32-byte writes. sleeps/M, wake-ups/M: both ends together, per million operations, while\n\
         they are busy; no other system call is made on the way of a message.\n",
    );
    text
}

fn ratio(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
}
