//! How many calls may be in flight, seen from both ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use coprocess::{Builder, Call, Coprocess, Error, Pending, Reply};

use crate::common::{LIMIT, SMALL_RING, Stopped, assert_matches, eventually, serve_later, within};

fn worker(parent: Coprocess) {
    serve_later(&parent);
    parent.serve("double", |x: u64| x * 2);
    parent.serve_deferred("at once", |x: u64, reply: Reply<u64>| reply.send(x).unwrap());
    parent.serve_deferred("panics", |(): (), _reply: Reply<()>| {
        std::panic::resume_unwind(Box::new("on purpose"))
    });
    parent.serve_deferred("drops", |(): (), reply: Reply<()>| drop(reply));
    let weak = parent.downgrade();
    parent.try_serve("nested", move |(): ()| weak.upgrade().unwrap().call::<u64>("double", 4_u64));
    let weak = parent.downgrade();
    parent.serve("refused", move |()| weak.upgrade().unwrap().stats().calls_refused);
    parent.serve_deferred("while wanted", |(): (), reply: Reply<u64>| {
        thread::spawn(move || {
            while reply.is_wanted() {
                thread::yield_now();
            }
        });
    });
    let weak = parent.downgrade();
    parent.serve("cancels", move |()| {
        let stats = weak.upgrade().unwrap().stats();
        (stats.cancels_received, stats.cancels_ignored)
    });
    let weak = parent.downgrade();
    // Until one is refused.
    parent.serve("call many", move |()| {
        let parent = weak.upgrade().unwrap();
        let mut pending = Vec::<Pending<u64>>::new();
        loop {
            match parent.start("later", 0_u64) {
                Ok(call) => pending.push(call),
                Err(error) => return (pending.len(), error.to_string()),
            }
        }
    });
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn no_more_calls_are_in_flight_than_were_asked_for() {
    within(LIMIT, || {
        for limit in [1_usize, 3, 64, 65, 200] {
            let co = Builder::new().max_calls_in_flight(limit).fork(worker).unwrap();
            for round in 0..3 {
                let mut pending: Vec<_> =
                    (0..limit as u64).map(|n| co.start::<u64>("later", n).unwrap()).collect();
                let sent = co.stats().messages_sent;
                assert_matches!(co.start::<u64>("later", 0_u64), Err(Error::TooManyCalls { limit: told }) if told == limit);
                assert_matches!(co.call::<u64>("double", 1_u64), Err(Error::TooManyCalls { .. }));
                assert_matches!(co.call_bytes("double", &[1]), Err(Error::TooManyCalls { .. }));
                assert_matches!(
                    co.call_with("double", 1_u64, |_: coprocess::Result<u64>| panic!(
                        "it was not sent"
                    )),
                    Err(Error::TooManyCalls { .. })
                );
                assert_eq!(co.stats().messages_sent, sent, "nothing is sent");
                // One that is forgotten makes room.
                drop(pending.pop());
                assert_eq!(co.call::<u64>("double", 21_u64).unwrap(), 42);
                co.emit("now", ()).unwrap();
                for (n, call) in pending.into_iter().enumerate() {
                    assert_eq!(call.wait().unwrap(), 2 * n as u64, "round {round}");
                }
            }
            assert_matches!(
                co.call_timeout::<u64>("later", 1_u64, Duration::from_millis(10)),
                Err(Error::Timeout)
            );
            assert_eq!(
                co.call::<u64>("double", 4_u64).unwrap(),
                8,
                "one that has timed out makes room"
            );
            co.close().unwrap();
        }
    });
}

#[test]
fn the_limit_holds_for_all_threads_of_an_end_together_and_for_each_end_by_itself() {
    within(LIMIT, || {
        let co = Builder::new().max_calls_in_flight(8).fork(worker).unwrap();
        serve_later(&co);
        co.serve("double", |x: u64| x * 2);
        // The worker's calls are none of this end's.
        let (made, error) = co.call::<(usize, String)>("call many", ()).unwrap();
        assert_eq!(made, 8);
        assert!(error.contains("too many calls: 8 are in flight"), "{error}");

        let held = Arc::new(Mutex::new(Vec::new()));
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (co, held) = (co.clone(), held.clone());
                thread::spawn(move || {
                    let made: Vec<_> =
                        std::iter::from_fn(|| co.start::<u64>("later", 1_u64).ok()).collect();
                    let count = made.len();
                    held.lock().unwrap().extend(made);
                    count
                })
            })
            .collect();
        assert_eq!(callers.into_iter().map(|caller| caller.join().unwrap()).sum::<usize>(), 8);
        co.emit("now", ()).unwrap();
        let held = std::mem::take(&mut *held.lock().unwrap());
        held.into_iter().for_each(|call| assert_eq!(call.wait().unwrap(), 2));
        co.close().unwrap();
    });
}

#[test]
fn a_call_from_within_a_handler_counts_too() {
    within(LIMIT, || {
        let co = Builder::new().max_calls_in_flight(1).fork(worker).unwrap();
        let weak = co.downgrade();
        co.serve("double", move |x: u64| {
            weak.upgrade().unwrap().call::<u64>("double", x).map_err(|e| e.to_string()).unwrap_or(0)
        });
        // The call to `nested` is in flight while its nested call is handled here.
        assert_eq!(co.call::<u64>("nested", ()).unwrap(), 0);
        assert_eq!(co.call::<u64>("double", 2_u64).unwrap(), 4);
        co.close().unwrap();
    });
}

#[test]
fn no_more_calls_are_taken_unanswered_than_were_asked_for() {
    within(LIMIT, || {
        for limit in [1_usize, 5] {
            let co = Builder::new().max_calls_served(limit).fork(worker).unwrap();
            for round in 1..=3_u64 {
                let pending: Vec<_> =
                    (0..limit as u64).map(|n| co.start::<u64>("later", n).unwrap()).collect();
                for method in ["later", "at once"] {
                    assert_matches!(co.call::<u64>(method, 0_u64), Err(Error::Overloaded { method: told }) if told == method);
                }
                assert_eq!(
                    co.call::<u64>("double", 2_u64).unwrap(),
                    4,
                    "what is answered at once is not refused"
                );
                assert_eq!(co.call::<u64>("refused", ()).unwrap(), 2 * round);
                assert_eq!(co.call::<usize>("now", ()).unwrap(), limit);
                for (n, call) in pending.into_iter().enumerate() {
                    assert_eq!(call.wait().unwrap(), 2 * n as u64);
                    // A caller that has an answer can call again.
                    assert_eq!(co.call::<u64>("at once", 7_u64).unwrap(), 7);
                }
                // However a reply ends, it makes room.
                for _ in 0..10 {
                    assert_matches!(co.call::<()>("panics", ()), Err(Error::Remote { message, .. }) if message.contains("on purpose"));
                    assert_matches!(co.call::<()>("drops", ()), Err(Error::Remote { message, .. }) if message.contains("dropped the reply"));
                }
            }
            co.close().unwrap();
        }
    });
}

/// A call that was given up makes room when its handler lets go of it, and not before: until then
/// the handler has work with it.
#[test]
fn a_call_that_is_cancelled_makes_room_once_it_is_let_go() {
    within(LIMIT, || {
        let co = Builder::new().max_calls_served(1).fork(worker).unwrap();
        let full = |answer| assert_matches!(answer, Err(Error::Overloaded { .. }));
        for round in 1..=20 {
            // Answered in vain.
            drop(co.start::<u64>("later", 1_u64).unwrap());
            full(co.call::<u64>("at once", 7_u64));
            assert_eq!(co.call::<usize>("now", ()).unwrap(), 1);
            assert_eq!(co.call::<u64>("at once", 7_u64).unwrap(), 7);
            // Timed out.
            let late = co.start::<u64>("later", 1_u64).unwrap();
            // If it had not begun by then, it would not begin.
            assert_eq!(co.call::<u64>("double", 2_u64).unwrap(), 4);
            assert_matches!(late.wait_timeout(Duration::from_millis(1)), Err(Error::Timeout));
            full(co.call::<u64>("at once", 7_u64));
            assert_eq!(co.call::<usize>("now", ()).unwrap(), 1);
            // The reply is dropped as soon as it is not wanted, on another thread.
            drop(co.start::<u64>("while wanted", ()).unwrap());
            eventually("it is let go", || match co.call::<u64>("at once", 7_u64) {
                Ok(answer) => answer == 7,
                refused => {
                    full(refused);
                    false
                }
            });
            assert_eq!(co.stats().cancels_sent, 3 * round);
        }
        // A call that is refused is none that could be cancelled.
        let held = co.start::<u64>("later", 1_u64).unwrap();
        let refused = co.start::<u64>("later", 1_u64).unwrap();
        drop(refused);
        assert_eq!(co.call::<usize>("now", ()).unwrap(), 1);
        assert_eq!(held.wait().unwrap(), 2);
        assert_eq!(co.call::<(u64, u64)>("cancels", ()).unwrap(), (61, 1));
        co.close().unwrap();
    });
}

/// Also where the calls of tasks wait for room.
#[test]
fn the_limit_holds_for_calls_that_are_queued() {
    within(LIMIT, || {
        let co =
            Builder::new().ring_capacity(SMALL_RING).max_calls_in_flight(100).fork(worker).unwrap();
        let polled = |mut call: Call<u64>| {
            let polled = Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop()));
            (call, polled)
        };
        let stopped = Stopped::new(&co);
        let mut calls = Vec::new();
        for x in 0..100_u64 {
            let (call, polled) = polled(co.call_async("double", x));
            assert!(polled.is_pending(), "call {x}");
            calls.push(call);
        }
        assert!(co.stats().waits_for_room > 0, "some found no room");
        let (_, refused) = polled(co.call_async("double", 1_u64));
        assert_matches!(refused, Poll::Ready(Err(Error::TooManyCalls { limit: 100 })));
        // One that is forgotten makes room, whether it was sent or not.
        drop((calls.pop(), calls.remove(0)));
        for x in [99, 100_u64] {
            let (call, polled) = polled(co.call_async("double", x));
            assert!(polled.is_pending());
            calls.push(call);
        }
        assert_matches!(
            polled(co.call_async("double", 1_u64)).1,
            Poll::Ready(Err(Error::TooManyCalls { .. }))
        );
        drop(stopped);
        for (x, call) in (1..).zip(calls) {
            assert_eq!(block_on(call).unwrap(), 2 * x);
        }
        assert_eq!(co.call::<u64>("double", 4_u64).unwrap(), 8);
        co.close().unwrap();
    });
}

#[test]
fn a_reply_from_another_thread_makes_room_before_its_caller_hears_of_it() {
    within(LIMIT, || {
        let co = Builder::new()
            .max_calls_served(1)
            .fork(|parent| {
                parent.serve_deferred("thread", |x: u64, reply: Reply<u64>| {
                    drop(thread::spawn(move || reply.send(x + 1)))
                });
            })
            .unwrap();
        for n in 0..2000 {
            assert_eq!(co.call::<u64>("thread", n).unwrap(), n + 1);
        }
        co.close().unwrap();
    });
}

#[test]
fn zero_is_taken_for_one() {
    within(LIMIT, || {
        let co = Builder::new().max_calls_in_flight(0).max_calls_served(0).fork(worker).unwrap();
        assert_eq!(co.call::<u64>("at once", 7_u64).unwrap(), 7);
        let pending = co.start::<u64>("later", 1_u64).unwrap();
        assert_matches!(co.call::<u64>("double", 7_u64), Err(Error::TooManyCalls { limit: 1 }));
        co.emit("now", ()).unwrap();
        eventually("it is answered", || pending.is_ready());
        assert_matches!(co.call::<u64>("double", 7_u64), Err(Error::TooManyCalls { limit: 1 }));
        assert_eq!(pending.wait().unwrap(), 2);
        co.close().unwrap();
    });
}
