//! The parent's calls to the worker, and the time that each took.

use std::time::Instant;

use coprocess::{Coprocess, Result};
use hdrhistogram::Histogram;

use crate::protocol::{SET_RATE, STOP, TOP, Totals, Usage};

/// The worker as the parent sees it: an object with three methods.
#[derive(Debug)]
pub(crate) struct Sampler {
    worker: Coprocess,
    pub(crate) set_rate_times: Times,
    pub(crate) top_times: Times,
}

/// How long the calls of one method took, in nanoseconds.
pub(crate) type Times = Histogram<u64>;

impl Sampler {
    pub(crate) fn new(worker: Coprocess) -> Sampler {
        let times = || Times::new(3).expect("three digits are a valid precision");
        Sampler { worker, set_rate_times: times(), top_times: times() }
    }

    /// Sets the rate, in rounds per second.
    pub(crate) fn set_rate(&mut self, rate: u32) -> Result<()> {
        timed(&mut self.set_rate_times, || self.worker.call(SET_RATE, rate))
    }

    /// Returns the `n` processes that are busiest now.
    pub(crate) fn top(&mut self, n: u32) -> Result<Vec<Usage>> {
        timed(&mut self.top_times, || self.worker.call(TOP, n))
    }

    /// Ends the sampling. When this returns, the listener has handled every batch.
    pub(crate) fn stop(&self) -> Result<Totals> {
        self.worker.call(STOP, ())
    }
}

fn timed<R>(times: &mut Times, call: impl FnOnce() -> Result<R>) -> Result<R> {
    let start = Instant::now();
    let result = call()?;
    times.record(start.elapsed().as_nanos() as u64).expect("the histogram grows by itself");
    Ok(result)
}
