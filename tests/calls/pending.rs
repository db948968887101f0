//! `Pending` and callbacks: a call started now, whose answer is taken later, or never.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    self, LIMIT, assert_matches, eventually, later_worker, next, serve_later, within,
};
use coprocess::{Builder, Error, Reply};

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn waits_in_any_order() {
    within(LIMIT, || {
        let worker = later_worker();
        let mut calls: Vec<_> =
            (0..100_u64).map(|x| (x, worker.start::<u64>("later", x).unwrap())).collect();
        worker.call::<usize>("now", ()).unwrap();
        calls.sort_by_key(|(x, _)| x * 37 % 100);
        for (x, call) in calls {
            assert!(call.is_ready());
            assert_eq!(call.wait().unwrap(), x * 2);
        }
    });
}

#[test]
fn is_ready_after_poll() {
    within(LIMIT, || {
        let worker = later_worker();
        let call = worker.start::<u64>("later", 4_u64).unwrap();
        let before = worker.start::<u64>("double", 1_u64).unwrap();
        eventually("an earlier answer has arrived", || {
            worker.poll().unwrap();
            before.is_ready()
        });
        assert!(!call.is_ready());
        worker.emit("now", ()).unwrap();
        eventually("it is ready", || {
            worker.poll().unwrap();
            call.is_ready()
        });
        assert_eq!(call.wait().unwrap(), 8);
    });
}

#[test]
fn may_be_sent_to_another_thread() {
    within(LIMIT, || {
        let worker = later_worker();
        let threads: Vec<_> = (0..20_u64)
            .map(|x| {
                let call = worker.start::<u64>("later", x).unwrap();
                thread::spawn(move || call.wait().unwrap())
            })
            .collect();
        worker.call::<usize>("now", ()).unwrap();
        for (x, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), x as u64 * 2);
        }
    });
}

#[test]
fn dropped_without_a_wait() {
    within(LIMIT, || {
        let worker = later_worker();
        for round in 0..50_u64 {
            let kept = worker.start::<u64>("later", round).unwrap();
            for x in 0..20_u64 {
                drop(worker.start::<u64>("later", x).unwrap());
            }
            drop(worker.start::<u64>("double", 1_u64).unwrap());
            worker.call::<usize>("now", ()).unwrap();
            assert_eq!(kept.wait().unwrap(), round * 2);
        }
        // The peer answers at once what it can answer at once. It does not answer later a call that
        // was given up.
        let stats = worker.stats();
        assert_eq!((stats.cancels_sent, stats.answers_dropped), (50 * 21, 50));
        // Dropped when the answer is there already: it was received, nothing is left over.
        let ready = worker.start::<u64>("double", 1_u64).unwrap();
        worker.call::<u64>("double", 2_u64).unwrap();
        assert!(ready.is_ready());
        drop(ready);
        // Dropped after the pair.
        let orphan = worker.start::<u64>("later", 1_u64).unwrap();
        worker.close().unwrap();
        drop(worker);
        drop(orphan);
    });
}

/// A started call outlives the handle it came from: it is a use of the pair.
#[test]
fn outlives_the_handle() {
    within(LIMIT, || {
        let worker = later_worker();
        let call = worker.start::<u64>("double", 21_u64).unwrap();
        drop(worker);
        match call.wait() {
            Ok(answer) => assert_eq!(answer, 42),
            Err(error) => assert_matches!(error, Error::Closed),
        }
    });
}

/// A callback is called once, also with an error, and may itself call.
#[test]
fn callbacks() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("double", |x: u64| x * 2);
            parent.listen("exit", |()| std::process::exit(4));
        })
        .unwrap();
        let (sender, results) = mpsc::channel();
        for number in 0..2000 {
            let sender = sender.clone();
            worker
                .call_with("double", number, move |answer: coprocess::Result<u64>| {
                    sender.send((number, answer.unwrap())).unwrap();
                })
                .unwrap();
        }
        for number in 0..2000 {
            assert_eq!(next(&results), (number, number * 2));
        }
        let (sender, nested) = mpsc::channel();
        let again = worker.clone();
        worker
            .call_with("double", 4_u64, move |answer: coprocess::Result<u64>| {
                sender.send(again.call::<u64>("double", answer.unwrap())).unwrap();
            })
            .unwrap();
        assert_eq!(next(&nested).unwrap(), 16);

        let (sender, failed) = mpsc::channel();
        let missing = sender.clone();
        let report = move |answer: coprocess::Result<()>| missing.send(answer).unwrap();
        worker.call_with("missing", (), report).unwrap();
        assert_matches!(next(&failed), Err(Error::MethodNotFound { .. }));
        let results: Arc<Mutex<Vec<coprocess::Result<u64>>>> = Arc::default();
        worker.emit("exit", ()).unwrap();
        let mut sent = 0;
        loop {
            let results = results.clone();
            let keep = move |answer| results.lock().unwrap().push(answer);
            match worker.call_with("double", 1, keep) {
                Ok(()) => sent += 1,
                Err(error) => {
                    assert_matches!(error, Error::Disconnected(_));
                    break;
                }
            }
        }
        eventually("every callback was called", || results.lock().unwrap().len() >= sent);
        for result in results.lock().unwrap().iter() {
            assert_matches!(result, Err(Error::Disconnected(_)));
        }
    });
}

/// Waited for in vain, a call goes on: it can be waited for again, in every way.
#[test]
fn wait_for_can_be_tried_again() {
    within(LIMIT, || {
        let worker = later_worker();
        let later = |x: u64| {
            let mut call = worker.start::<u64>("later", x).unwrap();
            let start = Instant::now();
            for _ in 0..3 {
                assert_matches!(call.wait_for(SHORT), Ok(None));
            }
            assert!(start.elapsed() >= 3 * SHORT);
            assert_matches!(call.wait_for(Duration::ZERO), Ok(None));
            assert!(!call.is_ready());
            call
        };
        let [mut again, waited, bounded, mut awaited, mut moved] = [1, 2, 3, 4, 5].map(later);
        let dropped = later(6);
        assert_eq!(
            worker.stats().cancels_sent,
            0,
            "a call that is waited for in vain is not given up"
        );
        drop(dropped);
        assert_eq!(worker.stats().cancels_sent, 1);
        let (woken, told) = mpsc::channel();
        let waker = Waker::from(Arc::new(Tell(woken)));
        assert!(Pin::new(&mut awaited).poll(&mut Context::from_waker(&waker)).is_pending());
        // A wait takes the place of the task; a poll afterwards that of the wait.
        assert_matches!(awaited.wait_for(SHORT), Ok(None));
        assert!(Pin::new(&mut awaited).poll(&mut Context::from_waker(&waker)).is_pending());
        let moved = thread::spawn(move || moved.wait_for(LIMIT).unwrap());
        worker.call::<usize>("now", ()).unwrap();
        assert_eq!(again.wait_for(LIMIT).unwrap(), Some(2));
        assert_matches!(again.wait_for(LIMIT), Err(Error::Closed));
        assert!(again.is_ready());
        assert_eq!(waited.wait().unwrap(), 4);
        assert_eq!(bounded.wait_timeout(LIMIT).unwrap(), 6);
        next(&told);
        assert_matches!(
            Pin::new(&mut awaited).poll(&mut Context::from_waker(&waker)),
            Poll::Ready(Ok(8))
        );
        assert_eq!(moved.join().unwrap(), Some(10));

        let mut missing = worker.start::<u64>("missing", ()).unwrap();
        assert_matches!(missing.wait_for(LIMIT), Err(Error::MethodNotFound { .. }));
    });
}

/// What has arrived before the result does not keep it from being taken.
#[test]
fn wait_for_no_time_takes_what_has_arrived() {
    within(LIMIT, || {
        let answered = common::fresh_path("answered");
        let worker = common::patient()
            .env("COPROCESS_TEST_ANSWERED", &answered)
            .fork(|parent| {
                let own = parent.downgrade();
                parent.serve_deferred("after events", move |n: u64, reply: Reply<u64>| {
                    let own = own.upgrade().unwrap();
                    (0..n).for_each(|n| own.emit("event", n).unwrap());
                    reply.send(n).unwrap();
                    common::touch(std::env::var_os("COPROCESS_TEST_ANSWERED").unwrap().as_ref());
                });
            })
            .unwrap();
        let mut call = worker.start::<u64>("after events", 100_u64).unwrap();
        eventually("it has answered", || answered.exists());
        assert_eq!(call.wait_for(Duration::ZERO).unwrap(), Some(100));
        std::fs::remove_file(answered).unwrap();
    });
}

/// Says that a task was woken.
struct Tell(mpsc::Sender<()>);

impl Wake for Tell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

/// Many threads wait for a moment, again and again, and lead in turns: every answer reaches its
/// call.
#[test]
fn wait_for_of_many_threads_at_once() {
    within(LIMIT, || {
        let worker = later_worker();
        let threads: Vec<_> = (0..8_u64)
            .map(|thread| {
                let worker = worker.clone();
                thread::spawn(move || {
                    let mut in_vain = 0;
                    for n in 0..300 {
                        let x = 1000 * thread + n;
                        let mut quick = worker.start::<u64>("double", x).unwrap();
                        let mut late = worker.start::<u64>("later", x).unwrap();
                        worker.emit("now", ()).unwrap();
                        for call in [&mut late, &mut quick] {
                            loop {
                                match call.wait_for(Duration::from_micros(x % 7)).unwrap() {
                                    Some(doubled) => break assert_eq!(doubled, 2 * x),
                                    None => in_vain += 1,
                                }
                            }
                        }
                    }
                    in_vain
                })
            })
            .collect();
        let in_vain: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(in_vain > 0, "no wait was ever too short");
        let stats = worker.stats();
        assert_eq!((stats.cancels_sent, stats.answers_dropped), (0, 0));
    });
}

/// The call's own deadline ends it, and so does the end of the pair, after what had arrived.
#[test]
fn wait_for_ends_with_the_call() {
    within(LIMIT, || {
        let timed = Builder::new().call_timeout(4 * SHORT).fork(|parent| {
            let held: Mutex<Vec<Reply<()>>> = Mutex::default();
            parent.serve_deferred("never", move |(): (), reply: Reply<()>| {
                held.lock().unwrap().push(reply)
            });
        });
        let timed = timed.unwrap();
        let start = Instant::now();
        let mut call = timed.start::<()>("never", ()).unwrap();
        assert_matches!(call.wait_for(SHORT), Ok(None));
        assert_matches!(call.wait_for(LIMIT), Err(Error::Timeout));
        assert!(start.elapsed() >= 4 * SHORT);
        assert_matches!(call.wait_for(LIMIT), Err(Error::Closed));
        assert_eq!(timed.stats().cancels_sent, 1);

        let worker = later_worker();
        let mut answered = worker.start::<u64>("double", 1_u64).unwrap();
        let mut unanswered = worker.start::<u64>("later", 1_u64).unwrap();
        worker.call::<u64>("double", 2_u64).unwrap();
        assert_matches!(unanswered.wait_for(SHORT), Ok(None));
        worker.kill().unwrap();
        assert_matches!(unanswered.wait_for(LIMIT), Err(Error::Disconnected(_)));
        assert_eq!(answered.wait_for(LIMIT).unwrap(), Some(2));

        let worker = later_worker();
        let mut closed = worker.start::<u64>("later", 1_u64).unwrap();
        assert_matches!(closed.wait_for(SHORT), Ok(None));
        worker.close().unwrap();
        assert_matches!(closed.wait_for(LIMIT), Err(Error::Closed));
    });
}

/// In a handler of the same pair, which leads already.
#[test]
fn wait_for_in_a_handler() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            serve_later(&parent);
            let end = parent.downgrade();
            parent.listen("say done", move |()| end.upgrade().unwrap().emit("done", ()).unwrap());
        })
        .unwrap();
        let (sender, results) = mpsc::channel();
        let end = worker.downgrade();
        worker.listen("done", move |()| {
            let co = end.upgrade().unwrap();
            let mut call = co.start::<u64>("later", 21_u64).unwrap();
            assert_matches!(call.wait_for(SHORT), Ok(None));
            co.emit("now", ()).unwrap();
            sender.send(call.wait_for(LIMIT)).unwrap();
        });
        worker.emit("say done", ()).unwrap();
        assert_eq!(next(&results).unwrap(), Some(42));
    });
}
