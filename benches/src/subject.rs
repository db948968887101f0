//! What is measured, and how its operations are timed.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Result;

type Run<'a> = Box<dyn FnMut(u64, Timing<'_>) -> Result<Sample> + 'a>;

/// One thing to measure: its closure performs a number of operations and says how long they took.
pub struct Subject<'a> {
    name: String,
    note: String,
    limit: u64,
    payload: Option<Payload>,
    run: Run<'a>,
}

/// How many bytes an operation carries, and in which series of the chart by payload size it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payload {
    /// The mechanism, the same for all its sizes.
    pub series: String,
    /// Bytes of one operation, in one direction.
    pub bytes: usize,
}

impl<'a> Subject<'a> {
    /// `name` identifies its row; `note` says what it does not do that coprocess does (decode, dispatch, correlate), and is empty for
    /// coprocess itself. `run` performs as many operations as it is told: in a loop of its own, or with [`Timing::laps`].
    pub fn new(name: impl Into<String>, note: impl Into<String>, run: impl FnMut(u64, Timing<'_>) -> Result<Sample> + 'a) -> Self {
        Subject { name: name.into(), note: note.into(), limit: u64::MAX, payload: None, run: Box::new(run) }
    }

    /// For what is slow: performs no more than `max_ops_per_run` operations in one run, at least one.
    #[must_use]
    pub fn limit(mut self, max_ops_per_run: u64) -> Self {
        self.limit = max_ops_per_run.max(1);
        self
    }

    /// Another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Puts the row into the chart by payload size.
    #[must_use]
    pub fn payload(mut self, series: impl Into<String>, bytes: usize) -> Self {
        self.payload = Some(Payload { series: series.into(), bytes });
        self
    }

    /// The name of its row.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does not do.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// What an operation carries, if it was said.
    pub fn carries(&self) -> Option<&Payload> {
        self.payload.as_ref()
    }

    /// The most operations of one run.
    pub fn most(&self) -> u64 {
        self.limit
    }

    /// Performs `count` operations.
    ///
    /// # Errors
    ///
    /// What its closure reports: a mechanism that failed or mixed up its messages.
    pub fn run(&mut self, count: u64, timing: Timing<'_>) -> Result<Sample> {
        (self.run)(count, timing).map_err(|error| format!("{}: {error}", self.name).into())
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subject").field("name", &self.name).field("note", &self.note).finish_non_exhaustive()
    }
}

/// How the operations of a run are timed.
#[derive(Debug)]
pub enum Timing<'h> {
    /// The clock is read before the first and after the last operation, not in between: for the mean of a round.
    Whole,
    /// Every operation is timed and recorded, in nanoseconds: for percentiles. One reading of the clock is in every figure.
    Each(&'h mut Histogram<u64>),
}

impl Timing<'_> {
    /// Performs `op` `count` times, telling it how often it was performed before, and returns how long that took in all.
    ///
    /// # Errors
    ///
    /// The first error of `op`.
    pub fn laps(mut self, count: u64, mut op: impl FnMut(u64) -> Result<()>) -> Result<Duration> {
        let start = Instant::now();
        // Two loops, so that the one of the means has nothing in it but `op`.
        if matches!(self, Timing::Whole) {
            for turn in 0..count {
                op(turn)?;
            }
        } else {
            for turn in 0..count {
                let begin = Instant::now();
                op(turn)?;
                self.record(begin.elapsed());
            }
        }
        Ok(start.elapsed())
    }

    /// Like [`laps`](Timing::laps), with something before each operation that does not count (a pause, say). Every operation is timed by
    /// itself here in either case: for operations beside which a reading of the clock is nothing.
    ///
    /// # Errors
    ///
    /// The first error of `prepare` or `op`.
    pub fn laps_after(
        mut self,
        count: u64,
        mut prepare: impl FnMut(u64) -> Result<()>,
        mut op: impl FnMut(u64) -> Result<()>,
    ) -> Result<Duration> {
        let mut total = Duration::ZERO;
        for turn in 0..count {
            prepare(turn)?;
            let begin = Instant::now();
            op(turn)?;
            let elapsed = begin.elapsed();
            total += elapsed;
            self.record(elapsed);
        }
        Ok(total)
    }

    /// Records one operation that the subject timed itself; nothing where only the whole is timed.
    pub fn record(&mut self, elapsed: Duration) {
        if let Timing::Each(histogram) = self {
            histogram.saturating_record(elapsed.as_nanos().try_into().unwrap_or(u64::MAX));
        }
    }
}

/// What one run tells: how long its operations took, and what its waiting cost where that is counted.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// From the first to the last operation.
    pub elapsed: Duration,
    /// Visits to the kernel, where they are counted.
    pub waits: Option<Waits>,
}

impl From<Duration> for Sample {
    fn from(elapsed: Duration) -> Self {
        Sample { elapsed, waits: None }
    }
}

/// Visits to the kernel, of both ends together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// How often an end went to sleep.
    pub sleeps: u64,
    /// How often an end made a system call to wake the other.
    pub wakeups: u64,
}
