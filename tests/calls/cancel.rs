//! A caller that gives up tells the peer, which can stop. Deadlines travel with calls, and on to
//! the calls that their handlers make.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    self, AT_ONCE, LIMIT, SMALL_RING, Stopped, assert_matches, eventually, pattern, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, Reply, current_deadline};

const SHORT: Duration = Duration::from_millis(60);

static HELD: Mutex<Vec<Reply<()>>> = Mutex::new(Vec::new());

/// Returns how many of the replies that are held are wanted.
fn wanted() -> (usize, usize) {
    let held = HELD.lock().unwrap();
    (held.iter().filter(|reply| reply.is_wanted()).count(), held.len())
}

fn served(parent: Coprocess) {
    let weak = parent.downgrade();
    parent
        .serve_deferred("hold", |(), reply| HELD.lock().unwrap().push(reply))
        .serve("wanted", |()| wanted())
        .serve("answer", |()| {
            HELD.lock()
                .unwrap()
                .drain(..)
                .map(|reply| reply.send(()).is_ok())
                .filter(|ok| *ok)
                .count()
        })
        .serve("stats", move |()| {
            let stats = weak.upgrade().unwrap().stats();
            (stats.cancels_received, stats.cancels_ignored, stats.messages_sent)
        })
        .serve("skipped", {
            let weak = parent.downgrade();
            move |()| weak.upgrade().unwrap().stats().calls_skipped as usize
        })
        .serve("sleep", |millis: u64| thread::sleep(Duration::from_millis(millis)));
}

/// However a caller gives up, the peer knows before it handles what the caller sends next.
#[test]
fn a_call_that_is_given_up_is_not_wanted() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let wanted = || worker.call::<(usize, usize)>("wanted", ()).unwrap();
        let kept = worker.start::<()>("hold", ()).unwrap();
        let call = worker.start::<()>("hold", ()).unwrap();
        assert_eq!(wanted(), (2, 2));
        drop(call);
        assert_eq!(wanted(), (1, 2));
        let call = worker.start::<()>("hold", ()).unwrap();
        assert_eq!(wanted(), (2, 3));
        assert_matches!(call.wait_timeout(SHORT), Err(Error::Timeout));
        assert_eq!(wanted(), (1, 3));
        let mut call = worker.call_async::<()>("hold", ());
        assert!(Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(wanted(), (2, 4));
        drop(call);
        assert_eq!(wanted(), (1, 4));
        assert_matches!(worker.call_timeout::<()>("hold", (), SHORT), Err(Error::Timeout));
        let (is_wanted, held) = wanted();
        // If the worker is so slow that it has not begun by then, it does not begin.
        let skipped = worker.call::<usize>("skipped", ()).unwrap();
        assert_eq!((is_wanted, held + skipped), (1, 5));
        assert_eq!(worker.stats().cancels_sent, 4);
        let (received, ignored, before) = worker.call::<(u64, u64, u64)>("stats", ()).unwrap();
        assert_eq!((received, ignored), (4, skipped as u64), "each but that has had its effect");
        // Answering a call that was given up is no error, and sends nothing.
        assert_eq!(worker.call::<usize>("answer", ()).unwrap(), held);
        kept.wait().unwrap();
        let (.., after) = worker.call::<(u64, u64, u64)>("stats", ()).unwrap();
        assert_eq!(after - before, 3, "two answers at once, and one to the call that was kept");
        assert_eq!(worker.stats().answers_dropped, 0);
    });
}

/// Callbacks have deadlines as well.
#[test]
fn a_callback_that_timed_out() {
    within(LIMIT, || {
        let worker = Builder::new().call_timeout(SHORT).fork(served).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        worker
            .call_with("hold", (), move |answer: coprocess::Result<()>| {
                sender.send(answer).unwrap()
            })
            .unwrap();
        assert_matches!(common::next(&told), Err(Error::Timeout));
        eventually("the peer knows", || {
            worker.call_timeout::<(usize, usize)>("wanted", (), LIMIT).unwrap() == (0, 1)
        });
    });
}

/// What was answered is not cancelled, and what is cancelled too late does no harm.
#[test]
fn too_late() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        for _ in 0..100 {
            // The call is handled at once, and answered when the cancel comes, if the answer is not
            // here already. Or the call is not handled yet, and is answered nevertheless.
            drop(worker.start::<()>("sleep", 0_u64).unwrap());
        }
        assert_eq!(worker.call::<(usize, usize)>("wanted", ()).unwrap(), (0, 0));
        let (received, ignored, _) = worker.call::<(u64, u64, u64)>("stats", ()).unwrap();
        assert_eq!(received, ignored);
        assert_eq!(worker.stats().cancels_sent, received);
        // Waited for, or ready: nothing to cancel.
        worker.call_timeout::<()>("sleep", 0_u64, LIMIT).unwrap();
        let ready = worker.start::<()>("sleep", 0_u64).unwrap();
        worker.call::<()>("sleep", 0_u64).unwrap();
        assert!(ready.is_ready());
        drop(ready);
        assert_eq!(worker.stats().cancels_sent, received);
        worker.close().unwrap();
        drop(worker.start::<()>("sleep", 0_u64));
        assert_eq!(worker.stats().cancels_sent, received);
    });
}

/// Without room no thread waits to send a cancel. The cancel is sent when there is room, before
/// what comes after it.
#[test]
fn without_room_it_is_sent_later() {
    within(LIMIT, || {
        let worker = Builder::new().ring_capacity(SMALL_RING).fork(served).unwrap();
        let pending = worker.start::<()>("hold", ()).unwrap();
        worker.call::<()>("sleep", 0_u64).unwrap();
        let stopped = Stopped::new(&worker);
        while worker.try_emit("unheard", ByteBuf::from(pattern(0, 10))).is_ok() {}
        let start = Instant::now();
        drop(pending);
        assert!(start.elapsed() < AT_ONCE);
        drop(stopped);
        assert_eq!(worker.call::<(usize, usize)>("wanted", ()).unwrap(), (0, 1));
        assert_eq!(worker.stats().cancels_sent, 1);
    });
}

/// Both ends are alike, and each can only cancel calls of its own.
#[test]
fn in_both_directions() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            served(parent.clone());
            let weak = parent.downgrade();
            parent.serve("give_up", move |()| {
                let parent = weak.upgrade().unwrap();
                let call = parent.start::<()>("hold", ()).unwrap();
                assert_eq!(parent.call::<(usize, usize)>("wanted", ()).unwrap(), (1, 1));
                drop(call);
            });
        })
        .unwrap();
        served(worker.clone());
        // The two calls have the same number, each on its own end.
        let ours = worker.start::<()>("hold", ()).unwrap();
        worker.call::<()>("give_up", ()).unwrap();
        eventually("the call of the worker is not wanted", || wanted() == (0, 1));
        assert_eq!(worker.call::<(usize, usize)>("wanted", ()).unwrap(), (1, 1));
        worker.call::<usize>("answer", ()).unwrap();
        ours.wait().unwrap();
        HELD.lock().unwrap().clear();
    });
}

/// A reply is not wanted any more when its deadline has passed, or when the caller is gone.
#[test]
fn without_being_told() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let weak = parent.downgrade();
            parent.serve("call", move |millis: u64| {
                let parent = weak.upgrade().unwrap();
                match millis {
                    0 => std::mem::forget(parent.start::<()>("keep", ()).unwrap()),
                    _ => drop(parent.call_timeout::<()>("keep", (), Duration::from_millis(millis))),
                }
            });
        })
        .unwrap();
        static KEPT: Mutex<Vec<Reply<()>>> = Mutex::new(Vec::new());
        worker.serve_deferred("keep", |(), reply| KEPT.lock().unwrap().push(reply));
        let start = Instant::now();
        worker.call::<()>("call", 50_u64).unwrap();
        let kept = KEPT.lock().unwrap().pop().unwrap();
        let deadline = kept.deadline().expect("it has one");
        assert!(deadline >= start + Duration::from_millis(49) && deadline < start + AT_ONCE);
        eventually("the deadline has passed", || !kept.is_wanted());
        worker.call::<()>("call", 0_u64).unwrap();
        let kept = KEPT.lock().unwrap().pop().unwrap();
        assert_eq!(kept.deadline(), None);
        assert!(kept.is_wanted());
        worker.kill().unwrap();
        eventually("the caller is gone", || !kept.is_wanted());
    });
}

/// Says how much time its call has left, in microseconds; asked to, of a call that it makes itself.
fn serve_left(end: &Coprocess) {
    let left = |at: Option<Instant>| {
        at.map(|at| at.saturating_duration_since(Instant::now()).as_micros() as u64)
    };
    let weak = end.downgrade();
    end.serve("left", move |()| left(current_deadline()));
    end.serve_deferred("left later", move |(), reply: Reply<Option<u64>>| {
        assert_eq!(reply.deadline(), current_deadline());
        let at = reply.deadline();
        thread::spawn(move || {
            assert_eq!(current_deadline(), None);
            reply.send(left(at))
        });
    });
    end.serve("left of nested", move |(way, method): (u8, String)| -> Option<u64> {
        let end = weak.upgrade().unwrap();
        match way {
            0 => end.call(&method, ()).unwrap(),
            1 => end.start(&method, ()).unwrap().wait().unwrap(),
            2 => {
                let mut call = end.call_async(&method, ());
                loop {
                    match Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(answer) => break answer.unwrap(),
                        // Dispatched by this thread.
                        Poll::Pending => drop(end.poll().unwrap()),
                    }
                }
            }
            3 => {
                let (sender, told) = std::sync::mpsc::channel();
                end.call_with(&method, (), move |answer: coprocess::Result<Option<u64>>| {
                    sender.send(answer).unwrap()
                })
                .unwrap();
                // Dispatched by this thread.
                while end.poll().unwrap() == 0 {}
                told.try_recv().map_or_else(|_| panic!("not yet"), |answer| answer.unwrap())
            }
            _ => end.call_timeout(&method, (), Duration::from_secs(1000)).unwrap(),
        }
    });
}

#[test]
fn a_deadline_travels_to_the_handler_and_on() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| serve_left(&parent)).unwrap();
        serve_left(&worker);
        let minute = Duration::from_secs(60);
        let about = |left: Option<u64>, seconds: u64| {
            let left = Duration::from_micros(left.expect("a deadline"));
            let most = Duration::from_secs(seconds);
            assert!(left <= most && left > most - AT_ONCE, "{left:?} of {most:?}");
        };
        for method in ["left", "left later"] {
            assert_eq!(worker.call::<Option<u64>>(method, ()).unwrap(), None);
            about(worker.call_timeout(method, (), minute).unwrap(), 60);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            about(runtime.block_on(worker.call_async_timeout(method, (), minute)).unwrap(), 60);
            assert_eq!(
                worker.call_timeout::<Option<u64>>(method, (), Duration::MAX).unwrap(),
                None
            );
            for way in 0..4_u8 {
                assert_eq!(
                    worker.call::<Option<u64>>("left of nested", (way, method)).unwrap(),
                    None,
                    "way {way}"
                );
                about(worker.call_timeout("left of nested", (way, method), minute).unwrap(), 60);
            }
            // Unless told otherwise.
            about(worker.call_timeout("left of nested", (9_u8, method), minute).unwrap(), 1000);
            about(worker.call("left of nested", (9_u8, method)).unwrap(), 1000);
        }
        // By the builder, too, and the earlier of the two where there are two.
        let worker = Builder::new()
            .call_timeout(Duration::from_secs(30))
            .fork(|parent| serve_left(&parent))
            .unwrap();
        serve_left(&worker);
        about(worker.call("left", ()).unwrap(), 30);
        about(worker.call_timeout("left of nested", (0_u8, "left"), minute).unwrap(), 30);
        about(
            worker.call_timeout("left of nested", (0_u8, "left"), Duration::from_secs(20)).unwrap(),
            20,
        );
    });
}

/// Calls whose bytes are the program's own have deadlines and are cancelled as all others.
#[test]
fn calls_of_bytes() {
    within(LIMIT, || {
        fn serve(parent: Coprocess) {
            served(parent.clone());
            parent.serve_bytes("left", |args| {
                let left = current_deadline()
                    .map_or(u64::MAX, |at| at.saturating_duration_since(Instant::now()).as_secs());
                [&left.to_le_bytes(), args].concat()
            });
        }
        for length in [0, 5, 200, 100_000] {
            let args = pattern(length, length);
            let left = |answer: Vec<u8>| {
                let (left, rest) = answer.split_first_chunk().unwrap();
                assert!(rest == args, "{length} bytes");
                u64::from_le_bytes(*left)
            };
            let worker = coprocess::fork(serve).unwrap();
            assert_eq!(left(worker.call_bytes("left", &args).unwrap()), u64::MAX);
            assert!((50..60).contains(&left(
                worker.call_bytes_timeout("left", &args, Duration::from_secs(60)).unwrap()
            )));
            let call = worker.start_bytes("hold", &[]).unwrap();
            assert_eq!(worker.call::<(usize, usize)>("wanted", ()).unwrap(), (1, 1));
            drop(call);
            assert_matches!(worker.call_bytes_timeout("hold", &[], SHORT), Err(Error::Timeout));
            let (is_wanted, held) = worker.call::<(usize, usize)>("wanted", ()).unwrap();
            assert_eq!((is_wanted, held + worker.call::<usize>("skipped", ()).unwrap()), (0, 2));

            let worker = Builder::new().call_timeout(Duration::from_secs(30)).fork(serve).unwrap();
            assert!((20..30).contains(&left(worker.call_bytes("left", &args).unwrap())));
            assert!(
                (20..30)
                    .contains(&left(worker.start_bytes("left", &args).unwrap().wait().unwrap()))
            );
        }
    });
}

/// In a chain of processes, none goes on for long after the first has given up.
#[test]
fn the_whole_chain_ends_in_time() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let inner: &'static Coprocess = Box::leak(Box::new(coprocess::fork(served).unwrap()));
            parent
                .serve("through", |()| match inner.call::<()>("hold", ()) {
                    Err(Error::Timeout) => "timed out",
                    _ => "else",
                })
                .serve("inner", |()| inner.call::<(usize, usize)>("wanted", ()).unwrap());
        })
        .unwrap();
        let start = Instant::now();
        // On a loaded machine, what the worker reports is there when this thread looks at the
        // clock.
        match worker.call_timeout::<String>("through", (), SHORT) {
            Err(Error::Timeout) => {}
            Ok(told) => assert_eq!(told, "timed out"),
            other => panic!("{other:?}"),
        }
        // The worker is free again, since its own call has ended as well, and the innermost knows.
        assert_eq!(worker.call::<(usize, usize)>("inner", ()).unwrap(), (0, 1));
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    });
}

/// What a handler dispatches while it waits is no part of its call. Afterwards the deadline is the
/// handler's own again.
#[test]
fn other_handlers_do_not_inherit() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            static HEARD: AtomicU64 = AtomicU64::new(u64::MAX);
            let weak = parent.downgrade();
            parent.listen("event", |()| {
                HEARD.store(u64::from(current_deadline().is_some()), Ordering::SeqCst)
            });
            parent.serve("plain", |()| current_deadline().is_some());
            parent.serve("outer", move |()| {
                let before = current_deadline();
                let inner: bool = weak.upgrade().unwrap().call("ask back", ()).unwrap();
                assert_eq!(current_deadline(), before);
                (before.is_some(), inner, HEARD.load(Ordering::SeqCst))
            });
        })
        .unwrap();
        let weak = worker.downgrade();
        // Another thread of this end, which has no deadline.
        worker.serve_deferred("ask back", move |(), reply: Reply<bool>| {
            let worker = weak.upgrade().unwrap();
            thread::spawn(move || {
                worker.emit("event", ()).unwrap();
                reply.send(worker.call("plain", ()).unwrap())
            });
        });
        let told: (bool, bool, u64) = worker.call_timeout("outer", (), LIMIT).unwrap();
        assert_eq!(told, (true, false, 0));
        assert!(current_deadline().is_none());
    });
}

/// A handler that panics leaves no deadline behind.
#[test]
fn nothing_is_left_of_a_deadline_after_a_panic() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent
                .serve("panic", |()| -> () { panic!("as asked") })
                .serve("plain", |()| current_deadline().is_some());
        })
        .unwrap();
        assert_matches!(worker.call_timeout::<()>("panic", (), LIMIT), Err(Error::Remote { .. }));
        assert!(!worker.call::<bool>("plain", ()).unwrap());
    });
}

/// What was given up before its turn came is not served, however it is served.
#[test]
fn before_its_turn() {
    fn serve(parent: Coprocess) {
        static RAN: Mutex<u64> = Mutex::new(0);
        let count = || *RAN.lock().unwrap() += 1;
        let weak = parent.downgrade();
        parent
            .serve("served", move |()| count())
            .serve_bytes("bytes", move |_| {
                count();
                Vec::new()
            })
            .serve_deferred("deferred", move |(), reply: Reply<()>| {
                count();
                reply.send(()).unwrap();
            })
            .listen("event", move |()| count())
            .serve("ran", move |()| {
                let stats = weak.upgrade().unwrap().stats();
                (
                    *RAN.lock().unwrap(),
                    stats.cancels_received,
                    stats.cancels_ignored,
                    stats.calls_skipped,
                )
            })
            .serve("echo", |number: u64| number);
    }
    within(LIMIT, || {
        for capacity in [SMALL_RING, 1 << 20] {
            let worker = Builder::new().ring_capacity(capacity).fork(serve).unwrap();
            worker.call::<u64>("echo", 0_u64).unwrap();
            let stopped = Stopped::new(&worker);
            let kept = worker.start::<()>("served", ()).unwrap();
            for method in ["served", "deferred", "bytes"] {
                let mut call = Box::pin(worker.call_async::<()>(method, ()));
                assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                drop(call);
                assert_matches!(
                    worker.call_timeout::<()>(method, (), Duration::from_millis(1)),
                    Err(Error::Timeout)
                );
            }
            worker.emit("event", ()).unwrap();
            let last = worker.start::<u64>("echo", 7_u64).unwrap();
            assert_eq!(worker.stats().cancels_sent, 6);
            drop(stopped);
            kept.wait().unwrap();
            assert_eq!(last.wait().unwrap(), 7);
            let (ran, received, ignored, skipped) =
                worker.call::<(u64, u64, u64, u64)>("ran", ()).unwrap();
            assert_eq!(ran, 2, "the call that was kept, and the event");
            assert_eq!((received, ignored, skipped), (6, 6, 6));
        }
    });
}

/// A call that is started and dropped has its answer discarded, and is served nevertheless. Its
/// handler knows.
#[test]
fn forgotten_before_its_turn() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let wanted: &'static Mutex<Vec<(u64, bool)>> = Box::leak(Box::default());
            let weak = parent.downgrade();
            parent
                .serve_deferred("ask", move |number: u64, reply: Reply<u64>| {
                    wanted.lock().unwrap().push((number, reply.is_wanted()));
                    reply.send(number).unwrap();
                })
                .serve("asked", move |()| {
                    let stats = weak.upgrade().unwrap().stats();
                    (
                        std::mem::take(&mut *wanted.lock().unwrap()),
                        stats.calls_skipped,
                        stats.messages_sent,
                    )
                })
                .serve("cancels", {
                    let weak = parent.downgrade();
                    move |()| {
                        let stats = weak.upgrade().unwrap().stats();
                        (stats.cancels_received, stats.cancels_ignored)
                    }
                });
        })
        .unwrap();
        let (_, _, before) = worker.call::<(Vec<(u64, bool)>, u64, u64)>("asked", ()).unwrap();
        let stopped = Stopped::new(&worker);
        let mut calls: Vec<_> =
            (0..6_u64).map(|number| Some(worker.start::<u64>("ask", number).unwrap())).collect();
        for number in [0, 3, 5] {
            calls[number] = None;
        }
        drop(stopped);
        let (asked, skipped, after) =
            worker.call::<(Vec<(u64, bool)>, u64, u64)>("asked", ()).unwrap();
        assert_eq!(asked, [(0, false), (1, true), (2, true), (3, false), (4, true), (5, false)]);
        assert_eq!(
            (skipped, after - before),
            (0, 3 + 1),
            "nothing is sent for calls that were given up"
        );
        assert_eq!(
            worker.call::<(u64, u64)>("cancels", ()).unwrap(),
            (3, 0),
            "each has had its effect before it was received"
        );
        for (number, call) in calls.into_iter().enumerate() {
            assert!(call.is_none_or(|call| call.wait().unwrap() == number as u64));
        }
        assert_eq!(worker.stats().answers_dropped, 0);
    });
}

/// A caller that is stopped cannot give up. Its deadline passes nevertheless.
#[test]
fn after_its_deadline() {
    static SERVED: AtomicU64 = AtomicU64::new(0);
    within(LIMIT, || {
        let sent = std::env::temp_dir().join(format!("coprocess-test-{}-sent", std::process::id()));
        let worker = coprocess::fork(|parent| {
            let weak = parent.downgrade();
            parent.serve("call", move |sent: std::path::PathBuf| {
                let parent = weak.upgrade().unwrap();
                std::mem::forget(parent.start::<()>("hold", ()).unwrap());
                let mut call = Box::pin(parent.call_async_timeout::<()>("late", (), SHORT));
                assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                std::mem::forget(call);
                std::fs::write(sent, "").unwrap();
            });
        })
        .unwrap();
        let (go, gone) = std::sync::mpsc::channel();
        let gone = Mutex::new(gone);
        worker.serve("hold", move |()| common::next(&gone.lock().unwrap())).serve("late", |()| {
            SERVED.fetch_add(1, Ordering::Relaxed);
        });
        let call = worker.start::<()>("call", &sent).unwrap();
        // Both calls are in the ring, and nothing is dispatched while the first of them is served.
        eventually("it has called", || sent.exists());
        let stopped = Stopped::new(&worker);
        thread::sleep(2 * SHORT);
        go.send(()).unwrap();
        eventually("the call is not served", || worker.stats().calls_skipped == 1);
        drop(stopped);
        call.wait().unwrap();
        std::fs::remove_file(sent).unwrap();
        assert!(worker.close().unwrap().unwrap().success());
        assert_eq!(SERVED.load(Ordering::Relaxed), 0);
    });
}

/// The handler itself can ask, although its thread receives nothing else meanwhile. Another call of
/// the caller is served once the handler has asked.
#[test]
fn asked_in_the_handler() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let rounds: &'static AtomicU64 = Box::leak(Box::default());
            let weak = parent.downgrade();
            parent
                .serve_deferred("loop", move |(), reply: Reply<()>| {
                    // For nothing but what it asks for.
                    weak.upgrade().unwrap().emit("begun", ()).unwrap();
                    while reply.is_wanted() {
                        std::hint::spin_loop();
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                })
                .serve("rounds", move |()| rounds.load(Ordering::Relaxed));
        })
        .unwrap();
        let begun = common::inbox::<()>(&worker, "begun");
        for round in 0..3 {
            let call = worker.start::<()>("loop", ()).unwrap();
            common::next(&begun);
            // Behind other messages.
            worker.emit("unheard", ()).unwrap();
            let rounds = worker.start::<u64>("rounds", ()).unwrap();
            drop(call);
            assert_eq!(rounds.wait().unwrap(), round + 1);
        }
        // While the caller ends.
        std::mem::forget(worker.start::<()>("loop", ()).unwrap());
        common::next(&begun);
        let start = Instant::now();
        drop(worker.close());
        assert!(start.elapsed() < AT_ONCE);
    });
}

/// A call that is not served, since its deadline has passed, has no answer: that is its result.
#[test]
fn ready_at_the_deadline() {
    within(LIMIT, || {
        let worker = Builder::new().call_timeout(SHORT).fork(served).unwrap();
        let stopped = Stopped::new(&worker);
        let call = worker.start::<()>("sleep", 0_u64).unwrap();
        thread::sleep(2 * SHORT);
        drop(stopped);
        eventually("it is ready", || call.is_ready());
        assert_matches!(call.wait(), Err(Error::Timeout));
    });
}

/// A call that was once found unwanted stays unwanted, whichever thread receives the cancel
/// meanwhile, and nothing is sent.
#[test]
fn not_wanted_for_good() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let back: &'static AtomicU64 = Box::leak(Box::default());
            parent
                .serve_deferred("ask", move |(), reply: Reply<()>| {
                    thread::spawn(move || {
                        let mut gone = None::<Instant>;
                        while gone.is_none_or(|at| at.elapsed() < Duration::from_millis(2)) {
                            match (reply.is_wanted(), gone) {
                                (true, None) | (false, Some(_)) => {}
                                (true, Some(_)) => {
                                    back.fetch_add(1, Ordering::Relaxed);
                                }
                                (false, None) => gone = Some(Instant::now()),
                            }
                        }
                        reply.send(()).unwrap();
                    });
                })
                .serve("busy", |()| thread::sleep(Duration::from_micros(300)))
                .serve("back", move |()| back.load(Ordering::Relaxed));
        })
        .unwrap();
        for _ in 0..200 {
            let call = worker.start::<()>("ask", ()).unwrap();
            // The cancel comes while the thread that dispatches is busy, and is found before it is
            // received.
            let busy = worker.start::<()>("busy", ()).unwrap();
            drop(call);
            busy.wait().unwrap();
        }
        assert_eq!(worker.call::<u64>("back", ()).unwrap(), 0);
        assert_eq!(worker.stats().answers_dropped, 0);
    });
}

/// Calls that are given up make no room for more of the others: a caller that sends more than is
/// served waits.
#[test]
fn it_makes_no_room_for_others() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                parent.serve("slow", |()| thread::sleep(Duration::from_micros(300)));
            })
            .unwrap();
        let (sender, calls) = std::sync::mpsc::channel();
        let end = worker.clone();
        let starting = thread::spawn(move || {
            for number in 0..3000 {
                let call = end.start::<()>("slow", ()).unwrap();
                // Now and then, and in each lap of the ring.
                if number % 20 == 7 {
                    drop(call);
                } else {
                    sender.send(call).unwrap();
                }
            }
        });
        let mut most = 0;
        for call in calls {
            call.wait().unwrap();
            let stats = worker.stats();
            // What was sent is counted first, so it may be behind.
            most = most.max(
                stats.messages_sent.saturating_sub(stats.messages_received + stats.cancels_sent),
            );
        }
        starting.join().unwrap();
        // What the ring holds, at both ends, and what was given up, for which nothing is received.
        assert!(most < 150 + 64 + 64, "{most} calls were on their way");
    });
}
