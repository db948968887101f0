//! `Pending` as a `Future`, with the smallest executor there can be.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::common::{LIMIT, assert_matches, eventually, later_worker, next, serve_later, within};
use coprocess::{Builder, Coprocess, Error, Pending, Reason};

/// Wakes a parked thread and counts how often.
struct Alarm {
    thread: Thread,
    count: AtomicU32,
}

impl Alarm {
    fn new() -> Arc<Alarm> {
        Arc::new(Alarm { thread: thread::current(), count: AtomicU32::new(0) })
    }

    fn rang(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Waits for a future by the smallest executor: it polls only when woken, so that a lost wake-up
/// would be a hang.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let alarm = Alarm::new();
    let waker = Waker::from(alarm.clone());
    let mut context = Context::from_waker(&waker);
    let mut seen = 0;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while alarm.rang() == seen {
            thread::park();
        }
        seen = alarm.rang();
    }
}

/// Waits for all of them at once, in the order given.
async fn join<R>(calls: Vec<Pending<R>>) -> Vec<coprocess::Result<R>>
where
    Pending<R>: Future<Output = coprocess::Result<R>>,
{
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<coprocess::Result<R>>> = calls.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (call, result) in calls.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(output) = call.as_mut().poll(context)
            {
                *result = Some(output);
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().map(Option::unwrap).collect()
}

#[test]
fn as_a_future() {
    within(LIMIT, || {
        let worker = later_worker();
        for x in 0..200_u64 {
            assert_eq!(block_on(worker.start::<u64>("double", x).unwrap()).unwrap(), x * 2);
        }
        let error = block_on(worker.start::<u64>("missing", ()).unwrap()).unwrap_err();
        assert_matches!(error, Error::MethodNotFound { .. });
        let sum = block_on(async {
            let a = worker.start::<u64>("double", 1_u64)?.await?;
            let b = worker.start::<u64>("double", a)?.await?;
            Ok::<u64, Error>(a + b)
        });
        assert_eq!(sum.unwrap(), 6);
    });
}

#[test]
fn several_futures_joined() {
    within(LIMIT, || {
        let worker = later_worker();
        for _ in 0..20 {
            let calls = (0..50_u64).map(|x| worker.start::<u64>("later", x).unwrap()).collect();
            worker.emit("now", ()).unwrap();
            for (x, result) in block_on(join(calls)).into_iter().enumerate() {
                assert_eq!(result.unwrap(), x as u64 * 2);
            }
        }
    });
}

#[test]
fn futures_in_many_threads() {
    within(LIMIT, || {
        let worker = later_worker();
        thread::scope(|scope| {
            for thread in 0..4 {
                let worker = &worker;
                scope.spawn(move || {
                    for x in (0..300).map(|n| n * 4 + thread) {
                        let calls = vec![
                            worker.start::<u64>("double", x).unwrap(),
                            worker.start::<u64>("double", x + 1).unwrap(),
                        ];
                        let answers = block_on(join(calls));
                        assert_eq!(*answers[0].as_ref().unwrap(), x * 2);
                        assert_eq!(*answers[1].as_ref().unwrap(), x * 2 + 2);
                        // Blocking calls beside them take the lead and give it back.
                        assert_eq!(worker.call::<u64>("double", x).unwrap(), x * 2);
                    }
                });
            }
        });
    });
}

/// Not polled again until woken, and the waker of the last poll is the one that counts.
#[test]
fn the_last_waker_is_woken() {
    within(LIMIT, || {
        let worker = later_worker();
        for _ in 0..20 {
            let mut call = Box::pin(worker.start::<u64>("later", 3_u64).unwrap());
            let (first, second) = (Alarm::new(), Alarm::new());
            for alarm in [&first, &second] {
                let waker = Waker::from(alarm.clone());
                let poll = call.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(poll.is_pending());
            }
            worker.emit("now", ()).unwrap();
            eventually("the second waker is woken", || second.rang() > 0);
            assert_eq!(first.rang(), 0);
            let waker = Waker::from(second);
            match call.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => assert_eq!(answer.unwrap(), 6),
                Poll::Pending => panic!("woken although it is not ready"),
            }
        }
    });
}

/// A future that is dropped half way, as `select` and timeouts of an executor do.
#[test]
fn dropped_after_a_poll() {
    within(LIMIT, || {
        let worker = later_worker();
        let alarm = Alarm::new();
        let waker = Waker::from(alarm.clone());
        for _ in 0..50 {
            let mut call = worker.start::<u64>("later", 1_u64).unwrap();
            assert!(Pin::new(&mut call).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        worker.call::<usize>("now", ()).unwrap();
        let stats = worker.stats();
        assert_eq!((stats.cancels_sent, stats.answers_dropped), (50, 0));
        assert_eq!(alarm.rang(), 0);
        drop(waker);
        assert_eq!(Arc::strong_count(&alarm), 1, "the wakers were dropped with the calls");
    });
}

#[test]
fn futures_end_with_the_worker() {
    within(LIMIT, || {
        let worker = later_worker();
        let calls = (0..50_u64).map(|x| worker.start::<u64>("later", x).unwrap()).collect();
        worker.emit("exit", 8).unwrap();
        for result in block_on(join(calls)) {
            assert_matches!(result, Err(Error::Disconnected(Reason::Exited(8))));
        }
    });
}

#[test]
fn futures_end_with_the_deadline() {
    within(LIMIT, || {
        let timeout = Duration::from_millis(50);
        let worker =
            Builder::new().call_timeout(timeout).fork(|parent| serve_later(&parent)).unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            let calls = (0..50_u64).map(|x| worker.start::<u64>("later", x).unwrap()).collect();
            for result in block_on(join(calls)) {
                assert_matches!(result, Err(Error::Timeout));
            }
            assert!(start.elapsed() >= timeout);
            worker.emit("now", ()).unwrap();
        }
    });
}

#[test]
fn futures_end_with_close() {
    within(LIMIT, || {
        let worker = later_worker();
        let calls = (0..50_u64).map(|x| worker.start::<u64>("later", x).unwrap()).collect();
        thread::scope(|scope| {
            let joined = scope.spawn(|| block_on(join(calls)));
            worker.close().unwrap();
            for result in joined.join().unwrap() {
                assert_matches!(result, Err(Error::Closed));
            }
        });
    });
}

/// The thread that dispatches receives the answer of a future. A handler that blocks on a future is
/// that thread itself: only a `close` by another thread ends that wait.
#[test]
fn a_handler_that_blocks_on_one() {
    within(LIMIT, || {
        let worker =
            Builder::new().close_timeout(Duration::from_millis(100)).fork(asks_back).unwrap();
        let weak = worker.downgrade();
        let (sender, results) = mpsc::channel();
        worker.listen("blocks", move |awaits: bool| {
            let worker = weak.upgrade().unwrap();
            let result = match awaits {
                true => block_on(worker.call_async_timeout::<u64>(
                    "double",
                    4_u64,
                    Duration::from_millis(20),
                )),
                false => worker.call("double", 4_u64),
            };
            sender.send(result).unwrap();
        });
        worker.emit("ask", false).unwrap();
        assert_eq!(next(&results).unwrap(), 8);
        worker.emit("ask", true).unwrap();
        // Many times the deadline.
        assert_matches!(
            results.recv_timeout(Duration::from_millis(300)),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
        worker.close().unwrap();
        assert_matches!(next(&results), Err(Error::Closed));
    });
}

fn asks_back(parent: Coprocess) {
    let weak = parent.downgrade();
    parent
        .listen("ask", move |awaits: bool| weak.upgrade().unwrap().emit("blocks", awaits).unwrap())
        .serve("double", |x: u64| x * 2);
}

/// Futures need no thread of the caller: the library's own dispatches, and events go on meanwhile.
#[test]
fn a_future_beside_events() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.clone().serve("work", move |count: u32| {
                for number in 0..count {
                    parent.emit("progress", number).unwrap();
                }
                count
            });
        })
        .unwrap();
        let progress = Arc::new(AtomicU32::new(0));
        let count = progress.clone();
        worker.listen("progress", move |_: u32| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        for round in 1..=100 {
            assert_eq!(block_on(worker.start::<u32>("work", 10_u32).unwrap()).unwrap(), 10);
            assert_eq!(progress.load(Ordering::SeqCst), round * 10);
        }
    });
}
