//! Handlers: one at a time, nested calls, panics, unknown names, and the life of a registration.

use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::common::{self, LIMIT, assert_matches, eventually, inbox, next, within};
use coprocess::{Coprocess, Error, Reply};

/// Notices when two handlers run at the same time.
#[derive(Default)]
struct Alone(AtomicBool);

impl Alone {
    fn run(&self) {
        assert!(!self.0.swap(true, Ordering::SeqCst), "two handlers at the same time");
        for _ in 0..50 {
            std::hint::spin_loop();
        }
        self.0.store(false, Ordering::SeqCst);
    }
}

#[test]
fn handlers_of_one_end_never_run_at_the_same_time() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let inside = Arc::new(Alone::default());
            let event = inside.clone();
            parent.listen("event", move |()| event.run());
            let end = parent.downgrade();
            parent.serve("call", move |()| {
                inside.run();
                // So that several threads of the caller have something to handle while they wait.
                let parent = end.upgrade().unwrap();
                parent.emit("back", ()).unwrap();
                drop(parent.start::<()>("call back", ()).unwrap());
            });
        })
        .unwrap();
        let inside = Arc::new(Alone::default());
        let handled = Arc::new(AtomicU32::new(0));
        let (event, count) = (inside.clone(), handled.clone());
        worker.listen("back", move |()| {
            event.run();
            count.fetch_add(1, Ordering::SeqCst);
        });
        let count = handled.clone();
        worker.serve("call back", move |()| {
            inside.run();
            count.fetch_add(1, Ordering::SeqCst);
        });
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        worker.emit("event", ()).unwrap();
                        worker.call::<()>("call", ()).unwrap();
                    }
                });
            }
        });
        assert_eq!(handled.load(Ordering::SeqCst), 6000);
    });
}

/// While a handler waits for an answer, other handlers run on that thread.
#[test]
fn a_waiting_handler_lets_others_run_on_its_thread() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let end = parent.downgrade();
            parent.serve("outer", move |()| {
                let thread = thread::current().id();
                let inner: String = end.upgrade().unwrap().call("between", ()).unwrap();
                assert_eq!(thread, thread::current().id());
                (format!("{thread:?}"), inner)
            });
            parent.serve("inner", |()| format!("{:?}", thread::current().id()));
        })
        .unwrap();
        let back = worker.downgrade();
        worker.serve("between", move |()| -> String {
            back.upgrade().unwrap().call("inner", ()).unwrap()
        });
        for _ in 0..100 {
            let (outer, inner): (String, String) = worker.call("outer", ()).unwrap();
            assert_eq!(outer, inner);
        }
    });
}

/// Serves `down`, which calls the peer's `down` with one less, until zero.
fn downwards(end: &Coprocess) {
    let weak = end.downgrade();
    end.try_serve("down", move |depth: u32| match depth {
        0 => Ok(0),
        _ => {
            let end = weak.upgrade().ok_or(Error::Closed)?;
            end.call::<u32>("down", depth - 1).map(|below| below + 1)
        }
    });
}

#[test]
fn nested_calls_both_ways_to_a_bounded_depth() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| downwards(&parent)).unwrap();
        downwards(&worker);
        for depth in [0, 1, 2, 3, 10, 50, 100] {
            assert_eq!(worker.call::<u32>("down", depth).unwrap(), depth);
        }
        for depth in [200_u32, 1000, 100_000] {
            assert_matches!(worker.call::<u32>("down", depth), Err(Error::Remote { .. }));
        }
        // Both ends live on, with their whole depth.
        assert_eq!(worker.call::<u32>("down", 100_u32).unwrap(), 100);
    });
}

#[test]
fn nested_calls_from_several_threads() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| downwards(&parent)).unwrap();
        downwards(&worker);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for depth in (0..12).cycle().take(200) {
                        assert_eq!(worker.call::<u32>("down", depth).unwrap(), depth);
                    }
                });
            }
        });
    });
}

#[test]
fn a_panic_stays_in_its_handler() {
    within(LIMIT, || {
        let worker = common::patient()
            .fork(|parent| {
                let reports = Arc::new(AtomicU64::new(0));
                let count = reports.clone();
                panic::set_hook(Box::new(move |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                }));
                parent.serve("text", |()| -> () { panic!("in the text") });
                parent.serve("formatted", |x: i32| -> () { panic!("number {x}") });
                parent.serve("other", |()| -> () { panic::panic_any(17) });
                parent.listen("event", |()| panic!("in an event"));
                parent.serve("reports", move |()| reports.load(Ordering::SeqCst));
                let end = parent.downgrade();
                parent.serve("event panics", move |()| end.upgrade().unwrap().stats().event_panics);
            })
            .unwrap();
        for (round, (name, says)) in
            [("text", "in the text"), ("other", ""), ("text", "in the text")]
                .into_iter()
                .enumerate()
        {
            match worker.call::<()>(name, ()) {
                Err(Error::Remote { method, message }) => {
                    assert_eq!(method, name);
                    assert!(message.contains(says) && !message.is_empty(), "{message:?}");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(worker.call::<u64>("reports", ()).unwrap(), round as u64 + 1);
        }
        assert_matches!(worker.call::<()>("formatted", 5), Err(Error::Remote { ref message, .. }) if message.contains("number 5"));

        assert_eq!(worker.call::<u64>("event panics", ()).unwrap(), 0);
        worker.emit("event", ()).unwrap();
        worker.emit("event", ()).unwrap();
        assert_eq!(worker.call::<u64>("event panics", ()).unwrap(), 2);
        assert_eq!(worker.call::<u64>("reports", ()).unwrap(), 6);
        assert!(worker.close().unwrap().unwrap().success());
    });
}

/// The panic of one handler drops the reply to another call: both callers hear of it.
#[test]
fn a_panic_that_drops_the_reply_to_another_call() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            panic::set_hook(Box::new(|_| ()));
            let held: Arc<Mutex<Vec<Reply<()>>>> = Arc::default();
            let hold = held.clone();
            parent.serve_deferred("hold", move |(), reply: Reply<()>| {
                hold.lock().unwrap().push(reply)
            });
            let (call, event) = (held.clone(), held);
            parent.serve("drop them", move |()| -> () {
                let _replies = std::mem::take(&mut *call.lock().unwrap());
                panic!("with replies in hand");
            });
            parent.listen("drop them", move |()| {
                let _replies = std::mem::take(&mut *event.lock().unwrap());
                panic!("with replies in hand");
            });
        })
        .unwrap();
        for round in 0..20 {
            let calls: Vec<_> = (0..10).map(|_| worker.start::<()>("hold", ()).unwrap()).collect();
            if round % 2 == 0 {
                let error = worker.call::<()>("drop them", ()).unwrap_err();
                assert_matches!(error, Error::Remote { ref message, .. } if message.contains("in hand"));
            } else {
                worker.emit("drop them", ()).unwrap();
            }
            for call in calls {
                assert_matches!(call.wait(), Err(Error::Remote { ref method, .. }) if method == "hold");
            }
        }
    });
}

/// In the parent it neither harms the thread that waits nor the background thread.
#[test]
fn a_panic_in_the_parents_handler() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let end = parent.downgrade();
            parent.try_serve("provoke", move |()| {
                let parent = end.upgrade().unwrap();
                parent.emit("event", ()).unwrap();
                parent.call::<()>("method", ()).map_err(|error| error.to_string())
            });
            parent.clone().listen("later", move |()| {
                parent.emit("event", ()).unwrap();
                parent.emit("fine", ()).unwrap();
            });
        })
        .unwrap();
        worker.listen("event", |()| panic!("expected: in the parent's listener"));
        worker.serve("method", |()| -> () { panic!("expected: in the parent's method") });
        let fine = inbox::<()>(&worker, "fine");
        let error = worker.call::<()>("provoke", ()).unwrap_err();
        assert_matches!(error, Error::Remote { ref message, .. } if message.contains("in the parent's method"));
        assert_eq!(worker.stats().event_panics, 1);
        worker.emit("later", ()).unwrap();
        next(&fine);
        assert_eq!(worker.stats().event_panics, 2);
    });
}

#[test]
fn unknown_names() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.listen("heard", |_: i32| ());
            parent.serve("served", |()| ());
            let end = parent.downgrade();
            parent.serve("counts", move |()| {
                let stats = end.upgrade().unwrap().stats();
                (stats.events_unheard, stats.events_undecodable, stats.events_mistyped)
            });
        })
        .unwrap();
        let counts = || worker.call::<(u64, u64, u64)>("counts", ()).unwrap();
        let (unheard, undecodable, mistyped) = counts();
        assert_eq!((undecodable, mistyped), (0, 0));
        worker.emit("heard", 1).unwrap();
        assert_eq!(counts(), (unheard, 0, 0));
        worker.emit("unheard", 1).unwrap();
        worker.emit("", ()).unwrap();
        assert_eq!(counts(), (unheard + 2, 0, 0));
        worker.emit_bytes("heard", b"not a number, and too long for one").unwrap();
        worker.emit_bytes("heard", b"").unwrap();
        worker.emit_bytes("heard", &[2, 4]).unwrap();
        assert_eq!(counts(), (unheard + 2, 3, 0));
        worker.emit("heard", "not a number, and too long for one").unwrap();
        worker.emit("heard", ()).unwrap();
        worker.emit("heard", (1, 2)).unwrap();
        assert_eq!(counts(), (unheard + 2, 3, 3));
        // Those are refused by now.
        for (refused, what) in [
            (worker.emit("heard", "not a number, and too long for one"), "string"),
            (worker.emit("heard", ()), "()"),
            (worker.emit("heard", (1, 2)), "(i32, i32)"),
        ] {
            assert_matches!(
                refused,
                Err(Error::Types { name, sent, wanted }) if (&*name, &*sent, &*wanted) == ("heard", what, "i32")
            );
        }
        worker.emit("heard", 1).unwrap();
        assert_eq!(counts(), (unheard + 2, 3, 3));
        for name in ["missing", "", "serve"] {
            assert_matches!(worker.call::<()>(name, ()), Err(Error::MethodNotFound { ref method }) if method == name);
        }
    });
}

#[test]
fn a_second_registration_replaces_the_first() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("which", |()| 1).serve("which", |()| 2);
            let again = parent.downgrade();
            // Also from inside a handler, even its own.
            parent.serve("count", move |()| {
                let end = again.upgrade().unwrap();
                end.serve("count", |()| 11);
                end.serve("which", |()| 3);
                10
            });
        })
        .unwrap();
        assert_eq!(worker.call::<i32>("which", ()).unwrap(), 2);
        assert_eq!(worker.call::<i32>("count", ()).unwrap(), 10);
        assert_eq!(worker.call::<i32>("count", ()).unwrap(), 11);
        assert_eq!(worker.call::<i32>("which", ()).unwrap(), 3);
    });
}

#[test]
fn unlisten_from_inside_the_listener() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let count = Arc::new(AtomicU32::new(0));
            let (seen, end) = (count.clone(), parent.downgrade());
            parent.listen("once", move |()| {
                seen.fetch_add(1, Ordering::SeqCst);
                assert!(end.upgrade().unwrap().unlisten("once"));
            });
            parent.serve("count", move |()| count.load(Ordering::SeqCst));
        })
        .unwrap();
        for _ in 0..3 {
            worker.emit("once", ()).unwrap();
        }
        assert_eq!(worker.call::<u32>("count", ()).unwrap(), 1);
    });
}

/// `"listening"` comes once, with the first registration of the peer, be it `listen` or `serve`.
#[test]
fn listening_comes_once() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let seen = Arc::new(AtomicU32::new(0));
            let count = seen.clone();
            parent.listen("listening", move |()| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            parent.serve("seen", move |()| seen.load(Ordering::SeqCst));
        })
        .unwrap();
        let seen = || worker.call::<u32>("seen", ()).unwrap();
        assert_eq!(seen(), 0);
        worker.serve("first", |()| ());
        assert_eq!(seen(), 1);
        worker.listen("second", |()| ()).serve("third", |()| ()).listen("first", |()| ());
        assert_eq!(seen(), 1);
        worker.unlisten("first");
        worker.listen("fourth", |()| ());
        assert_eq!(seen(), 1);
    });
}

/// A handler may take its time to send on. What it captured is dropped when the handler is replaced
/// or removed, or when the pair ends.
#[test]
fn handlers_are_dropped() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("nothing", |()| ());
        })
        .unwrap();
        let token = Arc::new(());
        for _ in 0..3 {
            let held = token.clone();
            worker.listen("event", move |()| drop(held.clone()));
            let held = token.clone();
            worker.serve("method", move |()| drop(held.clone()));
        }
        assert_eq!(Arc::strong_count(&token), 3);
        worker.unlisten("event");
        assert_eq!(Arc::strong_count(&token), 2);
        let held = token.clone();
        worker
            .call_with("nothing", (), move |result: coprocess::Result<()>| {
                result.unwrap();
                drop(held);
            })
            .unwrap();
        eventually("the callback has run", || Arc::strong_count(&token) == 2);
        worker.close().unwrap();
        // By the thread that used them last, if it is not done yet.
        eventually("the handlers are dropped", || Arc::strong_count(&token) == 1);
    });
}

#[test]
fn a_reply_dropped_by_a_panic_that_its_handler_catches_fails_the_call() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve_deferred("caught", |_: (), reply: Reply<()>| {
                let caught = panic::catch_unwind(panic::AssertUnwindSafe(move || {
                    let _reply = reply;
                    panic!("inside");
                }));
                assert!(caught.is_err());
            });
        })
        .unwrap();
        for _ in 0..3 {
            assert_matches!(worker.call::<()>("caught", ()), Err(Error::Remote { message, .. }) if message.contains("without an answer"));
        }
        worker.close().unwrap();
    });
}
