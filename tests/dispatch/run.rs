//! `run` and `poll`: dispatch on a thread of one's own choice.

use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::common::{LIMIT, assert_matches, at_once, eventually, inbox, next, serve_later, within};
use coprocess::{Error, Reason};

#[test]
fn run_dispatches_until_the_other_end_closes() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let end = parent.downgrade();
            parent.listen("leave", move |()| {
                let parent = end.upgrade().unwrap();
                for number in 0..100_u32 {
                    parent.emit("number", number).unwrap();
                }
                parent.close().unwrap();
            });
            parent.clone().listen("probe", move |()| parent.emit("probe", ()).unwrap());
        })
        .unwrap();
        let here = thread::current().id();
        let runs = Arc::new(AtomicBool::new(false));
        let running = runs.clone();
        worker.listen("probe", move |()| {
            running.fetch_or(thread::current().id() == here, Ordering::SeqCst);
        });
        let numbers: Arc<Mutex<Vec<u32>>> = Arc::default();
        let seen = numbers.clone();
        worker.listen("number", move |number: u32| {
            assert_eq!(thread::current().id(), here);
            seen.lock().unwrap().push(number);
        });
        thread::scope(|scope| {
            scope.spawn(|| {
                eventually("handlers run on the thread inside `run`", || {
                    worker.emit("probe", ()).unwrap();
                    runs.load(Ordering::SeqCst)
                });
                worker.emit("leave", ()).unwrap();
            });
            worker.run().unwrap();
        });
        assert_eq!(*numbers.lock().unwrap(), (0..100).collect::<Vec<u32>>());
        assert_eq!(worker.stats().event_panics, 0);
        assert!(!worker.is_connected());
    });
}

#[test]
fn run_says_how_the_other_end_died() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.listen("exit", |()| process::exit(6));
        })
        .unwrap();
        worker.emit("exit", ()).unwrap();
        assert_matches!(at_once(|| worker.run()), Err(Error::Disconnected(Reason::Exited(6))));
    });
}

/// An orderly close is the good end of `run`, whichever end closes.
#[test]
fn run_ends_when_this_end_is_closed() {
    within(LIMIT, || {
        let worker = coprocess::fork(|_| ()).unwrap();
        thread::scope(|scope| {
            let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| worker.run())).collect();
            worker.close().unwrap();
            for run in runs {
                run.join().unwrap().unwrap();
            }
        });
    });
}

/// `poll` needs no registered handler, waits for nothing, and counts what it dispatched.
#[test]
fn poll_counts_messages() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.clone().listen("send", move |count: usize| {
                for _ in 0..count {
                    parent.emit("unheard", ()).unwrap();
                }
            });
        })
        .unwrap();
        let poll = |count: usize| {
            let mut polled = 0;
            eventually("all were polled", || {
                polled += worker.poll().unwrap();
                polled >= count
            });
            assert_eq!(polled, count);
            assert_eq!(worker.poll().unwrap(), 0);
        };
        // The worker's "listening" comes first.
        poll(1);
        for count in [1, 2, 100, 1000] {
            worker.emit("send", count).unwrap();
            poll(count);
        }
        assert_eq!(worker.stats().events_unheard, 1104);
        worker.close().unwrap();
        assert_matches!(worker.poll(), Err(Error::Closed));
    });
}

#[test]
fn poll_beside_other_dispatchers_loses_nothing() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.clone().serve("send", move |count: u32| {
                for number in 0..count {
                    parent.emit("number", number).unwrap();
                }
            });
        })
        .unwrap();
        let numbers = inbox::<u32>(&worker, "number");
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    worker.poll().unwrap();
                }
            });
            for _ in 0..200 {
                worker.call::<()>("send", 50_u32).unwrap();
                for number in 0..50 {
                    assert_eq!(next(&numbers), number);
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        assert!(numbers.try_recv().is_err());
    });
}

/// Inside a handler, `poll` dispatches the messages that follow.
#[test]
fn poll_inside_a_handler() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let seen = Arc::new(AtomicU32::new(0));
            let count = seen.clone();
            parent.listen("event", move |()| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            let end = parent.downgrade();
            parent.serve("until three", move |()| {
                while seen.load(Ordering::SeqCst) < 3 {
                    end.upgrade().unwrap().poll().unwrap();
                }
            });
        })
        .unwrap();
        let call = worker.start::<()>("until three", ()).unwrap();
        for _ in 0..3 {
            worker.emit("event", ()).unwrap();
        }
        call.wait().unwrap();
    });
}

/// A thread enters `run` while another one waits in a call: the call gets its answer, and the run
/// goes on.
#[test]
fn run_taken_up_while_a_call_waits() {
    within(LIMIT, || {
        for calls in (0..4).cycle().take(40) {
            let worker = coprocess::fork(|parent| {
                serve_later(&parent);
                parent.serve("double", |x: u64| x * 2);
                let end = parent.downgrade();
                parent.listen("close", move |()| {
                    end.upgrade().unwrap().close().unwrap();
                });
            })
            .unwrap();
            thread::scope(|scope| {
                let waiting: Vec<_> = (0..calls)
                    .map(|x: u64| {
                        let worker = &worker;
                        scope.spawn(move || worker.call::<u64>("later", x))
                    })
                    .collect();
                let run = scope.spawn(|| worker.run());
                // Leads between two answers, with the run and the waiting calls beside it.
                let mut answered = 0;
                while answered < calls {
                    answered += worker.call::<u64>("now", ()).unwrap();
                }
                for (x, call) in waiting.into_iter().enumerate() {
                    assert_eq!(call.join().unwrap().unwrap(), x as u64 * 2);
                }
                for x in 0..50_u64 {
                    assert_eq!(worker.call::<u64>("double", x).unwrap(), x * 2);
                }
                worker.emit("close", ()).unwrap();
                run.join().unwrap().unwrap();
            });
        }
    });
}
