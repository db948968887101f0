//! An honest parent that does everything at once with a worker of which it knows nothing, and what it sees.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use coprocess::serde_bytes::ByteBuf;
use coprocess::{Backpressure, Builder, Coprocess, Error, ForkError, Reply, Result};

use crate::common::{AT_ONCE, Held, program};

/// The deadline of every operation that has one.
const DEADLINE: Duration = Duration::from_millis(25);
const FORK: Duration = Duration::from_millis(500);
const CLOSE: Duration = Duration::from_millis(25);
/// What a parent holds at most: what has come and was not handled, 64 MiB, answers that are not read, 128 MiB, and half as much again for what the allocator makes of
/// pieces that several threads take and give back.
pub(crate) const MEMORY_KIB: u64 = 288 << 10;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts the panics of this process.
pub(crate) fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            before(info);
        }));
    });
}

/// What a worker can do to this program, as seen from here.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How operations ended, and how many of them.
    pub(crate) ended: BTreeMap<String, u64>,
    /// The most by which an operation exceeded its deadline.
    pub(crate) late: Duration,
    pub(crate) started_in: Duration,
    pub(crate) closed_in: Duration,
    /// The most memory this process had, above what it had before.
    pub(crate) grown_kib: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (how, count) in &self.ended {
            write!(f, "{how} {count}, ")?;
        }
        write!(f, "started in {:.1?}, late by {:.1?}, closed in {:.1?}, ", self.started_in, self.late, self.closed_in)?;
        write!(f, "{} KiB more", self.grown_kib)
    }
}

/// Shows what was seen, if `COPROCESS_HOSTILE_REPORT` is set.
pub(crate) fn report(attack: &str, seen: &Seen) {
    if std::env::var_os("COPROCESS_HOSTILE_REPORT").is_some() {
        eprintln!("{attack}: {seen}");
    }
}

/// A name for how an operation ended; panics if an honest user of the library must not see that.
fn how<T>(outcome: &Result<T>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(Error::Misbehaved(what)) => format!("misbehaved ({what:?})"),
        Err(Error::Disconnected(reason)) => format!("disconnected ({reason:?})"),
        Err(Error::Timeout) => "timeout".to_owned(),
        Err(Error::Full) => "full".to_owned(),
        Err(Error::Closed) => "closed".to_owned(),
        Err(Error::Decode { .. }) => "decode".to_owned(),
        Err(Error::Remote { .. }) => "remote".to_owned(),
        Err(Error::Overloaded { .. }) => "overloaded".to_owned(),
        Err(Error::MethodNotFound { .. }) => "method not found".to_owned(),
        Err(Error::Fork { cause: ForkError::NeverAttached(_), .. }) => "never attached".to_owned(),
        Err(Error::Fork { cause: ForkError::Ended(_), .. }) => "ended".to_owned(),
        Err(Error::Fork { cause: ForkError::AbiMismatch { .. }, .. }) => "other version".to_owned(),
        Err(Error::Fork { cause: ForkError::Handshake(why), .. }) => {
            assert!(!why.contains(char::is_control), "{why:?} is not for a terminal");
            format!("handshake ({why})")
        }
        Err(error) => panic!("nothing that a worker does may lead to this: {error:?}"),
    }
}

/// Whether the pair is over.
fn is_final<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Misbehaved(_) | Error::Disconnected(_) | Error::Closed))
}

/// What a parent is like.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) ring_capacity: usize,
    /// How long it goes on with a worker that lets it.
    pub(crate) time: Duration,
    /// Whether a thread of the program is in `run`; else the library's own dispatches.
    pub(crate) runs: bool,
}

impl Default for Parent {
    fn default() -> Parent {
        Parent { ring_capacity: 4096, time: Duration::from_millis(120), runs: false }
    }
}

/// One parent's dealings with one worker.
struct Dealings {
    end: Coprocess,
    over: AtomicBool,
    seen: Mutex<Seen>,
}

impl Dealings {
    /// Does something again and again that has to end within `limit`, until the pair is over.
    fn again_and_again<T>(&self, limit: Duration, mut operation: impl FnMut(u64) -> Result<T>) {
        for number in 0.. {
            let start = Instant::now();
            let outcome = operation(number);
            let late = start.elapsed().saturating_sub(limit);
            let how = how(&outcome);
            assert!(late < AT_ONCE, "{how} came {late:?} too late");
            let mut seen = self.seen.lock().unwrap();
            seen.late = seen.late.max(late);
            *seen.ended.entry(how).or_default() += 1;
            drop(seen);
            if is_final(&outcome) || self.over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl Parent {
    /// Starts the worker that plays `role`, and deals with it. Checks everything that must hold whatever the worker does.
    pub(crate) fn meets(&self, role: &str) -> Seen {
        count_panics();
        // Everything that is made once is there.
        let before = Held::now();
        let base_kib = reset_peak();
        let start = Instant::now();
        let started = self.builder().spawn(program(role));
        let started_in = start.elapsed();
        assert!(started_in < FORK + AT_ONCE, "{role}: {started:?} after {started_in:?}");
        let seen = match started {
            Err(error) => Seen { ended: [(how::<()>(&Err(error)), 1)].into(), ..Seen::default() },
            Ok(end) => self.deal(end),
        };
        before.again(role);
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "panics after {role}");
        let seen = Seen { started_in, grown_kib: peak_kib().saturating_sub(base_kib), ..seen };
        assert!(seen.grown_kib < MEMORY_KIB, "{role}: {seen}");
        seen
    }

    pub(crate) fn builder(&self) -> Builder {
        Builder::new().ring_capacity(self.ring_capacity).max_message(1 << 20).fork_timeout(FORK).close_timeout(CLOSE)
    }

    fn deal(&self, end: Coprocess) -> Seen {
        register(&end);
        let dealings = Dealings { end, over: AtomicBool::new(false), seen: Mutex::default() };
        let (told, tellable) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        let (middling, large) = (ByteBuf::from(vec![7; 5_000]), ByteBuf::from(vec![7; 200_000]));
        thread::scope(|scope| {
            let end = &dealings.end;
            let dealings = &dealings;
            let mut threads = vec![
                scope.spawn(|| dealings.again_and_again(DEADLINE, |n| end.call_timeout::<u64>("echo", n, DEADLINE))),
                scope.spawn(|| dealings.again_and_again(DEADLINE, |_| end.call_timeout::<ByteBuf>("echo", &middling, DEADLINE))),
                scope.spawn(|| dealings.again_and_again(DEADLINE, |n| end.emit_timeout("event", (n, "text"), DEADLINE))),
                scope.spawn(|| dealings.again_and_again(DEADLINE, |_| end.emit_timeout("large", &large, DEADLINE))),
                scope.spawn(|| {
                    dealings.again_and_again(Duration::ZERO, |n| {
                        thread::yield_now();
                        end.try_emit("event", n)
                    });
                }),
                scope.spawn(|| {
                    let latest = end.event("latest").backpressure(Backpressure::KeepLatest);
                    dealings.again_and_again(Duration::ZERO, |n| {
                        thread::yield_now();
                        latest.emit(n)
                    });
                }),
                scope.spawn(|| {
                    dealings.again_and_again(DEADLINE, |n| {
                        // A call's own deadline holds from the start: the wait for room for it, and the wait for its answer.
                        let started = Instant::now();
                        match end.call_timeout::<String>("echo", format!("number {n}"), DEADLINE) {
                            Err(Error::Timeout) if started.elapsed() < DEADLINE => panic!("before its deadline"),
                            other => other,
                        }
                    });
                }),
                // Without deadlines: these end with the pair.
                scope.spawn(|| dealings.again_and_again(self.time + CLOSE, |n| end.call::<u64>("echo", n))),
                scope.spawn(|| {
                    let told = told.clone();
                    dealings.again_and_again(self.time + CLOSE, |n| {
                        let told = told.clone();
                        let sent = end.call_with("echo", n, move |answer: Result<u64>| {
                            how(&answer);
                            told.fetch_add(1, Ordering::Relaxed);
                        });
                        if sent.is_ok() {
                            tellable.fetch_add(1, Ordering::Relaxed);
                        }
                        thread::sleep(Duration::from_micros(100));
                        sent
                    });
                }),
            ];
            if self.runs {
                threads.push(scope.spawn(|| dealings.again_and_again(self.time + CLOSE, |_| end.run().and(Err::<(), _>(Error::Closed)))));
            }
            let until = Instant::now() + self.time;
            while Instant::now() < until && !threads.iter().all(|thread| thread.is_finished()) {
                thread::sleep(Duration::from_millis(1));
            }
            dealings.over.store(true, Ordering::Relaxed);
            end.stats();
            let start = Instant::now();
            let closed = end.close();
            let took = start.elapsed();
            assert!(matches!(closed, Ok(Some(_))), "{closed:?}");
            assert!(took < 3 * CLOSE + AT_ONCE, "closing took {took:?}");
            dealings.seen.lock().unwrap().closed_in = took;
        });
        let seen = dealings.seen.into_inner().unwrap();
        drop(dealings.end);
        let patience = Instant::now() + AT_ONCE;
        while told.load(Ordering::Relaxed) != tellable.load(Ordering::Relaxed) {
            assert!(Instant::now() < patience, "{told:?} of {tellable:?} callbacks were called");
            thread::sleep(Duration::from_millis(1));
        }
        seen
    }
}

/// Handlers of many types: what a worker sends to them is decoded.
fn register(end: &Coprocess) {
    let weak = end.downgrade();
    end.listen("text", |text: String| drop(text))
        .listen("bytes", |bytes: ByteBuf| drop(bytes))
        .listen("numbers", |numbers: Vec<u64>| drop(numbers))
        .listen("map", |map: HashMap<String, Vec<Option<u32>>>| drop(map))
        .serve("echo", |bytes: ByteBuf| bytes)
        .serve("nested", move |n: u64| {
            let answer = weak.upgrade().map(|end| end.call_timeout::<u64>("echo", n, Duration::from_millis(2)));
            answer.and_then(Result::ok)
        })
        .serve_deferred("later", |_: u64, reply: Reply<u64>| drop(reply));
}

/// Has the kernel forget the most memory this process had, and returns what it has now, in KiB.
pub(crate) fn reset_peak() -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_kib()
}

pub(crate) fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
