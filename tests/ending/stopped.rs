//! SIGSTOP and SIGCONT of either side, and of both, at any moment. The deadlines of the other side
//! hold meanwhile, and nothing is lost or comes twice. `COPROCESS_ROUNDS` sets how often they are
//! stopped (75 times in each exchange if it is not set), `COPROCESS_SEED` the seed that is printed.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::{
    AT_ONCE, LIMIT, Random, SMALL_RING, patient, pattern, rounds, starved, within,
};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Builder, Coprocess, Error, Reply, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How long an operation of these tests may take.
const TIMEOUT: Duration = Duration::from_millis(10);
/// How much longer than its deadline an operation may take, on a machine that has something else to
/// do, too.
const LATE: Duration = Duration::from_millis(50);
/// A side is stopped for so long, at most, and runs for so long in between.
const STOPPED: Duration = Duration::from_millis(40);
const RUNNING: Duration = Duration::from_millis(15);

/// Events go in streams of their own, each numbered: their names, and how large they are.
const STREAMS: [(&str, usize); 3] = [("small", 40), ("medium", 3000), ("large", 300_000)];

/// A thread that only sleeps a little, again and again. While that thread is not woken, no thread
/// of this process can be blamed for what it does late.
#[derive(Debug)]
struct Canary {
    /// When it is to wake up next.
    due: Instant,
    /// From when to when it should have been awake and was not.
    overslept: Vec<(Instant, Instant)>,
}

impl Canary {
    /// What is no more than a turn of the scheduler's.
    const TURN: Duration = Duration::from_millis(2);

    fn start() -> Arc<Mutex<Canary>> {
        const NAP: Duration = Duration::from_millis(1);
        let canary = Arc::new(Mutex::new(Canary { due: Instant::now(), overslept: Vec::new() }));
        let weak = Arc::downgrade(&canary);
        thread::spawn(move || {
            while let Some(canary) = weak.upgrade() {
                let mut canary = canary.lock().unwrap();
                let now = Instant::now();
                if now > canary.due + Canary::TURN {
                    let due = canary.due;
                    canary.overslept.push((due, now));
                }
                canary.due = now + NAP;
                drop(canary);
                thread::sleep(NAP);
            }
        });
        canary
    }

    /// Returns for how long the thread has overslept between two moments.
    fn overslept(&self, from: Instant, to: Instant) -> Duration {
        let at_present = (self.due, to);
        let all = self.overslept.iter().chain([&at_present]);
        all.map(|(due, awake)| (*awake).min(to).saturating_duration_since((*due).max(from))).sum()
    }
}

/// What one side has sent, and how long that took.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sent {
    /// Events of each stream whose emit returned `Ok`.
    events: Vec<u64>,
    /// Calls that were answered.
    answered: Vec<u64>,
    timeouts: u64,
    /// By how much operations have missed their deadlines.
    late: Vec<Duration>,
}

impl Sent {
    /// Does something that has [`TIMEOUT`]; returns `None` if that passed.
    fn timed<T>(
        &mut self,
        canary: &Mutex<Canary>,
        operation: impl FnOnce() -> Result<T>,
    ) -> Option<T> {
        let starved = || starved("/proc/thread-self").unwrap_or_default();
        let starved_before = starved();
        let start = Instant::now();
        let result = operation();
        let end = Instant::now();
        let mut late = (end - start).saturating_sub(TIMEOUT);
        if late > Canary::TURN {
            // No thread of this process had a processor, or this one had none.
            let overslept = canary.lock().unwrap().overslept(start, end);
            late = late.saturating_sub(overslept.max(starved() - starved_before));
        }
        self.late.push(late);
        match result {
            Ok(value) => Some(value),
            Err(Error::Timeout) => {
                self.timeouts += 1;
                None
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn add(&mut self, other: Sent) {
        self.events.extend(other.events);
        self.answered.extend(other.answered);
        self.timeouts += other.timeouts;
        self.late.extend(other.late);
    }
}

/// What one side has received: how many events of each stream, and which calls.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Received {
    events: Vec<u64>,
    calls: Vec<u64>,
}

/// One side of the exchange: both sides do the same.
#[derive(Clone)]
struct Party {
    over: Arc<AtomicBool>,
    received: Arc<Mutex<Received>>,
    threads: Arc<Mutex<Vec<JoinHandle<Sent>>>>,
    canary: Arc<Mutex<Canary>>,
}

impl Party {
    fn new(end: &Coprocess) -> Party {
        let received =
            Arc::new(Mutex::new(Received { events: vec![0; STREAMS.len()], calls: Vec::new() }));
        for (stream, (name, size)) in STREAMS.into_iter().enumerate() {
            let received = received.clone();
            end.listen(name, move |(number, bytes): (u64, ByteBuf)| {
                let next = &mut received.lock().unwrap().events[stream];
                assert_eq!(number, *next, "{name}: lost, or come twice");
                assert!(bytes == pattern(number as usize, size), "{name} {number}");
                *next += 1;
            });
        }
        let calls = received.clone();
        end.serve("double", move |x: u64| {
            calls.lock().unwrap().calls.push(x);
            x * 2
        });
        Party { over: Arc::default(), received, threads: Arc::default(), canary: Canary::start() }
    }

    fn go(&self, end: &Coprocess) {
        let mut threads = self.threads.lock().unwrap();
        for (stream, _) in STREAMS.iter().enumerate() {
            let (party, end) = (self.clone(), end.clone());
            threads.push(thread::spawn(move || party.emit(&end, stream)));
        }
        for kind in 0..2 {
            let (party, end) = (self.clone(), end.clone());
            threads.push(thread::spawn(move || party.call(&end, kind)));
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Emits events. An event whose `emit` failed was not sent, and is emitted again.
    fn emit(&self, end: &Coprocess, stream: usize) -> Sent {
        let (name, size) = STREAMS[stream];
        let mut sent = Sent { events: vec![0], ..Sent::default() };
        while !self.is_over() {
            let number = sent.events[0];
            let bytes = pattern(number as usize, size);
            if sent
                .timed(&self.canary, || {
                    end.emit_timeout(name, (number, Bytes::new(&bytes)), TIMEOUT)
                })
                .is_some()
            {
                sent.events[0] += 1;
            }
        }
        // On a busy machine a large one may never have made it in time: one at least, after all
        // that was broken off.
        let number = sent.events[0];
        end.emit_timeout(name, (number, Bytes::new(&pattern(number as usize, size))), LIMIT / 2)
            .unwrap();
        sent.events[0] += 1;
        sent
    }

    /// Calls. Each call has a number of its own: a caller that gets no answer cannot know whether
    /// the call was received.
    fn call(&self, end: &Coprocess, kind: u64) -> Sent {
        let mut sent = Sent::default();
        let mut number = kind;
        while !self.is_over() {
            let answer = if kind == 0 {
                sent.timed(&self.canary, || end.call_timeout::<u64>("double", number, TIMEOUT))
            } else {
                // Sending has no deadline of its own here; the ring may be full.
                end.start::<u64>("double", number)
                    .ok()
                    .and_then(|call| sent.timed(&self.canary, || call.wait_timeout(TIMEOUT)))
            };
            if let Some(answer) = answer {
                assert_eq!(answer, number * 2);
                sent.answered.push(number);
            }
            number += 2;
        }
        // As with events.
        assert_eq!(end.call_timeout::<u64>("double", number, LIMIT / 2).unwrap(), number * 2);
        sent.answered.push(number);
        sent
    }

    /// Stops the threads, and returns what was done. Waits for threads that may need another thread
    /// to dispatch.
    fn finish(&self) -> Sent {
        self.over.store(true, Ordering::Relaxed);
        let mut sent = Sent::default();
        for thread in self.threads.lock().unwrap().drain(..) {
            sent.add(thread.join().unwrap());
        }
        sent
    }

    fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }
}

/// What both sides have to say when it is over: first the parent's, then the worker's.
type Accounts = [(Sent, Received); 2];

/// Runs the parent of the pair that is looked at. The test, which is its parent, stops it.
fn parent_side(test: Coprocess) {
    let worker = Builder::new()
        .ring_capacity(env::var("RING").unwrap().parse().unwrap())
        .fork(worker_side)
        .unwrap();
    let pid = worker.peer_id();
    let party = Party::new(&worker);
    let go = (party.clone(), worker.clone());
    test.serve("worker", move |()| pid)
        .serve("go", move |()| {
            go.1.call::<()>("go", ()).unwrap();
            go.0.go(&go.1);
        })
        .serve("finish", move |()| -> Accounts {
            let sent = party.finish();
            let theirs: (Sent, Received) = worker.call("finish", ()).unwrap();
            // Everything that the worker has sent before its answer was received before it.
            let received = party.received();
            assert!(worker.is_connected());
            assert_eq!(worker.stats().event_panics, 0);
            [(sent, received), theirs]
        });
}

fn worker_side(parent: Coprocess) {
    let party = Party::new(&parent);
    let (end, starting) = (parent.downgrade(), party.clone());
    parent.serve("go", move |()| starting.go(&end.upgrade().unwrap()));
    parent.serve_deferred("finish", move |(), reply: Reply<(Sent, Received)>| {
        // Everything that the parent has sent before this call was received.
        let (party, received) = (party.clone(), party.received());
        thread::spawn(move || reply.send((party.finish(), received)).unwrap());
    });
}

/// Which side is stopped.
#[derive(Clone, Copy)]
struct Stops {
    parent: bool,
    worker: bool,
}

fn stop_and_go(test: &str, stops: Stops) {
    let random = Random::for_test(test);
    for capacity in [SMALL_RING, 256 * 1024] {
        exchange(&format!("{test}, {capacity} bytes"), stops, &random, capacity);
    }
}

fn exchange(test: &str, stops: Stops, random: &Random, capacity: usize) {
    let parent = patient().env("RING", capacity.to_string()).fork(parent_side).unwrap();
    let worker: u32 = parent.call("worker", ()).unwrap();
    let mut stopped = Vec::new();
    if stops.parent {
        stopped.push(Pid::from_raw(parent.peer_id() as i32));
    }
    if stops.worker {
        stopped.push(Pid::from_raw(worker as i32));
    }
    parent.call::<()>("go", ()).unwrap();
    thread::scope(|scope| {
        for pid in stopped {
            // Each side at moments of its own.
            let (stopped, running) = moments(random);
            scope.spawn(move || {
                for (stopped, running) in stopped.into_iter().zip(running) {
                    thread::sleep(running);
                    kill(pid, Signal::SIGSTOP).unwrap();
                    thread::sleep(stopped);
                    kill(pid, Signal::SIGCONT).unwrap();
                }
            });
        }
    });
    let accounts: Accounts = parent.call_timeout("finish", (), LIMIT).unwrap();
    assert!(parent.close().unwrap().unwrap().success());

    for (at, side) in ["parent", "worker"].into_iter().enumerate() {
        let ((sent, _), (_, received)) = (&accounts[at], &accounts[1 - at]);
        assert_eq!(sent.events, received.events, "{side}'s events");
        assert!(sent.events[0] > 1, "{side}: {:?}", sent.events);
        let mut calls = received.calls.clone();
        calls.sort_unstable();
        assert!(calls.is_sorted_by(|a, b| a < b), "a call of the {side}'s came twice");
        assert!(
            sent.answered.iter().all(|call| calls.binary_search(call).is_ok()),
            "{side}: an answer to a call that was not received"
        );

        let mut late = sent.late.clone();
        late.sort_unstable();
        let (most, all) = (late[late.len() * 999 / 1000], late[late.len() - 1]);
        eprintln!(
            "{test}: {side}: {:?} events, {} calls answered, {} timeouts; late by {most:.1?} (99.9 %), {all:.1?} (all)",
            sent.events,
            sent.answered.len(),
            sent.timeouts
        );
        // A side that is stopped itself keeps no deadline.
        if !if at == 0 { stops.parent } else { stops.worker } {
            assert!(sent.timeouts > 0, "{side}: the other has never been stopped for long");
            assert!(most < LATE, "{side}: late by {most:?}");
            assert!(all < AT_ONCE, "{side}: late by {all:?}");
        }
    }
}

/// Returns for how long a side is stopped, and runs before that, each time.
fn moments(random: &Random) -> (Vec<Duration>, Vec<Duration>) {
    let times = 0..rounds(75);
    (
        times.clone().map(|_| random.moment(STOPPED)).collect(),
        times.map(|_| random.moment(RUNNING)).collect(),
    )
}

fn limit() -> Duration {
    LIMIT + (STOPPED + RUNNING) * 2 * rounds(75) as u32
}

#[test]
fn the_worker() {
    within(limit(), || stop_and_go("the_worker", Stops { parent: false, worker: true }));
}

#[test]
fn the_parent() {
    within(limit(), || stop_and_go("the_parent", Stops { parent: true, worker: false }));
}

#[test]
fn both() {
    within(limit(), || stop_and_go("both", Stops { parent: true, worker: true }));
}
