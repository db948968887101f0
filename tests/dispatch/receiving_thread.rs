//! Which thread dispatches: the worker's main thread after its function, a thread that waits,
//! `run`, `poll`, or the library's own thread.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{self, AT_ONCE, LIMIT, assert_matches, inbox, next, within};
use coprocess::{Coprocess, Error, Reason};

#[test]
fn the_worker_runs_after_its_function_and_exits_with_zero() {
    within(LIMIT, || {
        let worker = common::patient()
            .fork(|parent| {
                parent.serve("pid", |()| process::id());
            })
            .unwrap();
        assert_eq!(worker.call::<u32>("pid", ()).unwrap(), worker.peer_id());
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(0));
    });
}

#[test]
fn a_function_that_does_nothing_is_a_worker_too() {
    within(LIMIT, || {
        let worker = common::patient().fork(|_| ()).unwrap();
        assert_matches!(worker.call::<()>("anything", ()), Err(Error::MethodNotFound { .. }));
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(0));
    });
}

#[test]
fn a_panic_in_the_worker_function_is_status_101() {
    within(LIMIT, || {
        let worker = coprocess::fork(|_| {
            std::panic::set_hook(Box::new(|_| ()));
            panic!("in the worker function")
        })
        .unwrap();
        let error = worker.call::<()>("anything", ()).unwrap_err();
        assert_matches!(error, Error::Disconnected(Reason::Exited(101)));
        assert_eq!(worker.close().unwrap().unwrap().code(), Some(101));
    });
}

/// Nothing is dispatched while the function still registers, however long it takes.
#[test]
fn nothing_is_dispatched_before_the_function_returns() {
    within(LIMIT, || {
        for _ in 0..20 {
            let worker = coprocess::fork(|parent| {
                parent.serve("early", |()| ());
                // Time for the call to arrive before the method is there.
                thread::sleep(Duration::from_millis(5));
                parent.serve("late", |()| ());
            })
            .unwrap();
            worker.call::<()>("late", ()).unwrap();
        }
    });
}

#[test]
fn the_function_may_call_and_poll_itself() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let stop = Arc::new(AtomicBool::new(false));
            let stopped = stop.clone();
            parent.serve("stop", move |()| stopped.store(true, Ordering::SeqCst));
            parent.serve("double", |x: i64| x * 2);
            let ten: i64 = parent.call("ten", ()).unwrap();
            while !stop.load(Ordering::SeqCst) {
                parent.poll().unwrap();
            }
            parent.serve("later", move |()| ten);
            parent.emit("stopped", ()).unwrap();
        })
        .unwrap();
        worker.serve("ten", |()| 10);
        let stopped = inbox::<()>(&worker, "stopped");
        assert_eq!(worker.call::<i64>("double", 4).unwrap(), 8);
        worker.call::<()>("stop", ()).unwrap();
        next(&stopped);
        assert_eq!(worker.call::<i64>("later", ()).unwrap(), 10);
        assert_eq!(worker.call::<i64>("double", 5).unwrap(), 10);
    });
}

#[test]
fn a_worker_that_also_works_in_a_thread() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let step = Arc::new(AtomicU64::new(1));
            let faster = step.clone();
            parent.serve("step", move |by: u64| faster.store(by, Ordering::SeqCst));
            thread::spawn(move || {
                let mut number = 0;
                while parent.emit("tick", number).is_ok() {
                    number += step.load(Ordering::SeqCst);
                }
            });
        })
        .unwrap();
        let ticks = inbox::<u64>(&worker, "tick");
        assert_eq!(next(&ticks), 0);
        assert_eq!(next(&ticks), 1);
        worker.call::<()>("step", 1000_u64).unwrap();
        let mut last = next(&ticks);
        loop {
            let tick = next(&ticks);
            if tick == last + 1000 {
                break;
            }
            assert_eq!(tick, last + 1);
            last = tick;
        }
        worker.close().unwrap();
    });
}

#[test]
fn a_parent_that_only_listens_gets_its_events() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            thread::spawn(move || {
                for number in 0..1000_u32 {
                    parent.emit("number", number).unwrap();
                }
            });
        })
        .unwrap();
        let numbers = inbox::<u32>(&worker, "number");
        for number in 0..1000 {
            assert_eq!(next(&numbers), number);
        }
    });
}

#[test]
fn a_parent_that_only_serves_is_called() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            thread::spawn(move || {
                let sum: i64 = (0..100).map(|x| parent.call::<i64>("double", x).unwrap()).sum();
                parent.emit("sum", sum).unwrap();
            });
        })
        .unwrap();
        worker.serve("double", |x: i64| x * 2);
        assert_eq!(next(&inbox::<i64>(&worker, "sum")), 9900);
    });
}

fn emits_while_it_works(parent: Coprocess) {
    parent.clone().serve("work", move |()| parent.emit("event", ()).unwrap());
}

/// The thread that waits in a call does the work: what arrives meanwhile runs on it.
#[test]
fn a_thread_inside_a_call_takes_the_lead() {
    within(LIMIT, || {
        let worker = coprocess::fork(emits_while_it_works).unwrap();
        let here = Arc::new(AtomicU32::new(0));
        let (count, caller) = (here.clone(), thread::current().id());
        worker.listen("event", move |()| {
            if thread::current().id() == caller {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        // Whether the library's own thread or this one is first also depends on which gets a
        // processor.
        let mut attempts = Vec::new();
        while attempts.iter().all(|here| *here <= 250) {
            assert!(
                attempts.len() < 5,
                "of 500 events the calling thread has handled {attempts:?}"
            );
            here.store(0, Ordering::SeqCst);
            for _ in 0..500 {
                worker.call::<()>("work", ()).unwrap();
            }
            attempts.push(here.load(Ordering::SeqCst));
        }
    });
}

/// Between two calls no thread waits. Events that come then do not lie until the next call.
#[test]
fn the_lead_goes_back_when_a_call_leaves() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let end = parent.clone();
            parent.serve("soon", move |delay: u64| {
                let end = end.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_micros(delay));
                    end.emit("event", delay).unwrap();
                });
            });
        })
        .unwrap();
        let events = inbox::<u64>(&worker, "event");
        for round in 0..500 {
            let delay = round % 50 * 5;
            worker.call::<()>("soon", delay).unwrap();
            assert_eq!(events.recv_timeout(AT_ONCE).expect("an event was left lying"), delay);
        }
    });
}

#[test]
fn the_lead_is_handed_between_calling_threads() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("busy", |rounds: u64| {
                for _ in 0..rounds {
                    std::hint::spin_loop();
                }
                rounds
            });
        })
        .unwrap();
        thread::scope(|scope| {
            for thread in 0..5 {
                let worker = &worker;
                scope.spawn(move || {
                    for round in 0..800_u64 {
                        let rounds = round * (thread + 1) % 97;
                        let timeout = AT_ONCE;
                        let done: u64 = worker.call_timeout("busy", rounds, timeout).unwrap();
                        assert_eq!(done, rounds);
                    }
                });
            }
        });
    });
}
