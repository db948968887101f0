//! Several threads at once, each with an equal share of the operations.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::machine::Host;
use crate::measure::{Subject, Timing};
use crate::{Error, Result};

/// What one thread does over and over.
pub(crate) type Operation<'a> = Box<dyn Fn() -> Result<()> + Send + Sync + 'a>;

/// One thread for each of `operations`, on whichever CPUs the scheduler likes. The time of an operation is that of the whole, from the first
/// start to the last end, divided by all operations; percentiles are what single threads see.
pub(crate) fn together<'a>(name: &str, note: &str, host: &'a Host, operations: Vec<Operation<'a>>) -> Subject<'a> {
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
                scope.spawn(move || take_part(host, barrier, share, each, operation).map_err(|error| error.to_string()))
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
        // For as many operations as were asked for; a few more may have been done, so that the shares are equal.
        Ok(elapsed.mul_f64(count as f64 / (share * threads) as f64).into())
    })
}

/// What one thread tells of its share.
struct Turn {
    start: Instant,
    end: Instant,
    each: Option<Histogram<u64>>,
}

fn take_part(host: &Host, barrier: &Barrier, share: u64, mut each: Option<Histogram<u64>>, operation: &Operation<'_>) -> Result<Turn> {
    // Whatever comes of it, the others must not wait for this thread.
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
