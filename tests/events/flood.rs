//! Two ends that flood each other, from handlers and from threads, through the smallest ring and
//! with messages larger than it. The flood finishes, in order, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use crate::common::{self, LIMIT, SMALL_RING, eventually, pattern, within};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess};

/// Counts `"flood"` events, which must come in order and whole, and serves the count.
fn expects_a_flood(end: &Coprocess) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let seen = count.clone();
    end.listen("flood", move |(number, bytes): (u32, ByteBuf)| {
        assert_eq!(seen.fetch_add(1, Ordering::SeqCst), number);
        assert!(bytes == pattern(number as usize, bytes.len()));
    });
    let seen = count.clone();
    end.serve("count", move |()| seen.load(Ordering::SeqCst));
    let weak = end.downgrade();
    end.serve("panics", move |()| weak.upgrade().unwrap().stats().event_panics);
    count
}

fn flood(end: &Coprocess, count: u32, size: usize) {
    for number in 0..count {
        end.emit("flood", (number, ByteBuf::from(pattern(number as usize, size)))).unwrap();
    }
}

fn floods_from_a_handler(end: &Coprocess) {
    let weak = end.downgrade();
    end.serve("go", move |(count, size): (u32, usize)| {
        let end = weak.upgrade().unwrap();
        end.emit("go too", (count, size)).unwrap();
        flood(&end, count, size);
    });
    let weak = end.downgrade();
    end.listen("go too", move |(count, size): (u32, usize)| {
        flood(&weak.upgrade().unwrap(), count, size);
    });
}

fn worker() -> Coprocess {
    Builder::new()
        .ring_capacity(SMALL_RING)
        .fork(|parent| {
            expects_a_flood(&parent);
            floods_from_a_handler(&parent);
        })
        .unwrap()
}

#[track_caller]
fn complete(worker: &Coprocess, received: &AtomicU32, count: u32) {
    assert_eq!(worker.call::<u32>("count", ()).unwrap(), count);
    assert_eq!(worker.call::<u64>("panics", ()).unwrap(), 0);
    assert_eq!(received.load(Ordering::SeqCst), count);
    assert_eq!(worker.stats().event_panics, 0);
}

/// The parent handles `"go too"` inside its call, and emits there while the worker emits inside
/// `"go"`.
#[test]
fn from_handlers() {
    within(LIMIT, || {
        for (count, size) in [(300_u32, 10_000_usize), (20_000, 20), (3000, 1500), (5, 1_000_000)] {
            let worker = worker();
            let received = expects_a_flood(&worker);
            floods_from_a_handler(&worker);
            worker.call::<()>("go", (count, size)).unwrap();
            complete(&worker, &received, count);
        }
    });
}

/// The same with the background thread of the parent.
#[test]
fn from_a_handler_in_the_background() {
    within(LIMIT, || {
        let worker = worker();
        let received = expects_a_flood(&worker);
        floods_from_a_handler(&worker);
        let pending = worker.start::<()>("go", (300_u32, 10_000_usize)).unwrap();
        eventually("all has arrived", || received.load(Ordering::SeqCst) == 300);
        pending.wait().unwrap();
        complete(&worker, &received, 300);
    });
}

#[test]
fn from_a_handler_and_a_plain_thread() {
    within(LIMIT, || {
        for (count, size) in [(300_u32, 10_000_usize), (20_000, 20)] {
            let worker = worker();
            let received = expects_a_flood(&worker);
            // "go too" is unheard at this end.
            let pending = worker.start::<()>("go", (count, size)).unwrap();
            flood(&worker, count, size);
            pending.wait().unwrap();
            complete(&worker, &received, count);
        }
    });
}

#[test]
fn from_plain_threads_of_both() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                expects_a_flood(&parent);
                thread::spawn(move || flood(&parent, 300, 10_000));
            })
            .unwrap();
        let received = expects_a_flood(&worker);
        flood(&worker, 300, 10_000);
        eventually("all has arrived", || received.load(Ordering::SeqCst) == 300);
        complete(&worker, &received, 300);
    });
}

/// Without any handler at this end no thread receives, except the sender that waits for room.
#[test]
fn while_nobody_receives() {
    within(LIMIT, || {
        let worker = worker();
        drop(worker.start::<()>("go", (300_u32, 10_000_usize)).unwrap());
        flood(&worker, 300, 10_000);
        assert_eq!(worker.call::<u32>("count", ()).unwrap(), 300);
        // "listening", "go too" and the flood.
        assert_eq!(worker.stats().events_unheard, 302);
    });
}

/// Each event makes the peer emit the next: 200 chains of 30 links at once, more than both rings
/// hold.
#[test]
fn chains_of_events() {
    const CHAINS: u32 = 200;
    const LINKS: u32 = 30;
    fn link(end: &Coprocess, done: Arc<AtomicU64>) {
        let weak = end.downgrade();
        end.listen("link", move |(left, bytes): (u32, ByteBuf)| {
            assert!(bytes == pattern(left as usize, 500));
            done.fetch_add(1, Ordering::SeqCst);
            if left > 0 {
                let next = (left - 1, ByteBuf::from(pattern(left as usize - 1, 500)));
                weak.upgrade().unwrap().emit("link", next).unwrap();
            }
        });
    }
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| link(&parent, Arc::default()))
            .unwrap();
        let links = Arc::new(AtomicU64::new(0));
        link(&worker, links.clone());
        for _ in 0..CHAINS {
            worker.emit("link", (LINKS, ByteBuf::from(pattern(LINKS as usize, 500)))).unwrap();
        }
        // This end handles every second link of each chain.
        let expected = u64::from(CHAINS * LINKS / 2);
        eventually("all links were handled", || links.load(Ordering::SeqCst) == expected);
        assert_eq!(worker.stats().event_panics, 0);
    });
}

/// Calls with large arguments and answers, from handlers at both ends and from threads at once.
#[test]
fn of_calls() {
    fn serve(end: &Coprocess) {
        end.serve("echo", |bytes: ByteBuf| bytes);
        let weak = end.downgrade();
        end.serve("echo twice", move |bytes: ByteBuf| -> ByteBuf {
            weak.upgrade().unwrap().call("echo", bytes).unwrap()
        });
    }
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                serve(&parent);
                thread::spawn(move || {
                    for size in (0..20_000).step_by(171) {
                        let bytes = ByteBuf::from(pattern(size, size));
                        assert!(parent.call::<ByteBuf>("echo twice", &bytes).unwrap() == bytes);
                    }
                    parent.emit("done", ()).unwrap();
                });
            })
            .unwrap();
        let done = common::inbox::<()>(&worker, "done");
        serve(&worker);
        thread::scope(|scope| {
            for thread in 0..3 {
                let worker = &worker;
                scope.spawn(move || {
                    for size in (thread..20_000).step_by(173) {
                        let bytes = ByteBuf::from(pattern(size, size));
                        assert!(worker.call::<ByteBuf>("echo twice", &bytes).unwrap() == bytes);
                    }
                });
            }
        });
        common::next(&done);
    });
}

/// Many answers at once, towards an end that is busy asking.
#[test]
fn of_answers() {
    within(LIMIT, || {
        let worker = Builder::new()
            .ring_capacity(SMALL_RING)
            .fork(|parent| {
                parent.serve("echo", |bytes: ByteBuf| bytes);
            })
            .unwrap();
        let calls: Vec<_> = (0..2000)
            .map(|number| {
                let bytes = ByteBuf::from(pattern(number, number % 10 * 1000));
                worker.start::<ByteBuf>("echo", bytes).unwrap()
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert!(call.wait().unwrap() == pattern(number, number % 10 * 1000));
        }
    });
}
