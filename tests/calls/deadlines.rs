//! Deadlines cover the whole operation: waiting for room, large messages, and the answer.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    AT_ONCE, LIMIT, SMALL_RING, Stopped, assert_matches, eventually, fresh_path, next, pattern,
    touch, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, Reply};

const SHORT: Duration = Duration::from_millis(60);

fn slow(parent: Coprocess) {
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    parent
        .serve("echo", |bytes: ByteBuf| bytes)
        .serve("length", |bytes: ByteBuf| bytes.len())
        .serve("sleep", |millis: u64| thread::sleep(Duration::from_millis(millis)))
        .serve("wait for", |file: PathBuf| eventually("the file is there", || file.exists()))
        .serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply));
}

/// Checks that the result of `body` is a timeout, not before `SHORT` and not long after.
#[track_caller]
fn times_out<T: std::fmt::Debug>(body: impl FnOnce() -> coprocess::Result<T>) {
    let start = Instant::now();
    let result = body();
    let took = start.elapsed();
    assert_matches!(result, Err(Error::Timeout));
    assert!(took >= SHORT, "gave up after {took:?}");
    assert!(took < AT_ONCE, "took {took:?}");
}

#[test]
fn of_a_call() {
    within(LIMIT, || {
        let worker = coprocess::fork(slow).unwrap();
        times_out(|| worker.call_timeout::<()>("never", (), SHORT));
        times_out(|| worker.start::<()>("never", ()).unwrap().wait_timeout(SHORT));
        worker.call_timeout::<()>("sleep", 1_u64, AT_ONCE).unwrap();
        // A handler that is still running when its caller has given up.
        let given_up = fresh_path("given-up");
        times_out(|| worker.call_timeout::<()>("wait for", &given_up, SHORT));
        touch(&given_up);
        let empty = ByteBuf::new();
        assert_eq!(worker.call::<ByteBuf>("echo", &empty).unwrap(), empty);
        fs::remove_file(given_up).unwrap();
    });
}

#[test]
fn of_every_call_by_the_builder() {
    within(LIMIT, || {
        let worker = Builder::new().call_timeout(SHORT).fork(slow).unwrap();
        times_out(|| worker.call::<()>("never", ()));
        times_out(|| worker.start::<()>("never", ()).unwrap().wait());
        let (sender, result) = mpsc::channel();
        let report = move |answer: coprocess::Result<()>| sender.send(answer).unwrap();
        times_out(|| {
            worker.call_with("never", (), report).unwrap();
            next(&result)
        });
        // One call may have longer.
        worker.call_timeout::<()>("sleep", 150_u64, AT_ONCE).unwrap();
        eventually("one is answered in time", || worker.call::<()>("sleep", 0_u64).is_ok());
    });
}

#[test]
fn none_at_all_and_far_away() {
    within(LIMIT, || {
        let worker = coprocess::fork(slow).unwrap();
        for timeout in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(1 << 40)]
        {
            worker.call_timeout::<()>("sleep", 1_u64, timeout).unwrap();
            worker.emit_timeout("unheard", (), timeout).unwrap();
            worker.start::<()>("sleep", 1_u64).unwrap().wait_timeout(timeout).unwrap();
        }
        assert_matches!(
            worker.call_timeout::<()>("never", (), Duration::ZERO),
            Err(Error::Timeout)
        );
        // An answer that is there already needs no time, and room that is there neither.
        let pending = worker.start::<()>("sleep", 0_u64).unwrap();
        worker.call::<()>("sleep", 0_u64).unwrap();
        assert!(pending.is_ready());
        pending.wait_timeout(Duration::ZERO).unwrap();
        worker.emit_timeout("unheard", (), Duration::ZERO).unwrap();
    });
}

#[test]
fn of_waiting_for_room() {
    within(LIMIT, || {
        let worker = Builder::new().ring_capacity(SMALL_RING).fork(slow).unwrap();
        let stopped = Stopped::new(&worker);
        let value = ByteBuf::from(pattern(0, 100));
        let mut sent = 0;
        while worker.try_emit("unheard", &value).is_ok() {
            sent += 1;
        }
        times_out(|| worker.emit_timeout("unheard", &value, SHORT));
        times_out(|| worker.call_timeout::<usize>("length", &value, SHORT));
        times_out(|| worker.emit_timeout("unheard", &value, SHORT));
        // From several threads, one of which waits for room and the others for it.
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| times_out(|| worker.emit_timeout("unheard", &value, SHORT)));
            }
        });
        assert_eq!(worker.stats().messages_sent, sent, "nothing was sent when the time was over");
        drop(stopped);
        assert_eq!(worker.call::<usize>("length", &value).unwrap(), 100);
        assert!(worker.stats().waits_for_room >= 3);
    });
}

#[test]
fn room_that_comes_in_time() {
    within(LIMIT, || {
        let worker = Builder::new().ring_capacity(SMALL_RING).fork(slow).unwrap();
        for round in 0..5 {
            let sleep = worker.start::<()>("sleep", 30_u64).unwrap();
            for number in 0..100 {
                let value = ByteBuf::from(pattern(number, 500 + round));
                worker.emit_timeout("unheard", value, LIMIT).unwrap();
            }
            sleep.wait().unwrap();
        }
    });
}

/// A message larger than the ring, sent to a worker that reads nothing. An error in the midst of a
/// message closes the pair; the bytes that were sent never become a message.
#[test]
fn of_a_large_message() {
    within(LIMIT, || {
        let value = ByteBuf::from(pattern(3, 200_000));
        for call in [false, true] {
            let worker =
                Builder::new().ring_capacity(SMALL_RING).close_timeout(SHORT).fork(slow).unwrap();
            let stopped = Stopped::new(&worker);
            times_out(|| match call {
                true => worker.call_timeout::<usize>("length", &value, SHORT).map(drop),
                false => worker.emit_timeout("unheard", &value, SHORT),
            });
            drop(stopped);
            match worker.call::<usize>("length", &value) {
                Ok(length) => assert_eq!(length, 200_000),
                Err(error) => assert_matches!(error, Error::Closed | Error::Timeout),
            }
            drop(worker.close());
        }
    });
}

/// A large message that a slow reader takes in time is whole.
#[test]
fn a_large_message_in_time() {
    within(LIMIT, || {
        let worker = Builder::new().ring_capacity(SMALL_RING).fork(slow).unwrap();
        let value = ByteBuf::from(pattern(3, 500_000));
        let sleep = worker.start::<()>("sleep", 50_u64).unwrap();
        let back: ByteBuf = worker.call_timeout("echo", &value, LIMIT).unwrap();
        assert!(back == value);
        sleep.wait().unwrap();
    });
}

/// The answer is late because this end was busy: a handler ran past the deadline on the waiting
/// thread.
#[test]
fn passed_inside_a_handler() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            slow(parent.clone());
            parent.clone().listen("nap at the parent", move |()| parent.emit("nap", ()).unwrap());
        })
        .unwrap();
        worker.listen("nap", |()| thread::sleep(2 * SHORT));
        worker.emit("nap at the parent", ()).unwrap();
        times_out(|| worker.call_timeout::<()>("never", (), SHORT));
        worker.call::<()>("sleep", 0_u64).unwrap();
    });
}

/// Slow listeners have more events than they can ever handle. The deadline holds, except that a
/// running listener finishes.
#[test]
fn beside_a_flood_for_slow_listeners() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            slow(parent.clone());
            parent.clone().listen("flood", move |()| {
                let parent = parent.clone();
                thread::spawn(move || {
                    for _ in 0..1000 {
                        if parent.emit("slow", ()).is_err() {
                            break;
                        }
                    }
                });
            });
        })
        .unwrap();
        let (sender, handled) = mpsc::channel();
        worker.listen("slow", move |()| {
            sender.send(()).unwrap();
            thread::sleep(Duration::from_millis(100));
        });
        worker.emit("flood", ()).unwrap();
        next(&handled);
        for _ in 0..5 {
            times_out(|| worker.call_timeout::<()>("never", (), SHORT));
            times_out(|| worker.start::<()>("never", ()).unwrap().wait_timeout(SHORT));
        }
        worker.kill().unwrap();
    });
}
