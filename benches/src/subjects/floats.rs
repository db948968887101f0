//! A call whose argument is a large array of numbers: number by number, as serde encodes it, and as
//! a block.

use coprocess::{Block, Coprocess, block};
use serde::Serialize;

use crate::Result;
use crate::measure::Subject;
use crate::subjects::close::close;
use crate::subjects::waits::{serve_waits, with_waits};

/// Runs in the second process.
fn worker(co: Coprocess) {
    serve_waits(&co);
    co.serve("numbers", |numbers: Vec<f32>| ends(&numbers));
    co.serve("block", |numbers: Block<f32>| ends(&numbers));
}

/// Returns what shows that the whole array has arrived.
fn ends(numbers: &[f32]) -> (usize, Option<f32>) {
    (numbers.len(), numbers.last().copied())
}

pub(crate) struct FloatsPair {
    co: Coprocess,
    numbers: Vec<f32>,
}

impl FloatsPair {
    pub(crate) fn start(count: usize) -> Result<FloatsPair> {
        Ok(FloatsPair {
            co: coprocess::fork(worker)?,
            numbers: (0..count).map(|n| n as f32).collect(),
        })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.co.peer_id()
    }

    /// Calls with the array as serde encodes it.
    pub(crate) fn one_at_a_time(&self, name: &str) -> Subject<'_> {
        self.calls(name, "numbers", |pair| &pair.numbers)
    }

    /// Calls with the array as a block, which is sent from where it lies.
    pub(crate) fn as_block(&self, name: &str) -> Subject<'_> {
        self.calls(name, "block", |pair| block(&pair.numbers))
    }

    fn calls<'a, V: Serialize>(
        &'a self,
        name: &str,
        method: &'static str,
        value: impl Fn(&'a FloatsPair) -> V + 'a,
    ) -> Subject<'a> {
        let expected = ends(&self.numbers);
        let subject = Subject::new(name, "", move |count, timing| {
            let elapsed = timing.laps(count, |_| {
                match self.co.call::<(usize, Option<f32>)>(method, value(self))? {
                    arrived if arrived == expected => Ok(()),
                    arrived => {
                        Err(format!("{expected:?} was sent, {arrived:?} was received").into())
                    }
                }
            })?;
            Ok(elapsed.into())
        });
        with_waits(vec![&self.co], subject)
    }

    pub(crate) fn finish(&self) -> Result<()> {
        close(&self.co)
    }
}
