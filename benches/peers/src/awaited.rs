//! Measures calls of tasks, on a runtime of one thread: coprocess, used as tarpc is used.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;

use coprocess_bench::Result;
use coprocess_bench::subjects::pair::Pair;
use futures::future::join_all;
use tokio::runtime::{Builder, Runtime};

use crate::contender::{Contender, Started};
use crate::item::{EPOCH, same};

/// Counts the calls that are made at once, where there are many.
pub(crate) const AT_ONCE: u64 = 1000;

/// Makes one call at a time.
pub(crate) const CALL: Contender = Contender {
    name: "call_async, u64",
    note: "",
    start: |_| {
        let (pair, runtime) = (Pair::start()?, runtime()?);
        Ok(Started::new(Some(pair.peer_id()), move |count, timing| {
            let co = pair.co();
            timing.laps(count, |turn| {
                same(runtime.block_on(co.call_async::<u64>("echo", EPOCH + turn))?, EPOCH + turn)
            })
        }))
    },
};

/// Starts [`AT_ONCE`] calls, then awaits them in order.
pub(crate) const IN_FLIGHT: Contender = Contender {
    name: "1,000 in flight: start and await, u64",
    note: "",
    start: |_| {
        let (pair, runtime) = (Pair::start()?, runtime()?);
        Ok(Started::new(Some(pair.peer_id()), move |count, timing| {
            let co = pair.co();
            timing.laps(count, |turn| {
                let first = EPOCH + turn;
                runtime.block_on(async {
                    let calls: Vec<_> = (first..first + AT_ONCE)
                        .map(|value| co.start::<u64>("echo", value))
                        .collect();
                    for (value, call) in (first..).zip(calls) {
                        same(call?.await?, value)?;
                    }
                    Ok(())
                })
            })
        }))
    },
};

/// Joins [`AT_ONCE`] calls. Calls of tarpc must be joined, since they are not sent before they are
/// polled.
pub(crate) const JOINED: Contender = Contender {
    name: "1,000 in flight: join_all of call_async, u64",
    note: "",
    start: |_| {
        let (pair, runtime) = (Pair::start()?, runtime()?);
        Ok(Started::new(Some(pair.peer_id()), move |count, timing| {
            let co = pair.co();
            timing.laps(count, |turn| {
                let first = EPOCH + turn;
                let calls = async {
                    join_all(
                        (first..first + AT_ONCE).map(|value| co.call_async::<u64>("echo", value)),
                    )
                    .await
                };
                (first..)
                    .zip(runtime.block_on(calls))
                    .try_for_each(|(value, answer)| same(answer?, value))
            })
        }))
    },
};

/// Measures the cost of [`AT_ONCE`] tasks that do nothing.
pub(crate) const TASKS: Contender = Contender {
    name: "1,000 tasks without a call",
    note: "what the runtime costs",
    start: |_| {
        let runtime = runtime()?;
        Ok(Started::new(None, move |count, timing| {
            timing.laps(count, |turn| {
                at_once(&runtime, EPOCH + turn, |value| async move { Ok::<_, Infallible>(value) })
            })
        }))
    },
};

/// Starts [`AT_ONCE`] tasks with a call each.
pub(crate) const CALLS: Contender = Contender {
    name: "1,000 tasks: call_async, u64",
    note: "",
    start: |_| {
        let (pair, runtime) = (Pair::start()?, runtime()?);
        Ok(Started::new(Some(pair.peer_id()), move |count, timing| {
            timing.laps(count, |turn| {
                at_once(&runtime, EPOCH + turn, |value| {
                    let co = pair.co().clone();
                    async move { co.call_async::<u64>("echo", value).await }
                })
            })
        }))
    },
};

/// Starts [`AT_ONCE`] tasks that do `call` each, and waits for all of them.
pub(crate) fn at_once<F, E>(runtime: &Runtime, first: u64, call: impl Fn(u64) -> F) -> Result<()>
where
    F: Future<Output = std::result::Result<u64, E>> + Send + 'static,
    E: Error + Send + 'static,
{
    runtime.block_on(async {
        let tasks: Vec<_> =
            (first..first + AT_ONCE).map(|value| (value, tokio::spawn(call(value)))).collect();
        for (value, task) in tasks {
            same(task.await??, value)?;
        }
        Ok(())
    })
}

/// Makes a runtime with all drivers, as a larger program has them.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
