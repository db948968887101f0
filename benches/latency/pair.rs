//! coprocess, through its public surface only, with its default settings.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use coprocess::Coprocess;
use coprocess::serde_bytes::{ByteBuf, Bytes};
use serde::{Deserialize, Serialize};

use crate::report::Role;
use crate::{Result, Sample, Subject, Waits};

/// 32 bytes in memory and, with a time that needs all its bytes, about as many in the envelope.
#[derive(Serialize, Deserialize)]
struct Reading {
    at_nanos: u64,
    value: f64,
    mean: f64,
    peak: f64,
}

/// A time of our days in nanoseconds, so that it takes the space and effort that a real one does.
const EPOCH: u64 = 1_700_000_000_000_000_000;

/// The second process. Everything here runs on its main thread, one handler at a time.
fn worker(co: Coprocess) {
    let handled = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&handled);
    let this = co.downgrade();
    co.serve("echo", |value: u64| value)
        .serve("bytes", |bytes: ByteBuf| bytes)
        .serve("waits", move |()| {
            this.upgrade().map_or((0, 0), |co| {
                let stats = co.stats();
                (stats.sleeps, stats.wakeups_sent)
            })
        })
        .serve("handled", move |()| handled.load(Relaxed))
        .listen("reading", move |reading: Reading| {
            black_box(&reading);
            // Not fetch_add: only this handler writes, and a locked instruction would cost as much as a message.
            counter.store(counter.load(Relaxed) + 1, Relaxed);
        });
}

pub(crate) struct Pair {
    co: Coprocess,
}

impl Pair {
    pub(crate) fn start() -> Result<Pair> {
        let co = coprocess::fork(worker)?;
        Ok(Pair { co })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.co.peer_id()
    }

    pub(crate) fn call_u64(&self) -> Subject<'_> {
        self.subject("call, u64 -> u64".to_owned(), Role::Call, move |count| {
            for turn in 0..count {
                let value = EPOCH + turn;
                if self.co.call::<u64>("echo", value)? != value {
                    return Err("calls are mixed up".into());
                }
            }
            Ok(())
        })
    }

    /// `size` bytes there and back.
    pub(crate) fn call_bytes(&self, size: usize) -> Subject<'_> {
        let bytes = vec![0xa5; size];
        let name = format!("call, {size} bytes -> {size} bytes");
        self.subject(name, Role::Call, move |count| {
            for _ in 0..count {
                let answer: ByteBuf = self.co.call("bytes", Bytes::new(&bytes))?;
                if answer.len() != size {
                    return Err("the answer has another length".into());
                }
            }
            Ok(())
        })
    }

    /// A batch of events; what comes after it in order confirms that all were handled.
    pub(crate) fn emit(&self) -> Subject<'_> {
        let mut sent = 0;
        let name = format!("emit, {}-byte struct, per event", size_of::<Reading>());
        self.subject(name, Role::Event, move |count| {
            for turn in 0..count {
                let reading = Reading { at_nanos: EPOCH + turn, value: turn as f64, mean: 0.5, peak: 1.5 };
                self.co.emit("reading", reading)?;
            }
            sent += count;
            let handled: u64 = self.co.call("handled", ())?;
            if handled != sent {
                return Err(format!("{sent} events were sent, {handled} were handled").into());
            }
            Ok(())
        })
    }

    pub(crate) fn finish(&self) -> Result<()> {
        match self.co.close()? {
            Some(status) if status.success() => Ok(()),
            status => Err(format!("the worker ended with {status:?}").into()),
        }
    }

    /// Times `work` and counts how often the two ends went to the kernel meanwhile.
    fn subject<'a>(&'a self, name: String, role: Role, mut work: impl FnMut(u64) -> Result<()> + 'a) -> Subject<'a> {
        let run = move |count: u64| {
            let before = self.waits()?;
            let start = Instant::now();
            work(count)?;
            let elapsed = start.elapsed();
            let after = self.waits()?;
            Ok(Sample { elapsed, waits: Some(Waits { sleeps: after.sleeps - before.sleeps, wakeups: after.wakeups - before.wakeups }) })
        };
        Subject { name, role, run: Box::new(run) }
    }

    fn waits(&self) -> Result<Waits> {
        let (sleeps, wakeups): (u64, u64) = self.co.call("waits", ())?;
        let ours = self.co.stats();
        Ok(Waits { sleeps: ours.sleeps + sleeps, wakeups: ours.wakeups_sent + wakeups })
    }
}
