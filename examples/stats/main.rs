//! Shows a collector: a worker process samples `/proc` of this machine, and its parent aggregates
//! the samples and draws a live table. Meanwhile the parent calls the worker.
//!
//! Run it with `cargo run --release --example stats`. With `-- --help` it lists its options.
//!
//! ```text
//!  worker process                               parent process
//!  proc: reads /proc                            main: the run, from the first call to the last
//!  worker: schedule, answers to calls           calls: set_rate, top, stop, and how long each took
//!         ---- batches, as events ---->         aggregate: rates and distributions
//!         <--- calls, answered --------         report, table, units, terminal: what is shown
//! ```

mod aggregate;
mod args;
mod calls;
mod proc;
mod protocol;
mod report;
mod signals;
mod table;
mod terminal;
mod units;
mod worker;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use coprocess::Coprocess;

use aggregate::Aggregate;
use args::Args;
use calls::Sampler;
use protocol::{BATCH, Batch};
use report::Progress;
use signals::Interrupts;
use terminal::Screen;

/// The time between two calls of `top`. It is shorter than the time between two frames, so that
/// there are enough calls for percentiles.
const CALL_EVERY: Duration = Duration::from_millis(10);
/// The time between two frames.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// How long a call waits for its answer before it fails.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    // The first line: in the worker process, `init` runs the worker function and never returns.
    coprocess::init();

    match run(&Args::parse()) {
        Ok(code) => code,
        // The reader of the output has closed the pipe: it has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("stats: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Worker(coprocess::Error),
    #[error("the worker did not answer within {PATIENCE:?}")]
    Silent,
    #[error("of {sent} batches sent, {handled} were handled, {out_of_turn} of them out of turn")]
    Unconfirmed { sent: u64, handled: u64, out_of_turn: u64 },
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

impl From<coprocess::Error> for Failure {
    fn from(error: coprocess::Error) -> Failure {
        match error {
            coprocess::Error::Timeout => Failure::Silent,
            error => Failure::Worker(error),
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let interrupts = Interrupts::block().map_err(Failure::Signals)?;
    let worker = coprocess::Builder::new().call_timeout(PATIENCE).fork(worker::worker)?;
    let result = observe(args, &worker, &interrupts);
    if result.is_err() {
        // A worker that hangs must not outlive this process. If the worker is gone already, `kill`
        // has nothing to do.
        let _ = worker.kill();
    }
    result
}

/// Runs the pair from its first call to its end, and prints the summary.
fn observe(args: &Args, worker: &Coprocess, interrupts: &Interrupts) -> Result<ExitCode, Failure> {
    let aggregate = Arc::new(Mutex::new(Aggregate::default()));
    worker.listen(BATCH, {
        let aggregate = aggregate.clone();
        move |batch: Batch| lock(&aggregate).add(batch)
    });

    let mut sampler = Sampler::new(worker.clone());
    let interrupted = watch(args, worker.peer_id(), interrupts, &aggregate, &mut sampler)?;

    // One call confirms every batch: the worker sends the answer after the last batch, so the
    // answer arrives after that batch was handled.
    let totals = sampler.stop()?;
    let received = worker.stats().bytes_received;
    worker.close()?;

    let aggregate = lock(&aggregate);
    if totals.batches != aggregate.batches || aggregate.out_of_turn != 0 {
        return Err(Failure::Unconfirmed {
            sent: totals.batches,
            handled: aggregate.batches,
            out_of_turn: aggregate.out_of_turn,
        });
    }
    let mut summary = report::summary(&aggregate, &sampler, totals, received, args.top).join("\n");
    summary.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(summary.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)?;
    // The exit code by which a shell reports a program that was ended by a signal.
    Ok(interrupted.map_or(ExitCode::SUCCESS, |signal| ExitCode::from(128 + signal)))
}

/// Calls the worker and draws until the time is up or a signal arrives. Returns the number of the
/// signal.
fn watch(
    args: &Args,
    worker: u32,
    interrupts: &Interrupts,
    aggregate: &Mutex<Aggregate>,
    sampler: &mut Sampler,
) -> Result<Option<u8>, Failure> {
    let mut screen = Screen::new();
    let start = Instant::now();
    let length = Duration::from_secs(args.seconds.into());
    let mut rate = 0;
    let mut next_call = start;
    let mut next_frame = start;
    loop {
        let elapsed = start.elapsed();
        if elapsed >= length {
            return Ok(None);
        }

        let middle_third = length / 3..length * 2 / 3;
        let wanted = if middle_third.contains(&elapsed) { 2 * args.rate } else { args.rate };
        if rate != wanted {
            sampler.set_rate(wanted)?;
            rate = wanted;
        }
        let top = sampler.top(args.top)?;

        if let Some(screen) = &mut screen
            && next_frame <= Instant::now()
        {
            let progress = Progress { elapsed, seconds: args.seconds, rate, worker };
            let lines = report::frame(screen.size(), &progress, &lock(aggregate), &top, sampler);
            screen.draw(&lines).map_err(Failure::Output)?;
            next_frame = Instant::now() + DRAW_EVERY;
        }

        next_call = (next_call + CALL_EVERY).max(Instant::now());
        let signal = interrupts.sleep_until(next_call.min(start + length));
        if let Some(signal) = signal.map_err(Failure::Signals)? {
            return Ok(Some(signal));
        }
    }
}

/// Locks the aggregate, also after a panic of the listener. A listener that panicked has not
/// counted its batch, and `observe` reports that in the end.
fn lock(aggregate: &Mutex<Aggregate>) -> MutexGuard<'_, Aggregate> {
    aggregate.lock().unwrap_or_else(PoisonError::into_inner)
}
