//! Large values through coprocess with default settings: emitted as byte strings, confirmed by a
//! call.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use coprocess::Coprocess;
use coprocess::serde_bytes::{ByteBuf, Bytes};

use crate::Result;
use crate::measure::Subject;
use crate::subjects::batch::in_batches;
use crate::subjects::close::close;
use crate::subjects::waits::{serve_waits, with_waits};

/// Runs in the second process.
fn worker(co: Coprocess) {
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    serve_waits(&co);
    co.serve("received", move |()| received.load(Relaxed)).listen(
        "value",
        move |value: ByteBuf| {
            // Not fetch_add: only this handler writes the counter.
            counter.store(counter.load(Relaxed) + black_box(&value).len() as u64, Relaxed);
        },
    );
}

pub(crate) struct BulkPair {
    co: Coprocess,
}

impl BulkPair {
    pub(crate) fn start() -> Result<BulkPair> {
        Ok(BulkPair { co: coprocess::fork(worker)? })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.co.peer_id()
    }

    /// Emits values of `size` bytes and confirms each batch by a call, which is answered after the
    /// last value was handled.
    pub(crate) fn emit(&self, size: usize, batch: u32, name: String) -> Subject<'_> {
        let value = vec![0xa5; size];
        let subject = Subject::new(name, "", move |count, timing| {
            let mut expected: u64 = self.co.call("received", ())?;
            let send = || {
                for _ in 0..batch {
                    self.co.emit("value", Bytes::new(&value))?;
                }
                expected += u64::from(batch) * size as u64;
                match self.co.call::<u64>("received", ())? {
                    received if received == expected => Ok(()),
                    received => {
                        Err(format!("{expected} bytes were sent, {received} were received").into())
                    }
                }
            };
            Ok(in_batches(timing, count, batch, send)?.into())
        });
        with_waits(vec![&self.co], subject)
    }

    pub(crate) fn finish(&self) -> Result<()> {
        close(&self.co)
    }
}
