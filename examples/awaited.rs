//! Shows calls from a tokio program: the caller awaits calls, and the worker's handlers are
//! `async`. When a caller gives up, the work stops.
//!
//! Run it with `cargo run --release --features tokio --example awaited`.
//!
//! The worker looks up prices, each of which takes a moment. The parent asks for a thousand prices
//! at once, on a single thread. Then the parent asks two suppliers and takes the quicker answer.
//! The worker gives up the other request, and reports that.

use std::time::Duration;

use coprocess::{Coprocess, Result};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Serves prices and deliveries, in a process with a runtime of its own.
fn worker(parent: Coprocess) {
    // The handlers' futures need the runtime as long as the process lives.
    let runtime: &'static Runtime = Box::leak(Box::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap(),
    ));
    let runtime: &Handle = runtime.handle();
    let reports = parent.downgrade();
    parent.serve_async(runtime, "price", |article: u64| async move {
        sleep(Duration::from_millis(10 + article % 7)).await; // stands for a query to a database
        article * 100 + 99
    });
    parent.serve_async(runtime, "deliver", move |(supplier, days): (String, u64)| {
        let reports = reports.clone();
        async move {
            let unfinished = Unfinished(supplier.clone(), reports);
            sleep(Duration::from_millis(10 * days)).await;
            std::mem::forget(unfinished);
            format!("{supplier} delivers in {days} days")
        }
    });
}

/// Reports a delivery that was given up: its future was dropped before it was done.
struct Unfinished(String, coprocess::WeakCoprocess);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(parent) = self.1.upgrade() {
            // `emit` would block this thread of the runtime if the ring were full. These few events
            // find space.
            let _ = parent.emit("gave up", &self.0);
        }
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    coprocess::init(); // first line of main, before there is a runtime

    // `fork` and `close` block the thread, so they stay outside of tasks.
    let worker = coprocess::fork(worker)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(order(&worker))?;
    worker.close()?;
    Ok(())
}

async fn order(worker: &Coprocess) -> std::result::Result<(), Box<dyn std::error::Error>> {
    // A thousand calls at once, each in a task of its own. If the ring is full, a task waits for
    // space; `start` would block the thread.
    let mut prices = JoinSet::new();
    for article in 0..1000_u64 {
        prices.spawn(worker.call_async::<u64>("price", article));
    }
    let mut total = 0;
    for price in prices.join_all().await {
        total += price?;
    }
    println!("a thousand articles cost {total}");

    // The quicker answer wins. `select!` drops the other future, and that cancels its call.
    let (gave_up, mut given_up) = tokio::sync::mpsc::unbounded_channel();
    worker.listen("gave up", move |supplier: String| drop(gave_up.send(supplier)));
    let offer: Result<String> = tokio::select! {
        slow = worker.call_async("deliver", ("the cheap one", 3000_u64)) => slow,
        quick = worker.call_async("deliver", ("the near one", 2_u64)) => quick,
    };
    println!("{}", offer?);
    println!("{} was told not to bother", given_up.recv().await.ok_or("the worker is gone")?);

    // A deadline needs no timer of the runtime, and travels to the worker.
    let late: Result<String> = worker
        .call_async_timeout("deliver", ("the late one", 3000_u64), Duration::from_millis(20))
        .await;
    println!("too late: {}", late.unwrap_err());
    println!("{} was told not to bother", given_up.recv().await.ok_or("the worker is gone")?);
    Ok(())
}
