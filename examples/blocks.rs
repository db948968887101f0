//! Shows large arrays of numbers that travel as one block within any message, not one at a time.
//!
//! Run it with `cargo run --release --example blocks`.
//!
//! The worker smooths a signal of a million samples. The parent sends the signal in three ways, and
//! all three give the same result.

use std::time::Instant;

use coprocess::{Block, Coprocess, Result, block};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Signal {
    rate: u32,
    samples: Block<f32>,
}

/// Returns the mean of each sample and the sample before it.
fn smooth(samples: &[f32]) -> Vec<f32> {
    let before = std::iter::once(&0.0).chain(samples);
    before.zip(samples).map(|(a, b)| (a + b) / 2.0).collect()
}

/// Serves the three ways, in a process of its own.
fn worker(parent: Coprocess) {
    parent.serve("smooth", |signal: Signal| Signal {
        samples: smooth(&signal.samples).into(),
        ..signal
    });
    parent.serve("smooth slice", |samples: Block<f32>| Block::from(smooth(&samples)));
    parent.serve("smooth numbers", |samples: Vec<f32>| smooth(&samples));
}

fn main() -> Result<()> {
    coprocess::init();
    let worker = coprocess::fork(worker)?;
    let samples: Vec<f32> = (0..1 << 20).map(|n| (n as f32 / 100.0).sin()).collect();
    let expected = smooth(&samples);

    // A block as a field of a struct.
    let start = Instant::now();
    let signal: Signal =
        worker.call("smooth", Signal { rate: 48_000, samples: Block::from(samples.as_slice()) })?;
    println!(
        "{} samples at {} Hz, as a block in a struct: {:.1?}",
        signal.samples.len(),
        signal.rate,
        start.elapsed()
    );
    assert!(signal.samples[..] == expected);

    // A slice that is the whole message is copied into the ring from where it lies.
    let start = Instant::now();
    let smoothed: Block<f32> = worker.call("smooth slice", block(&samples))?;
    println!("as a block of its own: {:.1?}", start.elapsed());
    assert!(smoothed.into_vec() == expected);

    let start = Instant::now();
    let smoothed: Vec<f32> = worker.call("smooth numbers", &samples)?;
    println!("a number at a time: {:.1?}", start.elapsed());
    assert!(smoothed == expected);

    worker.close()?;
    Ok(())
}
