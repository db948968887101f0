//! SIGKILL of the worker at any moment while threads of the parent call, emit, pipeline, are called
//! back and send 10 MiB: through large and smallest rings, with every wait strategy, and while the
//! pair is closed. Every wait ends soon, with the reason. What had been published before is
//! delivered, in order and once. Nothing is left behind.
//!
//! `COPROCESS_ROUNDS` sets the number of rounds (200 if it is not set; 2000 take a minute or two),
//! `COPROCESS_SEED` the seed that is printed.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    self, AT_ONCE, Held, Random, SMALL_RING, alone, fresh_path, pattern, rounds, starved, within,
};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Builder, Coprocess, Error, Reason, Reply, Result, WaitStrategy};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, gettid};

/// A wait ends so soon after the death.
const SOON: Duration = Duration::from_millis(50);
/// The storm rages for so long at most before the kill.
const LONGEST: Duration = Duration::from_millis(40);
const LARGE: usize = 10 << 20;

fn limit() -> Duration {
    Duration::from_secs(60) + Duration::from_millis(400) * rounds(200) as u32
}

fn size(number: u64) -> usize {
    match number % 100 {
        99 => 200_000,
        at if at % 10 == 9 => 6000,
        at => at as usize,
    }
}

/// Emits numbers, and notes in a file how many have been published; does whatever it is called for.
fn victim(parent: Coprocess) {
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    let end = parent.downgrade();
    parent
        .serve("double", |x: u64| x * 2)
        .serve("length", |bytes: ByteBuf| bytes.len())
        .serve("echo", |bytes: ByteBuf| bytes)
        .serve("nested", move |x: u64| {
            end.upgrade().and_then(|parent| parent.call::<u64>("triple", x).ok())
        })
        .serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply));
    let end = parent.clone();
    parent.listen("go", move |()| {
        let parent = end.clone();
        let published =
            File::options().write(true).open(env::var_os("PUBLISHED").unwrap()).unwrap();
        thread::spawn(move || {
            for number in 0_u64.. {
                let bytes = pattern(number as usize, size(number));
                if parent.emit("number", (number, Bytes::new(&bytes))).is_err() {
                    break;
                }
                published.write_all_at(&(number + 1).to_ne_bytes(), 0).unwrap();
            }
        });
    });
}

/// Calls until an error ends the calls. Each of the functions that the threads of a round run
/// returns the error that ended it.
fn calls(worker: &Coprocess) -> Error {
    for x in 0.. {
        match worker.call::<u64>("double", x) {
            Ok(y) => assert_eq!(y, x * 2),
            Err(error) => return error,
        }
    }
    unreachable!()
}

fn nested_calls(worker: &Coprocess) -> Error {
    for x in 0.. {
        match worker.call::<Option<u64>>("nested", x) {
            // The worker is told of a close by an error of its call.
            Ok(y) => assert!(y.is_none_or(|y| y == x * 3)),
            Err(error) => return error,
        }
    }
    unreachable!()
}

fn large_calls(worker: &Coprocess, large: &[u8]) -> Error {
    loop {
        match worker.call::<usize>("length", Bytes::new(large)) {
            Ok(length) => assert_eq!(length, LARGE),
            Err(error) => return error,
        }
        match worker.call::<ByteBuf>("echo", Bytes::new(&large[..LARGE / 4])) {
            Ok(bytes) => assert!(bytes == large[..LARGE / 4]),
            Err(error) => return error,
        }
    }
}

fn emits(worker: &Coprocess, bytes: &[u8]) -> Error {
    loop {
        if let Err(error) = worker.emit("unheard", Bytes::new(bytes)) {
            return error;
        }
    }
}

fn pipeline(worker: &Coprocess) -> Error {
    loop {
        let started: Result<Vec<_>> =
            (0..64_u64).map(|x| worker.start::<u64>("double", x)).collect();
        let calls = match started {
            Ok(calls) => calls,
            Err(error) => return error,
        };
        let mut ended = None;
        for (x, call) in calls.into_iter().enumerate() {
            match call.wait() {
                // Answers that arrived before the death are answers, whatever the thread has
                // learned meanwhile.
                Ok(y) => assert_eq!(y, x as u64 * 2),
                Err(error) => ended = Some(error),
            }
        }
        if let Some(error) = ended {
            return error;
        }
    }
}

/// Checks that each callback is called once, whatever happens.
fn callbacks(worker: &Coprocess) -> Error {
    let (sender, results) = mpsc::channel();
    let mut in_flight = 0;
    loop {
        while in_flight < 16 {
            let sender = sender.clone();
            if let Err(error) = worker
                .call_with("double", 4_u64, move |result: Result<u64>| sender.send(result).unwrap())
            {
                drop_all(&results, in_flight);
                return error;
            }
            in_flight += 1;
        }
        in_flight -= 1;
        match results.recv().unwrap() {
            Ok(y) => assert_eq!(y, 8),
            Err(error) => {
                drop_all(&results, in_flight);
                return error;
            }
        }
    }
}

fn drop_all(results: &mpsc::Receiver<Result<u64>>, in_flight: usize) {
    for _ in 0..in_flight {
        results.recv_timeout(AT_ONCE).expect("every callback is called").ok();
    }
    assert!(results.try_recv().is_err(), "called once too often");
}

/// Returns for how long each thread of this process has been without a processor.
fn all_starved() -> HashMap<String, Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| Some(task.ok()?.path()))
        .filter_map(|task| Some((task.file_name()?.to_str()?.to_owned(), starved(&task)?)))
        .collect()
}

/// When and how something ended, and for how long its thread had been without a processor.
type Ending = (Instant, Error, Option<(String, Duration)>);

/// Runs `activity` and notes how it ended.
fn ending(activity: impl FnOnce() -> Error) -> Ending {
    let error = activity();
    let at = Instant::now();
    (at, error, starved("/proc/thread-self").map(|starved| (gettid().to_string(), starved)))
}

/// What was found out in all rounds.
#[derive(Default)]
struct Tally {
    lags: Vec<Duration>,
    lags_of_spinners: Vec<Duration>,
    /// The longest lag of each round, less the time for which there was no processor. The waits of
    /// a round are not independent: they want the same processors.
    longest: Vec<Duration>,
    published: u64,
    /// Rounds in which the kill came while the pair was being closed, and rounds in which it came
    /// too late.
    closing: u32,
    closed_before: u32,
}

fn round(number: u64, random: &Random, large: &[u8], tally: &mut Tally) {
    let strategy = match number / 2 % 16 {
        5 | 13 => WaitStrategy::Block,
        7 => WaitStrategy::Spin,
        _ => WaitStrategy::Adaptive,
    };
    let capacity = if number.is_multiple_of(2) { SMALL_RING } else { 256 * 1024 };
    let close_after = (random.below(5) == 0).then(|| random.moment(LONGEST));
    let kill_after = random.moment(LONGEST);
    let somebody_runs = random.below(2) == 0;

    let published = fresh_path("published");
    std::fs::write(&published, 0_u64.to_ne_bytes()).unwrap();
    let worker = Builder::new()
        .ring_capacity(capacity)
        .wait(strategy)
        .env("PUBLISHED", &published)
        .fork(victim)
        .unwrap();
    let pid = Pid::from_raw(worker.peer_id() as i32);
    let received = Arc::new(AtomicU64::new(0));
    let count = received.clone();
    worker.serve("triple", |x: u64| x * 3).listen(
        "number",
        move |(number, bytes): (u64, ByteBuf)| {
            assert_eq!(number, count.fetch_add(1, Ordering::Relaxed));
            assert!(bytes == pattern(number as usize, size(number)), "number {number}");
        },
    );

    worker.emit("go", ()).unwrap();

    let started = AtomicUsize::new(0);
    let activities: [(&str, &(dyn Fn() -> Error + Sync)); 9] = [
        ("call", &|| calls(&worker)),
        ("nested calls", &|| nested_calls(&worker)),
        ("large calls", &|| large_calls(&worker, large)),
        ("emit", &|| emits(&worker, &large[..40])),
        ("large emits", &|| emits(&worker, large)),
        ("pipeline", &|| pipeline(&worker)),
        ("callbacks", &|| callbacks(&worker)),
        ("never", &|| worker.call::<()>("never", ()).unwrap_err()),
        ("run", &|| {
            if somebody_runs { worker.run().err().unwrap_or(Error::Closed) } else { calls(&worker) }
        }),
    ];
    let (death, starved_before, closed, endings) = thread::scope(|scope| {
        let threads = activities.map(|(name, activity)| {
            let started = &started;
            let thread = scope.spawn(move || {
                started.fetch_add(1, Ordering::Relaxed);
                ending(activity)
            });
            (name, thread)
        });
        // The measure is when an ordinary thread that waits in the kernel sees the death.
        let witness = scope.spawn(|| {
            // Reaped by the library meanwhile: it has ended, too.
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            Instant::now()
        });
        let closer = close_after.map(|delay| {
            let worker = &worker;
            scope.spawn(move || {
                thread::sleep(delay);
                worker.close()
            })
        });
        while started.load(Ordering::Relaxed) < activities.len() {
            thread::yield_now();
        }
        thread::sleep(kill_after);
        let starved_before = all_starved();
        if number.is_multiple_of(3) {
            worker.kill().unwrap();
        } else if witness.is_finished() {
            assert!(close_after.is_some());
        } else {
            // As any other process would kill it. If the worker has just ended, the signal reaches
            // no process: no other one has its number yet.
            let _ = kill(pid, Signal::SIGKILL);
        }
        let death = witness.join().unwrap();
        let closed = closer.map(|closer| closer.join().unwrap());
        (
            death,
            starved_before,
            closed,
            threads.map(|(name, thread)| (name, thread.join().unwrap())),
        )
    });

    let by_signal = closed.as_ref().map(|status| {
        let status = status.as_ref().unwrap().expect("this is the parent");
        assert!(status.success() || status.signal() == Some(9), "{status}");
        status.signal().is_some()
    });
    let mut longest = Duration::ZERO;
    // The library's own threads are there still.
    let mut starved_since = all_starved();
    for (name, (at, error, starved)) in endings {
        starved_since.extend(starved);
        let what = format!("round {number}, {name}, {capacity} bytes, {strategy:?}");
        match error {
            Error::Disconnected(Reason::Killed(9)) => {}
            Error::Closed if close_after.is_some() => {}
            other => panic!("{what}: {other:?}"),
        }
        let lag = at.saturating_duration_since(death);
        assert!(lag < AT_ONCE, "{what}: {lag:?} after the death");
        // Where a dozen threads spin for a processor, the thread that brings the news must wait for
        // one, too.
        if strategy == WaitStrategy::Spin { &mut tally.lags_of_spinners } else { &mut tally.lags }
            .push(lag);
        longest = longest.max(lag);
    }
    if strategy != WaitStrategy::Spin {
        let delay = |(thread, starved): (&String, &Duration)| {
            Some(starved.saturating_sub(*starved_before.get(thread)?))
        };
        let delay = starved_since.iter().filter_map(delay).max().unwrap_or_default();
        // The thread that brings the news has to get a processor first, and then the thread that
        // waits for it.
        tally.longest.push(longest.saturating_sub(2 * delay));
    }
    let noted = u64::from_ne_bytes(std::fs::read(&published).unwrap().try_into().unwrap());
    tally.published += noted;
    match by_signal {
        None => {
            match worker.run() {
                Err(Error::Disconnected(Reason::Killed(9))) => {}
                other => panic!("{other:?}"),
            }
            let received = received.load(Ordering::Relaxed);
            // One may have been published and not noted any more.
            assert!(
                received == noted || received == noted + 1,
                "round {number}: {noted} published, {received} received"
            );
        }
        Some(true) => tally.closing += 1,
        Some(false) => tally.closed_before += 1,
    }
    std::fs::remove_file(&published).unwrap();
}

/// Reports how long after the death waits ended; returns by when so many of a hundred had.
fn part(what: &str, mut lags: Vec<Duration>) -> impl Fn(usize) -> Duration {
    lags.sort_unstable();
    let count = lags.len();
    let by = move |percent: usize| {
        lags.get(lags.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    };
    eprintln!(
        "{count} {what} ended by {:.1?} after the death (half), {:.1?} (95 %), {:.1?} (99 %), {:.1?} (all)",
        by(50),
        by(95),
        by(99),
        by(100)
    );
    by
}

#[test]
fn of_kills() {
    within(limit(), || {
        alone!(limit(), {
            let random = Random::for_test("of_kills");
            let large = pattern(1, LARGE);
            // Untouched by what goes on beside it. It also keeps what the library has for the whole
            // process.
            let bystander = common::patient().fork(victim).unwrap();
            bystander.listen("number", |_: (u64, ByteBuf)| ());
            let before = Held::settled();
            let mut tally = Tally::default();
            let start = Instant::now();
            for number in 0..rounds(200) {
                round(number, &random, &large, &mut tally);
                before.again(&format!("round {number}"));
                assert_eq!(bystander.call::<u64>("double", number).unwrap(), number * 2);
            }
            assert!(bystander.close().unwrap().unwrap().success());

            let Tally { lags, lags_of_spinners, longest, published, closing, closed_before } =
                tally;
            eprintln!(
                "{} rounds in {:.1?}: {published} numbers published, killed in {closing} closes and after {closed_before}",
                rounds(200),
                start.elapsed()
            );
            assert!(part("waits", lags)(50) < SOON);
            drop(part("waits of those who spin", lags_of_spinners));
            // The machine may have something else to do in one round of twenty.
            assert!(part("rounds, but for the want of a processor,", longest)(95) < SOON);
            assert!(published > rounds(200), "the workers have hardly lived");
        });
    });
}
