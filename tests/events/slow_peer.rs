//! A slow peer, through no fault of its own: stopped, or behind with its work. Whatever is kept for
//! it meanwhile, however large, is not lost, and is no reason to end the pair. What was given up is
//! not kept.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    self, AT_ONCE, LIMIT, SMALL_RING, Stopped, alone, assert_matches, eventually, inbox, next,
    resident_kib, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Backpressure, Builder, Coprocess, Error};

const MIB: usize = 1 << 20;

/// Fills the ring towards it.
fn fill(co: &Coprocess) {
    while co.try_emit("filling", ByteBuf::from(vec![0; 100])).is_ok() {}
}

#[test]
fn large_values_of_gauges_are_kept() {
    within(LIMIT, || {
        let worker = common::patient()
            .fork(|parent| {
                parent.serve("ready", |()| ());
                for number in 0..4_usize {
                    let end = parent.downgrade();
                    parent.listen(&format!("gauge {number}"), move |value: ByteBuf| {
                        end.upgrade()
                            .unwrap()
                            .emit("seen", (number, value.len(), value[0]))
                            .unwrap();
                    });
                }
            })
            .unwrap();
        worker.call::<()>("ready", ()).unwrap();
        let seen = inbox::<(usize, usize, u8)>(&worker, "seen");
        let gauges: Vec<_> = (0..4)
            .map(|n| worker.event(&format!("gauge {n}")).backpressure(Backpressure::KeepLatest))
            .collect();
        let stopped = Stopped::new(&worker);
        for round in 1..=3_u8 {
            for gauge in &gauges {
                gauge.emit(ByteBuf::from(vec![round; 40 * MIB])).unwrap();
            }
        }
        assert!(worker.is_connected());
        drop(stopped);
        let mut last = [0; 4];
        while last != [3; 4] {
            let (number, bytes, round) = next(&seen);
            assert_eq!(bytes, 40 * MIB);
            last[number] = round;
        }
        assert!(worker.close().unwrap().unwrap().success());
    });
}

#[test]
fn a_call_given_up_without_room_is_cancelled_once_there_is_some() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .max_calls_served(1)
            .fork(|parent| {
                let replies = std::sync::Mutex::new(Vec::new());
                parent.serve_deferred("never", move |(), reply: coprocess::Reply<()>| {
                    let mut replies = replies.lock().unwrap();
                    replies.retain(|reply: &coprocess::Reply<()>| reply.is_wanted());
                    replies.push(reply);
                });
                let end = parent.downgrade();
                parent
                    .serve("cancelled", move |()| end.upgrade().unwrap().stats().cancels_received);
            })
            .unwrap();
        let call = worker.start::<()>("never", ()).unwrap();
        assert_eq!(worker.call::<u64>("cancelled", ()).unwrap(), 0);
        let stopped = Stopped::new(&worker);
        fill(&worker);
        assert_matches!(call.wait_timeout(Duration::from_millis(10)), Err(Error::Timeout));
        assert_matches!(
            worker.call_timeout::<()>("never", (), Duration::from_millis(10)),
            Err(Error::Timeout)
        );
        drop(stopped);
        eventually("the call is cancelled", || worker.call::<u64>("cancelled", ()).unwrap() == 1);
    });
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn calls_of_tasks_that_are_given_up_take_no_memory() {
    within(LIMIT, || {
        alone!({
            let worker = coprocess::fork(|parent| {
                parent.serve("length", |bytes: ByteBuf| bytes.len());
            })
            .unwrap();
            let large = ByteBuf::from(vec![7; MIB]);
            assert_eq!(worker.call::<usize>("length", &large).unwrap(), MIB);
            let stopped = Stopped::new(&worker);
            fill(&worker);
            let before_kib = resident_kib();
            for _ in 0..300 {
                assert!(poll(pin!(worker.call_async::<usize>("length", &large))).is_pending());
            }
            let more_kib = resident_kib().saturating_sub(before_kib);
            assert!(more_kib < 60 << 10, "{more_kib} KiB are kept for calls that were given up");
            // The first may be in the midst of being sent.
            assert!(worker.stats().cancels_sent <= 1, "what was not sent needs no cancelling");
            drop(stopped);
            assert_eq!(worker.call::<usize>("length", &large).unwrap(), MIB);
        });
    });
}

fn serve_time_left(parent: Coprocess) {
    parent.serve("left", |_: ByteBuf| {
        let at = coprocess::current_deadline().expect("a call with a deadline");
        at.saturating_duration_since(Instant::now())
    });
}

/// The first for room, the second for its turn; that of a task is kept.
#[test]
fn calls_that_wait_say_what_is_left_when_they_are_sent() {
    within(LIMIT, || {
        let worker = Builder::new().ring_capacity(SMALL_RING).fork(serve_time_left).unwrap();
        let stopped = Stopped::new(&worker);
        fill(&worker);
        let waits = worker.stats().waits_for_room;
        let call = |bytes: usize| {
            let worker = worker.clone();
            thread::spawn(move || {
                let start = Instant::now();
                (
                    start,
                    worker
                        .call_timeout::<Duration>("left", ByteBuf::from(vec![0; bytes]), LIMIT)
                        .unwrap(),
                )
            })
        };
        let first = call(3 * SMALL_RING);
        eventually("it waits for room", || worker.stats().waits_for_room > waits);
        let start = Instant::now();
        let mut kept = pin!(worker.call_async_timeout::<Duration>("left", ByteBuf::new(), LIMIT));
        assert!(poll(kept.as_mut()).is_pending());
        let second = call(0);
        // It does not matter for how long.
        thread::sleep(Duration::from_millis(500));
        let resumed = Instant::now();
        drop(stopped);
        let mut calls = vec![first.join().unwrap(), second.join().unwrap()];
        eventually("it is answered", || match poll(kept.as_mut()) {
            Poll::Pending => false,
            Poll::Ready(left) => {
                calls.push((start, left.unwrap()));
                true
            }
        });
        for (start, left) in calls {
            let waited = resumed.saturating_duration_since(start);
            assert!(left <= LIMIT - waited, "{left:?} of {LIMIT:?} after {waited:?}");
        }
    });
}

#[test]
fn a_call_that_is_sent_late_says_what_is_left_then() {
    within(LIMIT, || {
        let worker = coprocess::fork(serve_time_left).unwrap();
        let call = worker.call_async_timeout::<Duration>("left", ByteBuf::new(), LIMIT);
        let pause = Duration::from_millis(1500);
        thread::sleep(pause);
        let mut call = pin!(call);
        let mut left = None;
        eventually("it is answered", || match poll(call.as_mut()) {
            Poll::Pending => false,
            Poll::Ready(answer) => {
                left = Some(answer.unwrap());
                true
            }
        });
        let left = left.unwrap();
        assert!(left <= LIMIT - pause, "{left:?} of {LIMIT:?} after {pause:?}");
        assert!(left > LIMIT - pause - AT_ONCE);
    });
}

#[cfg(feature = "tokio")]
#[test]
fn large_answers_of_tasks_at_once_do_not_end_the_pair() {
    fn serve(parent: Coprocess) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(8).build().unwrap();
        parent.serve_async(runtime.handle(), "large", |size: usize| async move {
            ByteBuf::from(vec![7; size])
        });
        parent.serve("ready", |()| ());
        std::mem::forget(runtime);
    }
    within(LIMIT, || {
        let worker = common::patient().fork(serve).unwrap();
        worker.call::<()>("ready", ()).unwrap();
        let calls: Vec<_> =
            (0..8).map(|_| worker.start::<ByteBuf>("large", 30 * MIB).unwrap()).collect();
        for call in calls {
            assert_eq!(call.wait().unwrap().len(), 30 * MIB);
        }
        assert!(worker.close().unwrap().unwrap().success());
    });
}

/// However many tasks call: a thread that waits to send has its turn.
#[test]
fn a_thread_has_its_turn_among_tasks() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                parent.serve("length", |bytes: ByteBuf| {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_micros(20) {}
                    bytes.len()
                });
            })
            .unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        // More of them than have room, all the time.
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (worker, over) = (worker.clone(), over.clone());
                runtime.spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(
                            worker
                                .call_async::<usize>("length", ByteBuf::from(vec![0; 1000]))
                                .await
                                .unwrap(),
                            1000
                        );
                    }
                })
            })
            .collect();
        eventually("there is no room", || worker.stats().waits_for_room > 0);
        for _ in 0..20 {
            worker.emit_timeout("event", ByteBuf::from(vec![0; 1000]), LIMIT / 10).unwrap();
        }
        over.store(true, Ordering::Relaxed);
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
    });
}
