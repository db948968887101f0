//! From a tokio program: calls are awaited, handlers are `async`, and a caller that loses interest stops the work.
//!
//! The worker looks up "prices", which takes a moment each; the parent asks for many at once, on a single thread. Of two suppliers the quicker one wins,
//! and what the other was asked to do is given up. Last, the parent's own event loop handles what the worker reports.

use std::time::Duration;

use coprocess::{Coprocess, Result};
use tokio::runtime::{Handle, Runtime};
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
            let _ = parent.emit("gave up", &self.0);
        }
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    coprocess::init(); // first line of main, before there is a runtime

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(order())
}

async fn order() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let worker = coprocess::fork(worker)?;

    // A thousand prices: all are asked for before the first is awaited.
    let prices: Vec<_> = (0..1000_u64).map(|article| worker.start::<u64>("price", article)).collect();
    let mut total = 0;
    for price in prices.into_iter().collect::<Result<Vec<_>>>()? {
        total += price.await?;
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

    worker.close()?;
    Ok(())
}
