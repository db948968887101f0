//! Panics in the program's own code when the library drops what it was given: arguments, results,
//! handlers, futures. A panic reaches only the thread that it belongs to. No message is lost or
//! answered twice because of a panic, and the pair lives on.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::common::meant::{MEANT, alive, panics, quiet, remote};
use crate::common::{
    self, LIMIT, SMALL_RING, alone, assert_matches, eventually, next, resident_kib, within,
};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Coprocess, Error, Reply};
use serde::{Deserialize, Serialize, Serializer};

/// In one slot, in several slots, in several turns of a small ring, and in several of a large one.
const SIZES: [u64; 5] = [1, 50, 2000, 50_000, 700_000];

/// Panics when it is dropped, unless that would be the second panic at once.
#[derive(Clone, Debug, Deserialize)]
struct Spring(ByteBuf);

impl Spring {
    fn of(size: u64) -> Spring {
        Spring(ByteBuf::from(vec![1; size as usize]))
    }
}

impl Serialize for Spring {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Drop for Spring {
    fn drop(&mut self) {
        assert!(thread::panicking() || self.0.is_empty(), "{MEANT}");
    }
}

fn worker(capacity: usize) -> Coprocess {
    let worker = common::patient().ring_capacity(capacity).fork(|parent| {
        quiet();
        parent
            .serve("length", |bytes: ByteBuf| bytes.len())
            .serve("take a spring", |_: Spring| ())
            .serve_deferred("take a spring and go", |spring: Spring, reply: Reply<()>| {
                drop((spring, reply))
            })
            .listen("take a spring", |_: Spring| ())
            .serve("give a spring", Spring::of)
            .serve_deferred("never", |(), reply: Reply<()>| std::mem::forget(reply));
        let received = Arc::new(AtomicU64::new(0));
        let count = received.clone();
        parent.listen("bytes", move |bytes: ByteBuf| {
            count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        });
        parent.serve("received", move |()| received.load(Ordering::SeqCst));
        let end = parent.downgrade();
        parent.serve("event panics", move |()| end.upgrade().unwrap().stats().event_panics);
        parent.clone().serve_deferred("hammer", move |count: u64, reply: Reply<u64>| {
            let parent = parent.clone();
            thread::spawn(move || {
                let answered = (0..count)
                    .filter(|number| parent.call::<u64>("replaced", number).unwrap() == *number)
                    .count();
                reply.send(answered as u64).unwrap();
            });
        });
    });
    worker.unwrap()
}

fn each(body: impl Fn(&Coprocess, u64)) {
    common::meant::each(worker, SIZES, body);
}

#[test]
fn when_arguments_and_results_are_dropped() {
    within(LIMIT, || {
        each(|worker, size| {
            let spring = || Spring::of(size);
            // What was sent is sent.
            let before: u64 = worker.call("received", ()).unwrap();
            panics(|| worker.emit("bytes", spring()));
            panics(|| worker.try_emit("no listener", spring()));
            panics(|| worker.call::<usize>("length", spring()));
            panics(|| worker.start::<usize>("length", spring()));
            let (sender, length) = mpsc::channel();
            panics(|| {
                worker.call_with("length", spring(), move |length: coprocess::Result<usize>| {
                    sender.send(length).unwrap()
                })
            });
            assert_eq!(next(&length).unwrap() as u64, size);
            assert_eq!(worker.call::<u64>("received", ()).unwrap(), before + size);

            // The other end's.
            let before: u64 = worker.call("event panics", ()).unwrap();
            remote(worker.call::<()>("take a spring", Bytes::new(&vec![0; size as usize])), MEANT);
            remote(
                worker.call::<()>("take a spring and go", Bytes::new(&vec![0; size as usize])),
                "",
            );
            worker.emit("take a spring", Bytes::new(&vec![0; size as usize])).unwrap();
            assert_eq!(worker.call::<u64>("event panics", ()).unwrap(), before + 1);
            // A result that was sent is the answer, and the only one.
            assert_eq!(worker.call::<ByteBuf>("give a spring", size).unwrap().len() as u64, size);
            assert_eq!(worker.call::<u64>("event panics", ()).unwrap(), before + 2);
        });
    });
}

/// No call that was given up is kept, nor its answer.
#[test]
fn no_memory_is_kept() {
    within(LIMIT, || {
        alone!({
            quiet();
            let worker = worker(SMALL_RING);
            let round = || {
                for _ in 0..10_000 {
                    panics(|| worker.call::<usize>("length", Spring::of(20)));
                    panics(|| worker.start::<usize>("length", Spring::of(20)));
                }
                alive(&worker);
            };
            round();
            let before = resident_kib();
            (0..4).for_each(|_| round());
            let grown = resident_kib().saturating_sub(before);
            assert!(grown < 4000, "{grown} KiB");
        });
    });
}

/// A panic in what one handler has captured does not reach the thread that removes the handler, and
/// does not keep other handlers from being dropped.
#[test]
fn when_handlers_are_dropped() {
    within(LIMIT, || {
        quiet();
        let token = Arc::new(());
        let register = |worker: &Coprocess| {
            for name in ["one", "two", "three"] {
                let (spring, held) = (Spring::of(1), token.clone());
                worker.listen(name, move |()| {
                    assert_ne!((spring.0.len(), Arc::strong_count(&held)), (0, 0))
                });
                let (spring, held) = (Spring::of(1), token.clone());
                worker.serve(name, move |()| (spring.0.len(), Arc::strong_count(&held)));
            }
        };
        let worker = worker(SMALL_RING);
        register(&worker);
        register(&worker);
        worker.unlisten("one");
        alive(&worker);
        assert_eq!(Arc::strong_count(&token), 6);
        assert!(worker.close().unwrap().unwrap().success());
        drop(worker);
        assert_eq!(Arc::strong_count(&token), 1);

        let dropped = self::worker(SMALL_RING);
        register(&dropped);
        drop(dropped);
        eventually("the handlers are dropped", || Arc::strong_count(&token) == 1);

        let dead = self::worker(SMALL_RING);
        register(&dead);
        dead.kill().unwrap();
        assert_matches!(dead.call::<()>("never", ()), Err(Error::Disconnected(_)));
        eventually("the handlers are dropped", || Arc::strong_count(&token) == 1);
    });
}

/// The thread that dispatches drops the handlers that were replaced. The message that it is
/// handling is not lost.
#[test]
fn when_handlers_are_replaced_under_load() {
    within(LIMIT, || {
        quiet();
        let worker = worker(SMALL_RING);
        let replace = || {
            let spring = Spring::of(1);
            worker.serve("replaced", move |number: u64| number + spring.0.len() as u64 - 1);
        };
        replace();
        for _ in 0..3 {
            let mut hammer = worker.start::<u64>("hammer", 3000_u64).unwrap();
            while !hammer.is_ready() {
                replace();
            }
            // Also by a thread of the program's that waits.
            assert_eq!(hammer.wait().unwrap(), 3000);
            hammer = worker.start("hammer", 3000_u64).unwrap();
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        replace();
                    }
                });
                assert_eq!(hammer.wait().unwrap(), 3000);
                over.store(true, Ordering::SeqCst);
            });
        }
    });
}

/// Wakes with a panic.
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
        panic!("{MEANT}");
    }
}

/// Futures that hold a call are dropped half-way, by a panic or with one, and wakers that panic.
#[test]
fn in_futures() {
    within(LIMIT, || {
        quiet();
        let worker = worker(SMALL_RING);
        let noop = &mut Context::from_waker(Waker::noop());
        for round in 0..200 {
            let call = worker.start::<usize>("length", Bytes::new(&[1; 100])).unwrap();
            let mut future = Box::pin(async move {
                let _spring = Spring::of(1);
                let answer = call.await;
                drop(answer);
                std::future::pending::<()>().await;
            });
            if round % 2 == 0 {
                assert!(future.as_mut().poll(noop).is_pending());
            }
            // Not begun, it has no spring yet.
            if round % 2 == 0 {
                panics(|| drop(future))
            } else {
                drop(future)
            }

            let never = worker.start::<()>("never", ()).unwrap();
            let mut future = Box::pin(async move {
                let mut never = pin!(never);
                poll_fn(|context| {
                    assert!(never.as_mut().poll(context).is_pending());
                    panic!("{MEANT}") as Poll<()>
                })
                .await;
            });
            panics(|| future.as_mut().poll(noop));
            drop(future);

            let alarm = Arc::new(Alarm(AtomicBool::new(false)));
            let (panics_before, waker) = (worker.stats().event_panics, Waker::from(alarm.clone()));
            let mut call = pin!(worker.start::<usize>("length", Bytes::new(&[1; 100])).unwrap());
            if call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                eventually("it was woken", || {
                    alarm.0.load(Ordering::SeqCst)
                        && worker.stats().event_panics == panics_before + 1
                });
                assert_matches!(call.as_mut().poll(noop), Poll::Ready(Ok(100)));
            }
            alive(&worker);
        }
    });
}
