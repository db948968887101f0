//! coprocess with default settings, and a method that works for the time that the argument names.

use std::time::Duration;

use coprocess::Coprocess;

use crate::Result;
use crate::subjects::close::close;
use crate::subjects::waits::serve_waits;
use crate::subjects::work::work;

/// Runs in the second process.
fn worker(co: Coprocess) {
    serve_waits(&co);
    co.serve("work", |nanos: u64| {
        work(Duration::from_nanos(nanos));
        nanos
    });
}

pub(crate) struct WorkingPair {
    co: Coprocess,
}

impl WorkingPair {
    pub(crate) fn start() -> Result<WorkingPair> {
        Ok(WorkingPair { co: coprocess::fork(worker)? })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.co.peer_id()
    }

    pub(crate) fn co(&self) -> &Coprocess {
        &self.co
    }

    /// Makes one call, with `time` of work in the handler.
    pub(crate) fn exchange(&self, time: Duration) -> Result<()> {
        let nanos = time.as_nanos() as u64;
        if self.co.call::<u64>("work", nanos)? != nanos {
            return Err("calls are mixed up".into());
        }
        Ok(())
    }

    pub(crate) fn finish(&self) -> Result<()> {
        close(&self.co)
    }
}
