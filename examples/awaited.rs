//! From a tokio program: calls are awaited, handlers are `async`, and a caller that loses interest stops the work.
//!
//! The worker looks up "prices", which takes a moment each; the parent asks for many at once, on a single thread. Of two suppliers the quicker one wins,
//! and what the other was asked to do is given up, which the worker reports.

use std::time::Duration;

use coprocess::{Coprocess, Result};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Runs in a process of its own, which has a runtime of its own.
fn worker(parent: Coprocess) {
    // The handlers' futures need it as long as the process lives.
    let runtime: &'static Runtime =
        Box::leak(Box::new(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()));
    let runtime: &Handle = runtime.handle();
    let reports = parent.downgrade();
    parent.serve_async(runtime, "price", |article: u64| async move {
        sleep(Duration::from_millis(10 + article % 7)).await; // ask a database
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

/// Reports what was not done.
struct Unfinished(String, coprocess::WeakCoprocess);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(parent) = self.1.upgrade() {
            // Would wait if there were no room, and with it the runtime: the few that there are of these find some.
            let _ = parent.emit("gave up", &self.0);
        }
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    coprocess::init(); // first line of main, before there is a runtime

    // To start a worker and to close waits: not in a task.
    let worker = coprocess::fork(worker)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(order(&worker))?;
    worker.close()?;
    Ok(())
}

async fn order(worker: &Coprocess) -> std::result::Result<(), Box<dyn std::error::Error>> {
    // A thousand prices at once, each for a task of its own. Nothing here waits for room in the ring, as `start` would.
    let mut prices = JoinSet::new();
    for article in 0..1000_u64 {
        prices.spawn(worker.call_async::<u64>("price", article));
    }
    let mut total = 0;
    for price in prices.join_all().await {
        total += price?;
    }
    println!("a thousand articles cost {total}");

    // Whoever is quicker. The future of the other is dropped, and that cancels its call.
    let (gave_up, mut given_up) = tokio::sync::mpsc::unbounded_channel();
    worker.listen("gave up", move |supplier: String| drop(gave_up.send(supplier)));
    let offer: Result<String> = tokio::select! {
        slow = worker.call_async("deliver", ("the cheap one", 3000_u64)) => slow,
        quick = worker.call_async("deliver", ("the near one", 2_u64)) => quick,
    };
    println!("{}", offer?);
    println!("{} was told not to bother", given_up.recv().await.ok_or("the worker is gone")?);

    // A deadline needs no timer of the runtime, and the worker knows it, too.
    let late: Result<String> = worker.call_async_timeout("deliver", ("the late one", 3000_u64), Duration::from_millis(20)).await;
    println!("too late: {}", late.unwrap_err());
    println!("{} was told not to bother", given_up.recv().await.ok_or("the worker is gone")?);
    Ok(())
}
