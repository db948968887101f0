//! Events that are awaited: if the ring is full the task waits, and no thread of its runtime does.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    self, AT_ONCE, LIMIT, SMALL_RING, Stopped, alone, assert_matches, eventually, inbox, meant,
    next, pattern, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Backpressure, Builder, Coprocess, Emission, Error, Reason};

const SHORT: Duration = Duration::from_millis(60);

/// Waits for a future on a runtime of one thread, without any driver: nothing but wake-ups.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn poll(emission: &mut Emission, waker: &Waker) -> Poll<coprocess::Result<()>> {
    Pin::new(emission).poll(&mut Context::from_waker(waker))
}

/// Polls an event once, and checks that it is kept.
#[track_caller]
fn kept(mut emission: Emission) -> Emission {
    assert!(poll(&mut emission, Waker::noop()).is_pending());
    emission
}

/// Notes what it is told, and tells it.
fn notes(parent: Coprocess) {
    let noted: &'static Mutex<Vec<u64>> = Box::leak(Box::default());
    parent
        .listen("note", move |(number, padding): (u64, ByteBuf)| {
            assert_eq!(*padding, pattern(number as usize, padding.len()));
            noted.lock().unwrap().push(number);
        })
        .listen_bytes("bytes", move |bytes| noted.lock().unwrap().push(bytes.len() as u64))
        .serve("noted", move |()| noted.lock().unwrap().clone());
}

fn worker() -> Coprocess {
    Builder::new().ring_capacity(SMALL_RING).fork(notes).unwrap()
}

fn padded(number: u64, size: usize) -> (u64, ByteBuf) {
    (number, ByteBuf::from(pattern(number as usize, size)))
}

fn noted(worker: &Coprocess) -> Vec<u64> {
    worker.call_timeout("noted", (), LIMIT / 2).unwrap()
}

/// Fills the ring to the last slot that takes something of this size. Returns how many it took.
fn fill(worker: &Coprocess) -> u64 {
    let mut number = 0;
    while worker.try_emit("note", padded(number, 100)).is_ok() {
        number += 1;
    }
    number
}

#[test]
fn one_after_the_other_by_a_single_thread() {
    within(LIMIT, || {
        let worker = worker();
        block_on(async {
            for number in 0..5_000 {
                // Some are larger than the ring.
                let size = if number % 500 == 7 { 3 * SMALL_RING } else { 50 };
                worker.emit_async("note", padded(number, size)).await.unwrap();
            }
        });
        assert_eq!(noted(&worker), (0..5_000).collect::<Vec<_>>());
    });
}

/// While the ring is full the tasks wait, not the thread; what is sent afterwards is behind them.
#[test]
fn a_full_ring_stops_no_thread_and_keeps_the_order() {
    within(LIMIT, || {
        let worker = worker();
        let stopped = Stopped::new(&worker);
        let first = fill(&worker);
        let start = Instant::now();
        let all: Vec<_> = (first..first + 200)
            .map(|number| kept(worker.emit_async("note", padded(number, 100))))
            .collect();
        assert!(start.elapsed() < AT_ONCE, "a thread waited for the worker, which is stopped");
        assert_matches!(worker.try_emit("note", padded(0, 0)), Err(Error::Full));
        assert_matches!(worker.emit_timeout("note", padded(0, 0), SHORT), Err(Error::Timeout));
        drop(stopped);
        worker.emit("note", padded(first + 200, 0)).unwrap();
        block_on(async {
            for emission in all {
                emission.await.unwrap();
            }
        });
        assert_eq!(noted(&worker), (0..=first + 200).collect::<Vec<_>>());
    });
}

/// A task that awaits each event has one kept, and no more, whatever it would emit.
#[test]
fn the_slower_end_sets_the_pace() {
    within(LIMIT, || {
        let worker = worker();
        let stopped = Stopped::new(&worker);
        let first = fill(&worker);
        let (runtime, begun) = (
            tokio::runtime::Builder::new_current_thread().build().unwrap(),
            Arc::new(AtomicUsize::new(0)),
        );
        let task = runtime.spawn({
            let (worker, begun) = (worker.clone(), begun.clone());
            async move {
                for number in first..first + 100 {
                    begun.fetch_add(1, Ordering::Relaxed);
                    worker.emit_async("note", padded(number, 100)).await.unwrap();
                }
            }
        });
        runtime.block_on(async {
            // The other tasks go on.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(begun.load(Ordering::Relaxed), 1);
            drop(stopped);
            task.await.unwrap();
        });
        assert_eq!(noted(&worker), (0..first + 100).collect::<Vec<_>>());
    });
}

#[test]
fn many_tasks_on_several_threads() {
    const TASKS: u64 = 50;
    const EACH: u64 = 200;
    within(LIMIT, || {
        let worker = worker();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS)
                .map(|task| {
                    let worker = worker.clone();
                    tokio::spawn(async move {
                        for number in 0..EACH {
                            worker
                                .emit_async("note", padded(task * EACH + number, 60))
                                .await
                                .unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        let mut all = noted(&worker);
        // The events of each task are in its order.
        all.sort_by_key(|number| number / EACH);
        assert_eq!(all, (0..TASKS * EACH).collect::<Vec<_>>());
    });
}

/// Events that are given up while they wait for room are not sent, and take no memory for ever.
#[test]
fn given_up_before_there_was_room() {
    within(LIMIT, || {
        alone!({
            let worker = worker();
            // The worker has registered its handlers: to a worker that has not, no event waits for
            // more than some seconds.
            assert_eq!(noted(&worker), []);
            let stopped = Stopped::new(&worker);
            let first = fill(&worker);
            let begun = kept(worker.emit_async("note", padded(first, 100)));
            // Large ones, of which nothing must stay. And many, also with a deadline, of which not
            // even what is known of them must stay.
            for (count, size) in [(30_000, 1000), (200_000, 1)] {
                let before = common::resident_kib();
                for number in 0..count {
                    drop(kept(worker.emit_async("note", padded(number, size))));
                    drop(kept(worker.emit_async_timeout("note", padded(number, size), LIMIT)));
                }
                let grown = common::resident_kib().saturating_sub(before);
                assert!(grown < 10_000, "{grown} KiB for events that were given up");
            }
            let last = kept(worker.emit_async("note", padded(first + 1, 100)));
            drop(stopped);
            block_on(async {
                begun.await.unwrap();
                last.await.unwrap();
            });
            assert_eq!(noted(&worker), (0..first + 2).collect::<Vec<_>>());
        });
    });
}

#[test]
fn deadlines() {
    within(LIMIT, || {
        let worker = worker();
        let first = {
            let _stopped = Stopped::new(&worker);
            let first = fill(&worker);
            block_on(async {
                let start = Instant::now();
                // The first has begun, and is too large for what is left of the ring. The others
                // wait behind it.
                let sizes = [3 * SMALL_RING, 100, 100];
                let all: Vec<_> = sizes
                    .iter()
                    .map(|size| {
                        tokio::spawn(worker.emit_async_timeout("note", padded(0, *size), SHORT))
                    })
                    .collect();
                for emission in all {
                    assert_matches!(emission.await.unwrap(), Err(Error::Timeout));
                }
                assert!(
                    start.elapsed() >= SHORT && start.elapsed() < AT_ONCE,
                    "{:?}",
                    start.elapsed()
                );
                assert_matches!(
                    worker.emit_async_timeout("note", padded(0, 1), Duration::ZERO).await,
                    Err(Error::Timeout)
                );
            });
            first
        };
        block_on(async {
            worker.emit_async_timeout("note", padded(first, 1), LIMIT / 2).await.unwrap();
            worker.emit_async_timeout("note", padded(first + 1, 1), Duration::MAX).await.unwrap();
        });
        assert_eq!(noted(&worker), (0..first + 2).collect::<Vec<_>>());
    });
}

#[test]
fn errors_come_when_it_is_awaited() {
    within(LIMIT, || {
        let worker = Builder::new().max_message(1000).fork(notes).unwrap();
        block_on(async {
            let before = worker.stats().messages_sent;
            assert_matches!(
                worker.emit_async("note", padded(0, 2000)).await,
                Err(Error::TooLarge { size: 2000.., max: 1000 })
            );
            assert_matches!(
                worker.emit_bytes_async("bytes", &[0; 2000]).await,
                Err(Error::TooLarge { size: 2000.., max: 1000 })
            );
            let unpolled = worker.emit_async("note", padded(0, 0));
            drop(worker.emit_async("note", padded(0, 0)));
            assert_eq!(worker.stats().messages_sent, before, "nothing is sent before it is polled");
            worker.close().unwrap();
            assert_matches!(unpolled.await, Err(Error::Closed));
            assert_matches!(worker.emit_async("note", padded(0, 0)).await, Err(Error::Closed));
        });
    });
}

/// A task that waits for room is told of the end, although no other thread waits, or listens, at
/// this end.
#[test]
fn the_end_while_events_wait_for_room() {
    within(LIMIT, || {
        for how in 0..9 {
            let worker = worker();
            let (stopped, mut all) = (Stopped::new(&worker), Vec::new());
            fill(&worker);
            for number in 0..20 {
                all.push(kept(worker.emit_async("note", padded(number, 500))));
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let all: Vec<_> = all.into_iter().map(|emission| runtime.spawn(emission)).collect();
            runtime.block_on(tokio::task::yield_now());
            let kill = || worker.kill().unwrap();
            match how % 3 {
                0 => kill(),
                // An end that closes takes its time for a worker that is stopped.
                1 => {
                    let end = worker.clone();
                    thread::spawn(move || drop(end.close()));
                }
                _ => {
                    drop(stopped);
                    kill();
                }
            }
            runtime.block_on(async {
                for emission in all {
                    match emission.await.unwrap() {
                        Err(Error::Disconnected(Reason::Killed(9))) if how % 3 != 1 => {}
                        Err(Error::Closed) if how % 3 == 1 => {}
                        // It went on, for a moment.
                        Ok(()) if how % 3 == 2 => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
            worker.kill().unwrap();
        }
    });
}

/// The same, while a thread has the turn, and no thread sends what is kept behind it.
#[test]
fn the_end_while_events_wait_behind_a_thread() {
    within(LIMIT, || {
        for close in [true, false] {
            let worker = worker();
            let stopped = Stopped::new(&worker);
            fill(&worker);
            let before = worker.stats().waits_for_room;
            thread::scope(|scope| {
                let thread = scope.spawn(|| worker.emit("note", padded(0, 100)));
                eventually("the thread has the turn", || worker.stats().waits_for_room > before);
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let task = runtime.spawn(kept(worker.emit_async("note", padded(0, 100))));
                runtime.block_on(tokio::task::yield_now());
                if close {
                    let end = worker.clone();
                    scope.spawn(move || drop(end.close()));
                } else {
                    worker.kill().unwrap();
                }
                for told in [runtime.block_on(task).unwrap(), thread.join().unwrap()] {
                    match told {
                        Err(Error::Closed) if close => {}
                        Err(Error::Disconnected(Reason::Killed(9))) if !close => {}
                        other => panic!("{other:?}"),
                    }
                }
                worker.kill().unwrap();
            });
            drop(stopped);
        }
    });
}

/// An event that ends the peer counts as sent, however soon the peer ends.
#[test]
fn the_last_event() {
    within(LIMIT, || {
        for _ in 0..20 {
            let worker = common::patient()
                .ring_capacity(SMALL_RING)
                .fork(|parent| {
                    notes(parent.clone());
                    parent.listen("exit", |status: i32| std::process::exit(status));
                })
                .unwrap();
            // So that a thread dispatches, and notices the end at once.
            worker.listen("anything", |()| ());
            let stopped = Stopped::new(&worker);
            let number = fill(&worker);
            let last =
                [worker.emit_async("note", padded(number, 100)), worker.emit_async("exit", 42)]
                    .map(kept);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let last = last.map(|emission| runtime.spawn(emission));
            runtime.block_on(async {
                tokio::task::yield_now().await;
                drop(stopped);
                for emission in last {
                    emission.await.unwrap().unwrap();
                }
            });
            assert_eq!(worker.close().unwrap().unwrap().code(), Some(42));
        }
    });
}

/// With the handle of an event a task does what the handle was told. Only if the event is to wait
/// for room is there anything to await.
#[test]
fn handles_do_what_they_were_told() {
    within(LIMIT, || {
        let worker = worker();
        let [wait, fail, newest] =
            [Backpressure::Wait, Backpressure::Fail, Backpressure::DropNewest]
                .map(|choice| worker.event("note").backpressure(choice));
        let latest = worker.event("bytes").backpressure(Backpressure::KeepLatest);
        block_on(async {
            wait.emit_async(padded(0, 1)).await.unwrap();
            fail.emit_async(padded(1, 1)).await.unwrap();
            newest.emit_async(padded(2, 1)).await.unwrap();
            // What went before is handled, and so is this one before the next.
            latest.emit_bytes_async(&[0; 3]).await.unwrap();
            assert_eq!(noted(&worker), [0, 1, 2, 3]);
            let stopped = Stopped::new(&worker);
            let count = fill(&worker);
            assert_matches!(fail.emit_async(padded(1, 100)).await, Err(Error::Full));
            newest.emit_async(padded(2, 100)).await.unwrap();
            assert_eq!(worker.stats().events_dropped, 1);
            latest.emit_bytes_async(&[0; 4]).await.unwrap();
            latest.emit_bytes_async(&[0; 5]).await.unwrap();
            let waiting = kept(wait.emit_async(padded(count, 100)));
            drop(stopped);
            waiting.await.unwrap();
            let noted = || noted(&worker);
            assert_eq!(noted().iter().filter(|number| **number == count).count(), 1);
            eventually("the latest value arrives", || noted().last() == Some(&5));
        });
    });
}

/// A future that is polled by one task, and then by another with another waker: the last one is
/// woken.
#[test]
fn moved_between_tasks() {
    within(LIMIT, || {
        let worker = worker();
        let stopped = Stopped::new(&worker);
        let number = fill(&worker);
        let emission = kept(worker.emit_async("note", padded(number, 100)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let task = runtime.spawn(emission);
        runtime.block_on(async {
            tokio::task::yield_now().await;
            drop(stopped);
            task.await.unwrap().unwrap();
        });
        assert_eq!(noted(&worker).len() as u64, number + 1);
    });
}

/// A waker is the program's code: that one panics is counted, and no other loses its turn.
#[test]
fn a_waker_that_panics() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("{}", meant::MEANT);
        }
    }
    within(LIMIT, || {
        meant::quiet();
        let worker = worker();
        let stopped = Stopped::new(&worker);
        let number = fill(&worker);
        let mut panics = worker.emit_async("note", padded(number, 100));
        assert!(poll(&mut panics, &Waker::from(Arc::new(Panics))).is_pending());
        let other = kept(worker.emit_async("note", padded(number + 1, 100)));
        drop(stopped);
        block_on(async {
            other.await.unwrap();
            panics.await.unwrap();
        });
        assert_eq!(worker.stats().event_panics, 1);
        assert_eq!(noted(&worker), (0..number + 2).collect::<Vec<_>>());
    });
}

/// Both ends at once, each with handlers that are slower than what comes, and with tasks that await
/// each event.
#[test]
fn both_ways_at_once() {
    const COUNT: u64 = 2_000;
    fn flood(end: &Coprocess) {
        block_on(async {
            for number in 0..COUNT {
                end.emit_async("flood", padded(number, 200)).await.unwrap();
            }
        });
    }
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                let heard: &'static AtomicUsize = Box::leak(Box::default());
                parent
                    .listen("flood", |_: (u64, ByteBuf)| {
                        heard.fetch_add(1, Ordering::Relaxed);
                    })
                    .serve("heard", |()| heard.load(Ordering::Relaxed))
                    .listen("begin", {
                        let weak = parent.downgrade();
                        move |()| {
                            let end = weak.upgrade().unwrap();
                            thread::spawn(move || flood(&end));
                        }
                    });
            })
            .unwrap();
        let flooded = inbox::<(u64, ByteBuf)>(&worker, "flood");
        worker.emit("begin", ()).unwrap();
        flood(&worker);
        for number in 0..COUNT {
            assert_eq!(next(&flooded), padded(number, 200));
        }
        eventually("all is heard", || worker.call::<usize>("heard", ()).unwrap() == COUNT as usize);
    });
}
