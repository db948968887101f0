//! `Pending` and callbacks: a call started now, whose answer is taken later, or never.

mod common;

use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use common::{LIMIT, assert_matches, eventually, later_worker, next, within};
use coprocess::Error;

coprocess::init_in_tests!();

#[test]
fn waits_in_any_order() {
    within(LIMIT, || {
        let worker = later_worker();
        let mut calls: Vec<_> = (0..100_u64).map(|x| (x, worker.start::<u64>("later", x).unwrap())).collect();
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
        // The other end answers at once what it answers at once, and does not answer later what nobody waits for.
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
