//! Defines what every contender has in common.

use std::time::{Duration, Instant};

use coprocess_bench::{Host, Result, Subject, Timing};

use crate::item::check;

/// Describes a mechanism that is compared with coprocess, as a row of a table.
pub(crate) struct Contender {
    /// Names the row.
    pub(crate) name: &'static str,
    /// Says what the contender does not do that coprocess does.
    pub(crate) note: &'static str,
    /// Starts the contender.
    pub(crate) start: fn(&Host) -> Result<Started>,
}

/// Controls the second side of a contender. That side does as many operations as ordered, and
/// sleeps between orders.
pub(crate) trait Side {
    /// Returns the process to wait for until it sleeps, if this side has a process of its own.
    fn process(&self) -> Option<u32>;

    /// Orders `count` operations.
    fn order(&mut self, count: u64) -> Result<()>;

    /// Blocks until the operations are done, and returns the answer.
    fn answer(&mut self) -> Result<u64>;
}

type Run = Box<dyn FnMut(u64, Timing<'_>) -> Result<Duration>>;

/// Holds a contender whose second side has started.
pub(crate) struct Started {
    process: Option<u32>,
    run: Run,
}

impl Started {
    pub(crate) fn new(
        process: Option<u32>,
        run: impl FnMut(u64, Timing<'_>) -> Result<Duration> + 'static,
    ) -> Started {
        Started { process, run: Box::new(run) }
    }

    /// Sends words there and back, one at a time. `exchange` sends the word of a turn and checks
    /// that the word comes back.
    pub(crate) fn round_trip(
        mut other: impl Side + 'static,
        mut exchange: impl FnMut(u64) -> Result<()> + 'static,
    ) -> Started {
        Started::new(other.process(), move |count, timing| {
            other.order(count + 1)?;
            exchange(0)?; // waits until the second side is awake
            let elapsed = timing.laps(count, &mut exchange)?;
            other.answer()?;
            Ok(elapsed)
        })
    }

    /// Sends items one way. `send` sends the item of a turn. It is told whether the item is the
    /// last, and may hold items back until then. The second side adds up the turns.
    pub(crate) fn stream(
        mut other: impl Side + 'static,
        mut send: impl FnMut(u64, bool) -> Result<()> + 'static,
    ) -> Started {
        Started::new(other.process(), move |count, timing| {
            let start = Instant::now();
            other.order(count)?;
            timing.laps(count, |turn| send(turn, turn + 1 == count))?;
            check(count, other.answer()?)?;
            Ok(start.elapsed())
        })
    }

    /// Returns the process to wait for until it sleeps.
    pub(crate) fn process(&self) -> Option<u32> {
        self.process
    }

    /// Makes the subject of `contender`.
    pub(crate) fn subject(mut self, contender: &Contender) -> Subject<'static> {
        Subject::new(contender.name, contender.note, move |count, timing| {
            Ok((self.run)(count, timing)?.into())
        })
    }
}
