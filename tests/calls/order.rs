//! Order: what one end sends, from any of its threads, is received in that order, answers included.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use crate::common::{LIMIT, SMALL_RING, inbox, next, pattern, within};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Reply};

/// Records `(thread, number)` of every event and call, and tells it all on request.
fn recorder(parent: Coprocess) {
    let seen: Arc<Mutex<Vec<(u8, u32)>>> = Arc::default();
    let record = |seen: &Arc<Mutex<Vec<(u8, u32)>>>| {
        let seen = seen.clone();
        move |entry: (u8, u32)| seen.lock().unwrap().push(entry)
    };
    parent.listen("event", record(&seen));
    parent.serve("call", record(&seen));
    let sized = record(&seen);
    parent.listen("large", move |(entry, _bytes): ((u8, u32), ByteBuf)| sized(entry));
    let deferred = record(&seen);
    parent.serve_deferred("deferred", move |entry: (u8, u32), reply: Reply<()>| {
        deferred(entry);
        thread::spawn(move || reply.send(()));
    });
    parent.serve("seen", move |()| std::mem::take(&mut *seen.lock().unwrap()));
}

/// Sends one message of the kind that `number` chooses.
fn send(worker: &Coprocess, thread: u8, number: u32) {
    let entry = (thread, number);
    match number % 5 {
        0 | 1 => worker.emit("event", entry).unwrap(),
        2 => drop(worker.start::<()>("call", entry).unwrap()),
        3 => drop(worker.start::<()>("deferred", entry).unwrap()),
        _ => {
            let bytes = ByteBuf::from(pattern(0, number as usize * 7 % 9000));
            worker.emit("large", (entry, bytes)).unwrap();
        }
    }
}

#[test]
fn calls_and_events_start_in_the_order_sent() {
    within(LIMIT, || {
        for capacity in [SMALL_RING, 256 * 1024] {
            let worker = Builder::new().ring_capacity(capacity).fork(recorder).unwrap();
            for number in 0..3000 {
                send(&worker, 0, number);
            }
            let seen: Vec<(u8, u32)> = worker.call("seen", ()).unwrap();
            assert_eq!(seen, (0..3000).map(|number| (0, number)).collect::<Vec<_>>());
        }
    });
}

#[test]
fn each_of_several_threads_is_in_order() {
    within(LIMIT, || {
        let worker = Builder::new().ring_capacity(SMALL_RING).fork(recorder).unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                let worker = &worker;
                scope.spawn(move || (0..1000).for_each(|number| send(worker, thread, number)));
            }
        });
        let seen: Vec<(u8, u32)> = worker.call("seen", ()).unwrap();
        assert_eq!(seen.len(), 4000);
        for thread in 0..4 {
            let numbers: Vec<u32> =
                seen.iter().filter(|(by, _)| *by == thread).map(|(_, number)| *number).collect();
            assert_eq!(numbers, (0..1000).collect::<Vec<u32>>());
        }
    });
}

/// What one thread sends before it lets another thread go on, is before what the other one sends.
#[test]
fn threads_that_take_turns_are_in_order() {
    within(LIMIT, || {
        let worker = coprocess::fork(recorder).unwrap();
        let turn = Barrier::new(2);
        thread::scope(|scope| {
            for thread in 0..2_u32 {
                let (worker, turn) = (&worker, &turn);
                scope.spawn(move || {
                    for number in 0..500 {
                        if number % 2 == thread {
                            send(worker, 0, number);
                        }
                        turn.wait();
                    }
                });
            }
        });
        let seen: Vec<(u8, u32)> = worker.call("seen", ()).unwrap();
        assert_eq!(seen, (0..500).map(|number| (0, number)).collect::<Vec<_>>());
    });
}

#[test]
fn one_call_confirms_a_batch_of_events() {
    within(LIMIT, || {
        let worker = coprocess::fork(recorder).unwrap();
        for batch in 0..100_u32 {
            for number in 0..batch {
                worker.emit("event", (0_u8, number)).unwrap();
            }
            assert_eq!(worker.call::<Vec<(u8, u32)>>("seen", ()).unwrap().len(), batch as usize);
        }
    });
}

fn reporter(parent: Coprocess) {
    let end = parent.downgrade();
    parent.serve("work", move |count: u64| {
        let parent = end.upgrade().unwrap();
        for _ in 0..count {
            parent.emit("progress", 1_u64).unwrap();
        }
        count
    });
    let end = parent.downgrade();
    parent.serve_deferred("work later", move |count: u64, reply: Reply<u64>| {
        let parent = end.upgrade().unwrap();
        thread::spawn(move || {
            for _ in 0..count {
                parent.emit("progress", 1_u64).unwrap();
            }
            reply.send(count).unwrap();
        });
    });
}

/// Events that a handler emits before it answers are handled before the call returns, whichever
/// thread handles them.
#[test]
fn events_before_an_answer_are_handled_before_the_call_returns() {
    within(LIMIT, || {
        for method in ["work", "work later"] {
            let worker = coprocess::fork(reporter).unwrap();
            let progress = Arc::new(AtomicU64::new(0));
            let count = progress.clone();
            worker.listen("progress", move |n: u64| {
                count.fetch_add(n, Ordering::SeqCst);
            });
            let mut expected = 0;
            for round in 0..500_u64 {
                expected += worker.call::<u64>(method, round % 7).unwrap();
                assert_eq!(progress.load(Ordering::SeqCst), expected);
            }
        }
    });
}

/// The same where another thread of this end receives the answer.
#[test]
fn events_before_an_answer_to_any_thread() {
    within(LIMIT, || {
        let worker = coprocess::fork(reporter).unwrap();
        let progress = Arc::new(AtomicU64::new(0));
        let count = progress.clone();
        worker.listen("progress", move |n: u64| {
            count.fetch_add(n, Ordering::SeqCst);
        });
        let answered = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..300_u64 {
                        let done: u64 = worker.call("work", round % 5).unwrap();
                        let answered = answered.fetch_add(done, Ordering::SeqCst) + done;
                        assert!(progress.load(Ordering::SeqCst) >= answered);
                    }
                });
            }
        });
        assert_eq!(progress.load(Ordering::SeqCst), answered.load(Ordering::SeqCst));
    });
}

/// An answer is received before the event that the same end sends after it.
#[test]
fn an_answer_before_an_event() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let end = parent.clone();
            parent.serve_deferred("answer first", move |(), reply: Reply<()>| {
                reply.send(()).unwrap();
                end.emit("after", ()).unwrap();
            });
        })
        .unwrap();
        let waiting: Arc<Mutex<Option<coprocess::Pending<()>>>> = Arc::default();
        let watched = waiting.clone();
        let (sender, ready) = std::sync::mpsc::channel();
        worker.listen("after", move |()| {
            let pending = watched.lock().unwrap().take().expect("started before it was answered");
            sender.send(pending.is_ready()).unwrap();
        });
        for _ in 0..300 {
            let mut slot = waiting.lock().unwrap();
            *slot = Some(worker.start("answer first", ()).unwrap());
            drop(slot);
            assert!(next(&ready), "the event overtook the answer");
        }
    });
}

#[test]
fn events_of_the_worker_are_in_order_too() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                parent.clone().listen("go", move |()| {
                    for number in 0..5000_u32 {
                        let size = if number % 50 == 0 { 5000 } else { number as usize % 90 };
                        parent.emit("number", (number, ByteBuf::from(pattern(1, size)))).unwrap();
                    }
                });
            })
            .unwrap();
        let numbers = inbox::<(u32, ByteBuf)>(&worker, "number");
        worker.emit("go", ()).unwrap();
        for expected in 0..5000_u32 {
            let (number, bytes) = next(&numbers);
            assert_eq!(number, expected);
            assert_eq!(bytes, pattern(1, bytes.len()));
        }
    });
}
