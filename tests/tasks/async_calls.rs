//! Calls that are awaited: on a runtime of one thread, many at once, with a full ring, with
//! deadlines.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    self, AT_ONCE, LIMIT, SMALL_RING, Stopped, alone, assert_matches, eventually, inbox,
    later_worker, next, pattern, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Backpressure, Builder, Call, Coprocess, Error, Reason, Reply, WaitStrategy};
use serde::de::DeserializeOwned;

const SHORT: Duration = Duration::from_millis(60);

/// Waits for a future on a runtime of one thread, without any driver: nothing but wake-ups.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Polls a call once: the call is sent, or will be, and is not answered.
#[track_caller]
fn polled<R: DeserializeOwned>(mut call: Call<R>) -> Call<R> {
    assert!(Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    call
}

fn served(parent: Coprocess) {
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    parent
        .serve("double", |x: u64| x * 2)
        .serve("length", |bytes: ByteBuf| bytes.len())
        .serve_bytes("raw", |_| [200])
        .serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply));
}

#[test]
fn one_after_the_other() {
    within(LIMIT, || {
        // Where both ends spin and have one processor, each call takes two slices of the
        // scheduler's.
        for (strategy, calls) in [
            (WaitStrategy::Adaptive, 2_000_u64),
            (WaitStrategy::Spin, 200),
            (WaitStrategy::Block, 2_000),
        ] {
            let worker = Builder::new().wait(strategy).fork(served).unwrap();
            block_on(async {
                for x in 0..calls {
                    assert_eq!(worker.call_async::<u64>("double", x).await.unwrap(), 2 * x);
                }
            });
            worker.close().unwrap();
        }
    });
}

#[test]
fn ten_thousand_at_once_on_one_thread() {
    within(LIMIT, || {
        let worker = later_worker();
        block_on(async {
            let calls: Vec<_> = (0..10_000_u64)
                .map(|x| tokio::spawn(worker.call_async::<u64>("later", x)))
                .collect();
            // All are in flight; the answers come in the opposite order.
            let now = tokio::spawn(worker.call_async::<usize>("now", ()));
            assert_eq!(now.await.unwrap().unwrap(), 10_000);
            for (x, call) in calls.into_iter().enumerate() {
                assert_eq!(call.await.unwrap().unwrap(), 2 * x as u64);
            }
        });
        assert_eq!(worker.stats().answers_dropped, 0);
    });
}

/// Tasks that call again and again, each at its own pace, on several threads.
#[test]
fn many_tasks_on_several_threads() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..100_u64)
                .map(|task| {
                    let worker = worker.clone();
                    tokio::spawn(async move {
                        for x in 0..100_u64 {
                            assert_eq!(
                                worker.call_async::<u64>("double", x + task).await.unwrap(),
                                2 * (x + task)
                            );
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

/// While the ring is full the calls wait, not the thread; what is sent afterwards is behind them.
#[test]
fn a_full_ring_stops_no_thread_and_keeps_the_order() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                let seen: &'static Mutex<Vec<u64>> = Box::leak(Box::default());
                parent
                    .serve("note", |(number, _): (u64, ByteBuf)| {
                        seen.lock().unwrap().push(number);
                        number
                    })
                    .serve("seen", |()| seen.lock().unwrap().clone());
            })
            .unwrap();
        let stopped = Stopped::new(&worker);
        let start = Instant::now();
        // Many times what the ring holds; some are larger than all of it.
        let calls: Vec<_> = (0..500_u64)
            .map(|number| {
                let size = if number % 50 == 7 { 3 * SMALL_RING } else { 100 };
                polled(worker.call_async::<u64>(
                    "note",
                    (number, ByteBuf::from(pattern(number as usize, size))),
                ))
            })
            .collect();
        assert!(start.elapsed() < AT_ONCE, "a thread waited for the worker, which is stopped");
        assert_matches!(worker.try_emit("unheard", ()), Err(Error::Full));
        drop(stopped);
        let seen: Vec<u64> = worker.call("seen", ()).unwrap();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        block_on(async {
            for (number, call) in calls.into_iter().enumerate() {
                assert_eq!(call.await.unwrap(), number as u64);
            }
        });
    });
}

/// Calls that are given up while they wait for room are not sent, and take no memory for ever.
#[test]
fn given_up_before_there_was_room() {
    within(LIMIT, || {
        alone!({
            let worker = Builder::new()
                .ring_capacity(SMALL_RING)
                .fork(|parent| {
                    let count: &'static Mutex<u64> = Box::leak(Box::default());
                    parent
                        .serve("count", |_: ByteBuf| *count.lock().unwrap() += 1)
                        .serve("counted", |()| *count.lock().unwrap());
                })
                .unwrap();
            let stopped = Stopped::new(&worker);
            let bytes = ByteBuf::from(pattern(0, 1000));
            let before = common::resident_kib();
            for _ in 0..30_000 {
                drop(polled(worker.call_async::<()>("count", &bytes)));
            }
            let grown = common::resident_kib().saturating_sub(before);
            assert!(grown < 10_000, "{grown} KiB for calls that were given up");
            drop(stopped);
            let counted: u64 = worker.call("counted", ()).unwrap();
            assert!(counted < 100, "{counted} calls were sent that had been given up");
        });
    });
}

#[test]
fn deadlines() {
    within(LIMIT, || {
        let worker = Builder::new().ring_capacity(SMALL_RING).fork(served).unwrap();
        block_on(async {
            let start = Instant::now();
            let calls: Vec<_> = (0..50)
                .map(|_| tokio::spawn(worker.call_async_timeout::<()>("never", (), SHORT)))
                .collect();
            for call in calls {
                assert_matches!(call.await.unwrap(), Err(Error::Timeout));
            }
            assert!(start.elapsed() >= SHORT && start.elapsed() < AT_ONCE);
            assert_eq!(
                worker.call_async_timeout::<u64>("double", 4_u64, Duration::MAX).await.unwrap(),
                8
            );
            assert_matches!(
                worker.call_async_timeout::<()>("never", (), Duration::ZERO).await,
                Err(Error::Timeout)
            );

            // Also of calls that could not be sent in time.
            let stopped = Stopped::new(&worker);
            let bytes = ByteBuf::from(pattern(0, 100_000));
            assert_matches!(
                worker.call_async_timeout::<usize>("length", &bytes, SHORT).await,
                Err(Error::Timeout)
            );
            drop(stopped);
            assert_eq!(worker.call_async::<usize>("length", &bytes).await.unwrap(), 100_000);
        });
    });
}

#[test]
fn errors_come_when_it_is_awaited() {
    within(LIMIT, || {
        let worker = Builder::new().max_message(1000).fork(served).unwrap();
        block_on(async {
            assert_matches!(
                worker.call_async::<()>("unknown", ()).await,
                Err(Error::MethodNotFound { .. })
            );
            assert_matches!(
                worker.call_async::<usize>("length", ByteBuf::from(vec![0; 2000])).await,
                Err(Error::TooLarge { .. })
            );
            assert_matches!(
                worker.call_async::<String>("double", 1_u64).await,
                Err(Error::Types { name, sent, wanted }) if (&*name, &*sent, &*wanted) == ("double", "u64", "string as its result")
            );
            assert_matches!(worker.call_async::<String>("raw", 1_u64).await, Err(Error::Decode { what, .. }) if what == "raw");
            let doomed = worker.call_async::<()>("never", ());
            worker.kill().unwrap();
            assert_matches!(doomed.await, Err(Error::Disconnected(Reason::Killed(9))));
            assert_matches!(
                worker.call_async::<u64>("double", 1_u64).await,
                Err(Error::Disconnected(_))
            );
            worker.close().unwrap();
            assert_matches!(
                worker.call_async::<u64>("double", 1_u64).await,
                Err(Error::Disconnected(_))
            );
        });
    });
}

/// Death while calls wait for room: each of them is told.
#[test]
fn the_end_while_calls_wait_for_room() {
    within(LIMIT, || {
        for _ in 0..5 {
            let worker = Builder::new().ring_capacity(SMALL_RING).fork(served).unwrap();
            let _stopped = Stopped::new(&worker);
            let bytes = ByteBuf::from(pattern(0, 500));
            block_on(async {
                let calls: Vec<_> = (0..200)
                    .map(|_| tokio::spawn(worker.call_async::<usize>("length", &bytes)))
                    .collect();
                tokio::task::yield_now().await;
                worker.kill().unwrap();
                for call in calls {
                    assert_matches!(
                        call.await.unwrap(),
                        Err(Error::Disconnected(Reason::Killed(9)))
                    );
                }
            });
        }
    });
}

/// A poll runs no handlers: what comes before an answer is handled before it, by another thread.
#[test]
fn a_poll_runs_no_handlers_and_answers_keep_behind_events() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            let weak = parent.downgrade();
            parent.serve("noisy", move |round: u64| {
                weak.upgrade().unwrap().emit("noise", round).unwrap()
            });
        })
        .unwrap();
        let here = std::thread::current().id();
        let heard: &'static Mutex<Vec<u64>> = Box::leak(Box::default());
        worker.listen("noise", move |round: u64| {
            assert_ne!(std::thread::current().id(), here, "a handler ran in a poll");
            heard.lock().unwrap().push(round);
        });
        block_on(async {
            for round in 0..200 {
                worker.call_async::<()>("noisy", round).await.unwrap();
                assert_eq!(
                    heard.lock().unwrap().last(),
                    Some(&round),
                    "the answer came before what was sent before it"
                );
            }
        });
        assert_eq!(worker.stats().event_panics, 0);
    });
}

/// A future that is not polled sends nothing; what it sends was encoded before.
#[test]
fn nothing_is_sent_before_it_is_polled() {
    within(LIMIT, || {
        let worker = coprocess::fork(served).unwrap();
        let before = worker.stats().messages_sent;
        let mut x = 4_u64;
        let call = worker.call_async::<u64>("double", &x);
        x += 1;
        drop(worker.call_async::<u64>("double", x));
        assert_eq!((worker.stats().messages_sent, worker.stats().cancels_sent), (before, 0));
        assert_eq!(block_on(call).unwrap(), 8);
        // Its time runs nevertheless.
        let call = worker.call_async_timeout::<u64>("double", x, SHORT);
        std::thread::sleep(SHORT);
        let sent = worker.stats().messages_sent;
        assert_matches!(block_on(call), Err(Error::Timeout));
        assert_eq!(worker.stats().messages_sent, sent);
    });
}

/// A future that is polled once, and then by another task with another waker.
#[test]
fn moved_between_tasks() {
    within(LIMIT, || {
        let worker = later_worker();
        let mut call = Box::pin(worker.call_async::<u64>("later", 21_u64));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let task = runtime.spawn(call);
        runtime.block_on(async {
            tokio::task::yield_now().await;
            worker.emit("now", ()).unwrap();
            assert_eq!(task.await.unwrap().unwrap(), 42);
        });
    });
}

/// The first poll waits for nothing that takes long.
#[test]
fn a_poll_is_short() {
    within(LIMIT, || {
        for strategy in [WaitStrategy::Adaptive, WaitStrategy::Spin, WaitStrategy::Block] {
            let worker = Builder::new().wait(strategy).fork(served).unwrap();
            worker.call::<u64>("double", 1_u64).unwrap();
            let start = Instant::now();
            for _ in 0..100 {
                let call = pin!(worker.call_async::<()>("never", ()));
                assert_matches!(call.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
            }
            assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
            eventually("the peer heard of it", || worker.stats().cancels_sent == 100);
        }
    });
}

/// Serves calls that take a moment when asked to, so that a poll looks in vain and a thread of the
/// library waits.
fn slow(parent: Coprocess) {
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    let weak = parent.downgrade();
    parent
        .serve("double", |x: u64| x * 2)
        .serve_deferred("slow", |x: u64, reply: Reply<u64>| {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(2));
                reply.send(x * 2)
            });
        })
        .serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply))
        .listen("say", move |x: u64| weak.upgrade().unwrap().emit("said", x).unwrap());
}

/// If only tasks need the ring, the thread of the library leaves the ring to them, as long as they
/// find their answers. The thread is back for what the tasks do not find, and for any other waiter.
#[test]
fn the_background_stands_by_and_comes_back() {
    within(LIMIT, || {
        let started = || {
            let worker = coprocess::fork(slow).unwrap();
            block_on(async {
                for x in 0..300_u64 {
                    if x % 30 == 0 {
                        assert_eq!(worker.call_async::<u64>("slow", x).await.unwrap(), 2 * x);
                    }
                    assert_eq!(worker.call_async::<u64>("double", x).await.unwrap(), 2 * x);
                }
                // The first answers come while no thread looks.
                let calls: Vec<_> =
                    (0..200_u64).map(|x| worker.start::<u64>("double", x).unwrap()).collect();
                for (x, call) in (0..).zip(calls) {
                    assert_eq!(call.await.unwrap(), 2 * x);
                }
                assert_matches!(
                    worker.call_async_timeout::<()>("never", (), Duration::from_millis(1)).await,
                    Err(Error::Timeout)
                );
                assert_eq!(worker.call_async::<u64>("double", 1_u64).await.unwrap(), 2);
            });
            worker
        };
        // From here on no thread of the program waits in the pair.
        let worker = started();
        let (told, answer) = mpsc::channel();
        worker
            .call_with("double", 4_u64, move |doubled: coprocess::Result<u64>| {
                told.send(doubled.unwrap()).unwrap()
            })
            .unwrap();
        assert_eq!(next(&answer), 8);

        let worker = started();
        let said = inbox::<u64>(&worker, "said");
        worker.emit("say", 7_u64).unwrap();
        assert_eq!(next(&said), 7);

        let worker = started();
        let call = worker.start::<u64>("slow", 4_u64).unwrap();
        eventually("it is ready", || call.is_ready());
        assert_eq!(call.wait().unwrap(), 8);

        let worker = started();
        let gauge = worker.event("say").backpressure(Backpressure::KeepLatest);
        let unheard = worker.stats().events_unheard;
        gauge.emit(1_u64).unwrap();
        gauge.emit(2_u64).unwrap();
        // The second is sent once the receipt for the first was received; each is echoed.
        eventually("both are sent", || worker.stats().events_unheard == unheard + 2);

        let worker = started();
        worker.kill().unwrap();
        let outcome = block_on(worker.call_async::<u64>("slow", 1_u64));
        assert_matches!(outcome, Err(Error::Disconnected(_)));
    });
}

/// What a thread that cannot wake tasks has received for them is theirs nevertheless. Here that is
/// the thread that dispatches, while the peer reads no answers.
#[test]
fn an_answer_behind_many_others() {
    within(LIMIT, || {
        const LARGE: usize = 1 << 20;
        let worker = coprocess::fork(|parent| {
            parent.serve("large", |()| ByteBuf::from(vec![7; LARGE]));
            // Before this function has returned, only the thread that is here for the tasks
            // dispatches.
            let answer: u64 = block_on(async {
                let mut answer = parent.call_async::<u64>("later", 4_u64).await.unwrap();
                for x in 0..50_u64 {
                    answer = parent.call_async::<u64>("double", x).await.unwrap();
                }
                answer
            });
            parent.emit("answer", answer).unwrap();
        })
        .unwrap();
        let answers = inbox::<u64>(&worker, "answer");
        let weak = worker.downgrade();
        let (told, large) = mpsc::channel();
        // Its answers are more than are kept for an end that does not read, which this end does not
        // meanwhile.
        worker.serve("double", |x: u64| 2 * x).serve_deferred(
            "later",
            move |x: u64, reply: Reply<u64>| {
                let worker = weak.upgrade().unwrap();
                for _ in 0..100 {
                    let told = told.clone();
                    worker
                        .call_with("large", (), move |bytes: coprocess::Result<ByteBuf>| {
                            told.send(bytes.unwrap().len()).unwrap()
                        })
                        .unwrap();
                }
                reply.send(2 * x).unwrap();
                // Meanwhile nothing is read.
                thread::sleep(Duration::from_millis(300));
            },
        );
        assert_eq!(next(&answers), 98);
        for _ in 0..100 {
            assert_eq!(next(&large), LARGE);
        }
    });
}
