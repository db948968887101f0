//! What is put beside coprocess, whatever it is.

use std::time::{Duration, Instant};

use coprocess_bench::{Host, Result, Subject, Timing};

use crate::item::check;

/// One row to be: how it is called, what it does not do that coprocess does, and how it is started.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) note: &'static str,
    pub(crate) start: fn(&Host) -> Result<Started>,
}

/// The other side of a contender, which does as many operations as it is told to and sleeps in between.
pub(crate) trait Side {
    /// The process to wait for until it sleeps, if it is one of its own.
    fn process(&self) -> Option<u32>;

    /// Tells it to do `count` operations.
    fn order(&mut self, count: u64) -> Result<()>;

    /// What it says when it has done them.
    fn answer(&mut self) -> Result<u64>;
}

type Run = Box<dyn FnMut(u64, Timing<'_>) -> Result<Duration>>;

/// A contender whose other side is there.
pub(crate) struct Started {
    process: Option<u32>,
    run: Run,
}

impl Started {
    pub(crate) fn new(process: Option<u32>, run: impl FnMut(u64, Timing<'_>) -> Result<Duration> + 'static) -> Started {
        Started { process, run: Box::new(run) }
    }

    /// Words there and back, one at a time. `exchange` sends what it is given and sees that it comes back.
    pub(crate) fn round_trip(mut other: impl Side + 'static, mut exchange: impl FnMut(u64) -> Result<()> + 'static) -> Started {
        Started::new(other.process(), move |count, timing| {
            other.order(count + 1)?;
            exchange(0)?; // waits until the other side is awake
            let elapsed = timing.laps(count, &mut exchange)?;
            other.answer()?;
            Ok(elapsed)
        })
    }

    /// Items one way. `send` sends the item of that turn and is told whether it is the last one, until which it may hold some back; the
    /// other side adds up the turns.
    pub(crate) fn stream(mut other: impl Side + 'static, mut send: impl FnMut(u64, bool) -> Result<()> + 'static) -> Started {
        Started::new(other.process(), move |count, timing| {
            let start = Instant::now();
            other.order(count)?;
            timing.laps(count, |turn| send(turn, turn + 1 == count))?;
            check(count, other.answer()?)?;
            Ok(start.elapsed())
        })
    }

    /// The process to wait for until it sleeps.
    pub(crate) fn process(&self) -> Option<u32> {
        self.process
    }

    /// The row of `contender`.
    pub(crate) fn subject(mut self, contender: &Contender) -> Subject<'static> {
        Subject::new(contender.name, contender.note, move |count, timing| Ok((self.run)(count, timing)?.into()))
    }
}
