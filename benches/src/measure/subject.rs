//! What is measured, and how its operations are timed.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Result;
use crate::machine::{self, Host};

type Run<'a> = dyn FnMut(u64, Timing<'_>) -> Result<Sample> + 'a;

/// One thing to measure: the closure performs a number of operations and returns how long they
/// took.
pub struct Subject<'a> {
    name: String,
    note: String,
    limit: u64,
    payload: Option<Payload>,
    run: Box<Run<'a>>,
}

/// How many bytes an operation carries, and the series of the chart by payload size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payload {
    /// Names the mechanism, whatever the size.
    pub series: String,
    /// Counts the bytes of one operation, in one direction.
    pub bytes: usize,
}

impl<'a> Subject<'a> {
    /// Makes a subject from `run`, which performs as many operations as the argument says: in a
    /// loop of its own, or with [`Timing::laps`].
    ///
    /// `name` identifies the row. `note` says what the subject does not do that coprocess does
    /// (decode, dispatch, correlate), and is empty for coprocess itself.
    pub fn new(
        name: impl Into<String>,
        note: impl Into<String>,
        run: impl FnMut(u64, Timing<'_>) -> Result<Sample> + 'a,
    ) -> Self {
        Subject {
            name: name.into(),
            note: note.into(),
            limit: u64::MAX,
            payload: None,
            run: Box::new(run),
        }
    }

    /// Bounds the operations of one run, for slow ones. A run performs at least one operation.
    #[must_use]
    pub fn limit(mut self, operations: u64) -> Self {
        self.limit = operations.max(1);
        self
    }

    /// Renames the subject.
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

    /// Wraps what runs the operations; name, note, limit and payload stay.
    #[must_use]
    pub fn wrapped(
        self,
        mut wrap: impl FnMut(&mut Run<'a>, u64, Timing<'_>) -> Result<Sample> + 'a,
    ) -> Self {
        let Subject { name, note, limit, payload, mut run } = self;
        Subject {
            name,
            note,
            limit,
            payload,
            run: Box::new(move |count, timing| wrap(&mut *run, count, timing)),
        }
    }

    /// Runs the subject while `peer` is on the CPU of this process instead of the other CPU.
    #[must_use]
    pub fn on_one_cpu(mut self, host: &Host, peer: u32) -> Self {
        let pinned = host.pinned();
        self.name += ", one CPU";
        if let Some(payload) = &mut self.payload {
            payload.series += ", one CPU";
        }
        self.wrapped(move |run, count, timing| {
            let Some((near, far)) = pinned else { return run(count, timing) };
            machine::pin(peer, near)?;
            let outcome = run(count, timing);
            machine::pin(peer, far)?;
            outcome
        })
    }

    /// Returns the name of the row.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the subject does not do.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Returns what an operation carries, if that was said.
    pub fn carries(&self) -> Option<&Payload> {
        self.payload.as_ref()
    }

    /// Returns the bound on the operations of one run.
    pub fn most(&self) -> u64 {
        self.limit
    }

    /// Performs `count` operations.
    ///
    /// # Errors
    ///
    /// The closure reports a mechanism that failed or mixed up its messages.
    pub fn run(&mut self, count: u64, timing: Timing<'_>) -> Result<Sample> {
        (self.run)(count, timing).map_err(|error| format!("{}: {error}", self.name).into())
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subject")
            .field("name", &self.name)
            .field("note", &self.note)
            .finish_non_exhaustive()
    }
}

/// How the operations of a run are timed.
#[derive(Debug)]
pub enum Timing<'h> {
    /// Reads the clock before the first and after the last operation only: for the mean of a round.
    Whole,
    /// Times and records every operation, in nanoseconds: for percentiles. Every figure includes
    /// one reading of the clock.
    Each(&'h mut Histogram<u64>),
}

impl Timing<'_> {
    /// Performs `op` `count` times and returns how long that took in all. `op` is told how often it
    /// was performed before.
    ///
    /// # Errors
    ///
    /// The first error of `op`.
    pub fn laps(mut self, count: u64, mut op: impl FnMut(u64) -> Result<()>) -> Result<Duration> {
        let start = Instant::now();
        // Two loops, so that the loop of the means holds nothing but `op`.
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

    /// Performs `op` like [`laps`](Timing::laps), with `prepare` before each, which does not count
    /// (a pause, say). Every operation is timed by itself in either case: for operations beside
    /// which a reading of the clock is nothing.
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

    /// Records one operation that the subject timed itself. Does nothing where only the whole is
    /// timed.
    pub fn record(&mut self, elapsed: Duration) {
        if let Timing::Each(histogram) = self {
            histogram.saturating_record(elapsed.as_nanos().try_into().unwrap_or(u64::MAX));
        }
    }
}

/// What one run tells: how long the operations took, and what waiting cost where that is counted.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Measures from the first to the last operation.
    pub elapsed: Duration,
    /// Counts visits to the kernel, or is `None`.
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
    /// Counts how often an end went to sleep.
    pub sleeps: u64,
    /// Counts how often an end made a system call to wake the other end.
    pub wakeups: u64,
}
