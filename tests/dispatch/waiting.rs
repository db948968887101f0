//! Waiting: every strategy works, and an idle pair makes no wake-ups at all.

use std::env;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{
    self, AT_ONCE, LIMIT, SMALL_RING, Stopped, all_sleep, alone, assert_matches, eventually,
    fresh_path, inbox, next, patient, pattern, touch, voluntary_switches, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, WaitStrategy};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const STRATEGIES: [WaitStrategy; 3] =
    [WaitStrategy::Adaptive, WaitStrategy::Spin, WaitStrategy::Block];

fn echo(parent: Coprocess) {
    parent.serve("echo", |bytes: ByteBuf| bytes);
    parent.clone().listen("send", move |count: u32| {
        for number in 0..count {
            parent.emit("number", number).unwrap();
        }
    });
}

#[test]
fn every_strategy_works() {
    within(LIMIT, || {
        for strategy in STRATEGIES {
            let worker = patient().wait(strategy).ring_capacity(SMALL_RING).fork(echo).unwrap();
            for size in (0..100).chain([1000, 5000, 100_000]) {
                let bytes = ByteBuf::from(pattern(size, size));
                assert!(worker.call::<ByteBuf>("echo", &bytes).unwrap() == bytes);
            }
            let numbers = inbox::<u32>(&worker, "number");
            worker.emit("send", 2000_u32).unwrap();
            for number in 0..2000 {
                assert_eq!(next(&numbers), number);
            }
            assert!(worker.close().unwrap().unwrap().success(), "{strategy:?}");
        }
    });
}

#[test]
fn every_strategy_keeps_deadlines_and_notices_death() {
    within(LIMIT, || {
        for strategy in STRATEGIES {
            let worker = Builder::new()
                .wait(strategy)
                .fork(|parent| {
                    parent
                        .serve("sleep", |millis: u64| thread::sleep(Duration::from_millis(millis)));
                    parent.serve("wait for", |file: PathBuf| {
                        eventually("the file is there", || file.exists())
                    });
                })
                .unwrap();
            let (short, given_up) = (Duration::from_millis(20), fresh_path("given-up"));
            let error = worker.call_timeout::<()>("wait for", &given_up, short).unwrap_err();
            assert_matches!(error, Error::Timeout);
            touch(&given_up);
            worker.call::<()>("sleep", 1_u64).unwrap();
            fs::remove_file(given_up).unwrap();
            thread::scope(|scope| {
                let call = scope.spawn(|| worker.call::<()>("sleep", 1_000_000_u64));
                let run = scope.spawn(|| worker.run());
                worker.kill().unwrap();
                common::at_once(|| {
                    assert_matches!(call.join().unwrap(), Err(Error::Disconnected(_)));
                    assert_matches!(run.join().unwrap(), Err(Error::Disconnected(_)));
                });
            });
        }
    });
}

/// Pauses of every length between messages: one of them falls between the last look and the sleep.
#[test]
fn no_wake_up_is_lost() {
    within(LIMIT, || {
        for strategy in STRATEGIES {
            let worker = Builder::new().wait(strategy).fork(echo).unwrap();
            let numbers = inbox::<u32>(&worker, "number");
            for round in 0..400_u64 {
                let pause = Duration::from_nanos(round * 7919 % 200_000);
                let start = std::time::Instant::now();
                while start.elapsed() < pause {
                    std::hint::spin_loop();
                }
                if round % 2 == 0 {
                    let bytes: ByteBuf =
                        worker.call_timeout("echo", ByteBuf::new(), AT_ONCE).unwrap();
                    assert!(bytes.is_empty());
                } else {
                    worker.emit("send", 1_u32).unwrap();
                    numbers.recv_timeout(AT_ONCE).expect("a wake-up was lost");
                }
            }
        }
    });
}

/// Reports the sleeps of its own end towards its worker, and the process ids.
fn idle_pair(parent: Coprocess) {
    let strategy = match env::var("STRATEGY").unwrap().as_str() {
        "Block" => WaitStrategy::Block,
        _ => WaitStrategy::Adaptive,
    };
    let worker = Builder::new().wait(strategy).fork(echo).unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let seen = count.clone();
    worker.listen("number", move |_: u32| {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    worker.emit("send", 1000_u32).unwrap();
    worker.call::<ByteBuf>("echo", ByteBuf::new()).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1000);
    parent.serve("pids", {
        let worker = worker.clone();
        move |()| (std::process::id(), worker.peer_id())
    });
    parent.serve("sleeps", move |()| (worker.stats().sleeps, worker.stats().wakeups_sent));
}

/// Waits until these processes have nothing left to do. A process that gets no processor does not
/// go to sleep by itself either, so each of their threads must be asleep.
fn settle(processes: &[u32]) {
    let switches = || processes.iter().map(|process| voluntary_switches(*process)).sum::<u64>();
    let (mut last, mut same) = (switches(), 0);
    eventually("they have settled", || {
        thread::sleep(Duration::from_millis(100));
        let before = std::mem::replace(&mut last, switches());
        same = if before == last && processes.iter().all(|process| all_sleep(*process)) {
            same + 1
        } else {
            0
        };
        same == 3
    });
}

/// Fails if a counter grows all the time. What was left to do when the machine was busy may make it
/// grow once.
#[track_caller]
fn does_not_grow<T: PartialEq + Debug>(what: &str, mut counter: impl FnMut() -> T) {
    let mut seen = vec![counter()];
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(600));
        seen.push(counter());
        if seen[seen.len() - 2] == seen[seen.len() - 1] {
            return;
        }
    }
    panic!("{what}: wake-ups while nothing happens: {seen:?}");
}

/// Measured from outside, in processes that hold nothing but the pair: a window of no activity at
/// all.
#[test]
fn an_idle_pair_makes_no_wake_ups() {
    within(LIMIT, || {
        for strategy in ["Adaptive", "Block"] {
            let middle = Builder::new().env("STRATEGY", strategy).fork(idle_pair).unwrap();
            let (parent, worker): (u32, u32) = middle.call("pids", ()).unwrap();
            // After the last message: a thread that spins goes to sleep once.
            settle(&[parent, worker]);
            does_not_grow(strategy, || (voluntary_switches(parent), voluntary_switches(worker)));
            // The library counts, too. Asking for its count needs messages on the outer pair only.
            does_not_grow(strategy, || middle.call::<(u64, u64)>("sleeps", ()).unwrap());
        }
    });
}

/// A pair that was never used, and one whose parent only listens, are idle as well.
#[test]
fn idle_from_the_start() {
    within(LIMIT, || {
        let middle = coprocess::fork(|parent| {
            let unused = coprocess::fork(|_| ()).unwrap();
            let listens = coprocess::fork(|_| ()).unwrap();
            listens.listen("never", |()| ());
            parent
                .serve("pids", move |()| (std::process::id(), unused.peer_id(), listens.peer_id()));
        })
        .unwrap();
        let (own, unused, listens): (u32, u32, u32) = middle.call("pids", ()).unwrap();
        settle(&[own, unused, listens]);
        does_not_grow("unused", || [own, unused, listens].map(voluntary_switches));
    });
}

/// Between two busy ends no thread sleeps in the kernel more than now and then, and a blocked
/// thread does sleep.
#[test]
fn sleeps_are_counted() {
    within(LIMIT, || {
        let worker = Builder::new()
            .wait(WaitStrategy::Block)
            .fork(|parent| {
                parent.serve("sleep", |millis: u64| thread::sleep(Duration::from_millis(millis)));
            })
            .unwrap();
        let before = worker.stats().sleeps;
        // A thread that does not run for so long between its question and its sleep finds the
        // answer.
        let calls = (1..=100).find(|_| {
            worker.call::<()>("sleep", 50_u64).unwrap();
            worker.stats().sleeps >= before + 10
        });
        assert!(calls.is_some(), "{} sleeps", worker.stats().sleeps - before);

        let spins = Builder::new()
            .wait(WaitStrategy::Spin)
            .fork(|parent| {
                parent.serve("double", |x: i64| x * 2);
            })
            .unwrap();
        for number in 0..100 {
            assert_eq!(spins.call::<i64>("double", number).unwrap(), number * 2);
        }
        assert_eq!(spins.stats().sleeps, 0);
        assert_eq!(spins.stats().wakeups_sent, 0);
    });
}

/// A sender that waits for room sleeps in the kernel: a slow worker causes no loop of wake-ups.
#[test]
fn waiting_for_room_sleeps() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                parent.listen("count", |_: ByteBuf| ());
            })
            .unwrap();
        let stopped = Stopped::new(&worker);
        let value = ByteBuf::from(pattern(0, 500));
        while worker.try_emit("count", &value).is_ok() {}
        let before = worker.stats();
        thread::scope(|scope| {
            let emit = scope.spawn(|| worker.emit("count", &value).unwrap());
            eventually("it waits for room", || {
                worker.stats().waits_for_room > before.waits_for_room
            });
            // For so long at least.
            thread::sleep(Duration::from_millis(400));
            drop(stopped);
            emit.join().unwrap();
        });
        let after = worker.stats();
        assert_eq!(after.waits_for_room - before.waits_for_room, 1);
        assert!(after.sleeps - before.sleeps <= 3, "{} sleeps", after.sleeps - before.sleeps);
    });
}

/// Both processes on one processor, where a thread that spins keeps the peer from answering.
#[test]
fn every_strategy_works_on_a_single_processor() {
    within(LIMIT, || {
        alone!({
            let usable = sched_getaffinity(Pid::from_raw(0)).unwrap();
            let first = (0..CpuSet::count()).find(|cpu| usable.is_set(*cpu).unwrap()).unwrap();
            let mut one = CpuSet::new();
            one.set(first).unwrap();
            sched_setaffinity(Pid::from_raw(0), &one).unwrap();
            for strategy in STRATEGIES {
                let worker =
                    Builder::new().wait(strategy).ring_capacity(SMALL_RING).fork(echo).unwrap();
                for size in (0..20).chain([5000, 20_000]) {
                    let bytes = ByteBuf::from(pattern(size, size));
                    assert!(worker.call::<ByteBuf>("echo", &bytes).unwrap() == bytes);
                }
                worker.close().unwrap();
            }
        });
    });
}

#[test]
fn who_spins_never_sleeps_whatever_the_size() {
    within(LIMIT, || {
        let worker = Builder::new().wait(WaitStrategy::Spin).fork(echo).unwrap();
        for size in [100, 200_000, 1 << 20, 4 << 20] {
            let before = worker.stats().sleeps;
            for _ in 0..10 {
                let bytes: ByteBuf = worker.call("echo", ByteBuf::from(vec![1; size])).unwrap();
                assert_eq!(bytes.len(), size);
            }
            assert_eq!(worker.stats().sleeps, before, "sleeps in calls of {size} bytes");
        }
        worker.close().unwrap();
    });
}
