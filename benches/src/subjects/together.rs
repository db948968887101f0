//! Several threads at once, each with an equal share of the operations.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::machine::Host;
use crate::measure::{Subject, Timing};
use crate::{Error, Result};

/// Does what one thread repeats.
pub(crate) type Operation<'a> = Box<dyn Fn() -> Result<()> + Send + Sync + 'a>;

/// Runs one thread for each of `operations`, on the CPUs that the scheduler chooses.
///
/// The time of an operation is the time from the first start to the last end, divided by all
/// operations. Percentiles are what single threads see.
pub(crate) fn together<'a>(
    name: &str,
    note: &str,
    host: &'a Host,
    operations: Vec<Operation<'a>>,
) -> Subject<'a> {
    Subject::new(name, note, move |count, mut timing| {
        let threads = operations.len() as u64;
        let share = count.div_ceil(threads);
        let barrier = Barrier::new(operations.len());
        let each = match &timing {
            Timing::Whole => None,
            Timing::Each(histogram) => Some(Histogram::new_from(histogram)),
        };
        let turns = thread::scope(|scope| {
            let spawn = |operation| {
                let (barrier, each) = (&barrier, each.clone());
                scope.spawn(move || {
                    take_part(host, barrier, share, each, operation)
                        .map_err(|error| error.to_string())
                })
            };
            let threads: Vec<_> = operations.iter().map(spawn).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| "a thread panicked")?.map_err(Error::from))
                .collect::<Result<Vec<_>>>()
        })?;
        for turn in &turns {
            if let (Timing::Each(all), Some(each)) = (&mut timing, &turn.each) {
                all.add(each)?;
            }
        }
        let start = turns.iter().map(|turn| turn.start).min();
        let end = turns.iter().map(|turn| turn.end).max();
        let elapsed = end.zip(start).map_or(Duration::ZERO, |(end, start)| end - start);
        // For `count` operations. A few more may have been done, so that the shares are equal.
        Ok(elapsed.mul_f64(count as f64 / (share * threads) as f64).into())
    })
}

/// What one thread reports of its share.
struct Turn {
    start: Instant,
    end: Instant,
    each: Option<Histogram<u64>>,
}

fn take_part(
    host: &Host,
    barrier: &Barrier,
    share: u64,
    mut each: Option<Histogram<u64>>,
    operation: &Operation<'_>,
) -> Result<Turn> {
    // Even if this fails, the other threads must not wait for this one at the barrier.
    let released = host.release(0);
    barrier.wait();
    released?;
    let start = Instant::now();
    match &mut each {
        None => Timing::Whole,
        Some(histogram) => Timing::Each(histogram),
    }
    .laps(share, |_| operation())?;
    Ok(Turn { start, end: Instant::now(), each })
}
