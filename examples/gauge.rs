//! Shows four ways to deal with a display that is slower than what it shows.
//!
//! Run it with `cargo run --release --example gauge`.
//!
//! The worker measures, and must not wait for the display.
//!
//! - Only the present temperature matters, so the display gets the latest one.
//! - The display gets as many samples as it can take. The others are dropped and counted.
//! - Alarms are never lost.
//! - The worker takes at most two orders at a time.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use coprocess::{Backpressure, Builder, Coprocess, Error, Reply, Result};

const MEASUREMENTS: u32 = 100_000;

/// Measures and brews, in a process of its own.
fn worker(parent: Coprocess) {
    let temperature = parent.event("temperature").backpressure(Backpressure::KeepLatest);
    let samples = parent.event("sample").backpressure(Backpressure::DropNewest);
    let alarms = parent.event("alarm");
    let weak = parent.downgrade();
    thread::spawn(move || -> Result<()> {
        for n in 1..=MEASUREMENTS {
            temperature.emit(n)?;
            samples.emit(n)?;
            if n % (MEASUREMENTS / 4) == 0 {
                alarms.emit(n)?;
            }
        }
        if let Some(parent) = weak.upgrade() {
            let stats = parent.stats();
            println!(
                "worker: {} temperatures were replaced, {} samples dropped",
                stats.events_replaced, stats.events_dropped
            );
        }
        Ok(())
    });
    parent.serve_deferred("brew", |cups: u32, reply: Reply<u32>| {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            reply.send(cups)
        });
    });
}

fn main() -> Result<()> {
    coprocess::init();
    let worker = Builder::new().max_calls_served(2).max_calls_in_flight(3).fork(worker)?;

    let (last, the_last) = mpsc::channel();
    worker.listen("temperature", move |now: u32| {
        // The display is slow.
        thread::sleep(Duration::from_micros(200));
        if now == MEASUREMENTS {
            println!("display: the last temperature has arrived");
            let _ = last.send(());
        }
    });
    worker.listen("sample", |_: u32| {});
    worker.listen("alarm", |n: u32| println!("display: alarm at {n}"));

    let orders = [1_u32, 2, 3].map(|cups| worker.start::<u32>("brew", cups));
    if let Err(Error::TooManyCalls { limit }) = worker.start::<u32>("brew", 4_u32) {
        println!("not sent: {limit} orders are out already");
    }
    for order in orders {
        match order?.wait() {
            Ok(cups) => println!("{cups} cups"),
            Err(error) => println!("{error}"),
        }
    }

    the_last.recv_timeout(Duration::from_secs(30)).expect("the last temperature always arrives");
    worker.close()?;
    Ok(())
}
