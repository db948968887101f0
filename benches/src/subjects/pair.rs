//! coprocess, through its public surface only.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Builder, Coprocess, Pending};
use serde::{Deserialize, Serialize};

use crate::measure::{Subject, Timing};
use crate::subjects::close::close;
use crate::subjects::waits::{serve_waits, with_waits};
use crate::{Result, units};

/// A struct of 32 bytes in memory. It takes about as many when encoded, since the time needs all
/// its bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    at_nanos: u64,
    value: f64,
    mean: f64,
    peak: f64,
}

/// A current time in nanoseconds, which takes the space and effort that a real time does.
pub const EPOCH: u64 = 1_700_000_000_000_000_000;

/// Runs in the second process, on its main thread, one handler at a time.
fn worker(co: Coprocess) {
    let handled = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&handled);
    serve_waits(&co);
    co.serve("echo", |value: u64| value)
        .serve("bytes", |bytes: ByteBuf| bytes)
        .serve("handled", move |()| handled.load(Relaxed))
        .listen("reading", move |reading: Reading| {
            black_box(&reading);
            // Not fetch_add: only this handler writes the counter, and a locked instruction would
            // cost as much as a message.
            counter.store(counter.load(Relaxed) + 1, Relaxed);
        });
}

/// Blocks until a started call is answered, and compares the answer with the value that was sent.
fn finish((value, answer): (u64, Pending<u64>)) -> Result<()> {
    if answer.wait()? != value { Err("calls are mixed up".into()) } else { Ok(()) }
}

/// A pair whose worker echoes and counts.
#[derive(Debug)]
pub struct Pair {
    co: Coprocess,
    emitted: Cell<u64>,
}

impl Pair {
    /// Starts a pair with default settings.
    ///
    /// # Errors
    ///
    /// The worker cannot be started.
    pub fn start() -> Result<Pair> {
        Pair::start_with(&Builder::new())
    }

    /// Starts a pair with the settings of `builder`.
    ///
    /// # Errors
    ///
    /// The worker cannot be started.
    pub fn start_with(builder: &Builder) -> Result<Pair> {
        let co = builder.clone().fork(worker)?;
        Ok(Pair { co, emitted: Cell::new(0) })
    }

    /// Returns the parent's end. The worker serves "echo" (`u64`) and "bytes" (`ByteBuf`).
    pub fn co(&self) -> &Coprocess {
        &self.co
    }

    /// Returns the process id of the worker.
    pub fn peer_id(&self) -> u32 {
        self.co.peer_id()
    }

    /// Sends a number there and back, by the name of the method: "call, u64".
    pub fn call_u64(&self) -> Subject<'_> {
        self.subject("call, u64", move |count, timing| {
            timing.laps(count, |turn| {
                let value = EPOCH + turn;
                if self.co.call::<u64>("echo", value)? != value {
                    return Err("calls are mixed up".into());
                }
                Ok(())
            })
        })
    }

    /// Sends `size` bytes there and back: "call, 64 B".
    pub fn call_bytes(&self, size: usize) -> Subject<'_> {
        let bytes = vec![0xa5; size];
        let subject =
            self.subject(format!("call, {}", units::bytes(size)), move |count, timing| {
                timing.laps(count, |_| {
                    let answer: ByteBuf = self.co.call("bytes", Bytes::new(&bytes))?;
                    if answer.len() != size {
                        return Err("the answer has another length".into());
                    }
                    Ok(())
                })
            });
        subject.payload("call", size)
    }

    /// Sends numbers there and back, with `in_flight` calls started before the first is waited for:
    /// "call, u64, 1000 in flight". One operation waits for the oldest call and starts another.
    pub fn call_pipelined(&self, in_flight: usize) -> Subject<'_> {
        self.subject(format!("call, u64, {in_flight} in flight"), move |count, timing| {
            let start = Instant::now();
            let mut pending = VecDeque::with_capacity(in_flight);
            timing.laps(count, |turn| {
                if pending.len() == in_flight
                    && let Some(oldest) = pending.pop_front()
                {
                    finish(oldest)?;
                }
                let value = EPOCH + turn;
                pending.push_back((value, self.co.start("echo", value)?));
                Ok(())
            })?;
            pending.into_iter().try_for_each(finish)?;
            Ok(start.elapsed())
        })
    }

    /// Emits a batch of events: "emit, 32 B". The call after them is answered after the last event
    /// was handled.
    pub fn emit(&self) -> Subject<'_> {
        self.subject(
            format!("emit, {}", units::bytes(size_of::<Reading>())),
            move |count, timing| {
                let start = Instant::now();
                timing.laps(count, |turn| {
                    let reading = Reading {
                        at_nanos: EPOCH + turn,
                        value: turn as f64,
                        mean: 0.5,
                        peak: 1.5,
                    };
                    self.co.emit("reading", reading)?;
                    Ok(())
                })?;
                let sent = self.emitted.get() + count;
                self.emitted.set(sent);
                let handled: u64 = self.co.call("handled", ())?;
                if handled != sent {
                    return Err(format!("{sent} events were sent, {handled} were handled").into());
                }
                Ok(start.elapsed())
            },
        )
    }

    /// Makes a subject of this pair that counts how often the two ends go to the kernel meanwhile.
    fn subject<'a>(
        &'a self,
        name: impl Into<String>,
        mut work: impl FnMut(u64, Timing<'_>) -> Result<Duration> + 'a,
    ) -> Subject<'a> {
        with_waits(
            vec![&self.co],
            Subject::new(name, "", move |count, timing| Ok(work(count, timing)?.into())),
        )
    }

    /// Closes the pair, and checks that the worker ends with status 0.
    ///
    /// # Errors
    ///
    /// The worker ends in another way.
    pub fn finish(self) -> Result<()> {
        close(&self.co)
    }
}
