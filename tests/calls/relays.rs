//! Relays: handlers of one pair that call through another, while handlers of that one do the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    LIMIT, Random, SMALL_RING, assert_matches, at_once, eventually, inbox, next, seed, within,
};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, Reply, WaitStrategy};

/// Doubles; and calls `other.double` as often as it is told, on so many threads.
fn doubler(parent: Coprocess) {
    parent.serve("double", |n: u64| n * 2);
    let weak = parent.downgrade();
    parent.serve("go", move |(threads, calls): (u64, u64)| {
        for _ in 0..threads {
            let weak = weak.clone();
            thread::spawn(move || {
                let parent = weak.upgrade().unwrap();
                for n in 0..calls {
                    assert_eq!(parent.call::<u64>("other.double", n).unwrap(), 2 * n);
                }
                parent.emit("done", calls).unwrap();
            });
        }
    });
}

/// Serves `other.name` at the parent's end of `from` by `name` of the worker behind `to`.
fn relay(from: &Coprocess, to: &Coprocess, name: &'static str) {
    let to = to.downgrade();
    from.try_serve(&format!("other.{name}"), move |n: u64| {
        to.upgrade().ok_or(Error::Closed)?.call::<u64>(name, n)
    });
}

/// Relays a method, with no thread that waits.
fn relay_later(from: &Coprocess, to: &Coprocess, name: &'static str) {
    let to = to.downgrade();
    from.serve_deferred(&format!("other.{name}"), move |n: u64, reply: Reply<u64>| {
        let answer = |result: Result<u64, Error>| match result {
            Ok(doubled) => reply.send(doubled).unwrap(),
            Err(error) => reply.fail(error).unwrap(),
        };
        to.upgrade().unwrap().call_with(name, n, answer).unwrap();
    });
}

fn relayed_both_ways(threads: u64, calls: u64, relay: fn(&Coprocess, &Coprocess, &'static str)) {
    within(LIMIT, move || {
        let pair = [coprocess::fork(doubler).unwrap(), coprocess::fork(doubler).unwrap()];
        let done = pair.each_ref().map(|co| inbox::<u64>(co, "done"));
        relay(&pair[0], &pair[1], "double");
        relay(&pair[1], &pair[0], "double");
        for co in &pair {
            co.call::<()>("go", (threads, calls)).unwrap();
        }
        for done in &done {
            for _ in 0..threads {
                assert_eq!(next(done), calls);
            }
        }
        for co in &pair {
            assert!(co.close().unwrap().unwrap().success());
        }
    });
}

#[test]
fn both_ways_at_once() {
    relayed_both_ways(1, 2000, relay);
}

/// About as many calls at once as handlers may nest.
#[test]
fn many_at_once() {
    relayed_both_ways(50, 20, relay);
}

/// More calls at once than handlers may nest: answered later, none of them fails.
#[test]
fn answered_later_any_number_at_once() {
    relayed_both_ways(200, 20, relay_later);
}

/// Pairs, and a handler of each that meets the others before it calls through the next pair. All
/// leads are held by then, so the waits cross.
struct Crossed<const N: usize> {
    pairs: [Coprocess; N],
    results: [mpsc::Receiver<Result<u64, Error>>; N],
}

/// Makes `N` pairs whose handlers each do `call`: with the next pair, and with the number of their
/// own.
fn crossed<const N: usize>(
    builder: &Builder,
    worker: fn(Coprocess),
    call: fn(&Coprocess, usize) -> Result<u64, Error>,
) -> Crossed<N> {
    let pairs: [Coprocess; N] = std::array::from_fn(|_| builder.clone().fork(worker).unwrap());
    let met = Arc::new(Barrier::new(N));
    let results = std::array::from_fn(|own: usize| {
        let (sender, results) = mpsc::channel();
        let (other, met) = (pairs[(own + 1) % N].downgrade(), met.clone());
        pairs[own].listen("cross", move |()| {
            met.wait();
            let other = other.upgrade().unwrap();
            sender.send(call(&other, own)).unwrap();
        });
        results
    });
    for co in &pairs {
        co.emit("begin", ()).unwrap();
    }
    Crossed { pairs, results }
}

impl<const N: usize> Crossed<N> {
    fn next(&self) -> [u64; N] {
        self.results.each_ref().map(|results| next(results).unwrap())
    }
}

/// Has the parent's handler called; serves what the handlers of these tests call.
fn crosser(parent: Coprocess) {
    let weak = parent.downgrade();
    parent.listen("begin", move |()| weak.upgrade().unwrap().emit("cross", ()).unwrap());
    parent.serve("double", |n: u64| 2 * n);
    parent.serve_deferred("never", |(): (), reply: Reply<u64>| {
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(3600));
            reply.send(0)
        });
    });
    parent.listen("end", |()| std::process::exit(3));
    let weak = parent.downgrade();
    // Its answer depends on a call that only the thread can serve which leads the other end.
    parent.serve("by way of the parent", move |n: u64| {
        weak.upgrade().unwrap().call::<u64>("add one", n).unwrap()
    });
    let weak = parent.downgrade();
    parent.serve("after events", move |n: u64| {
        let parent = weak.upgrade().unwrap();
        for n in 1..=n {
            parent.emit("event", n).unwrap();
        }
        n
    });
    let weak = parent.downgrade();
    parent.serve("large", move |data: ByteBuf| {
        let parent = weak.upgrade().unwrap();
        for _ in 0..4 {
            parent.emit("large", &data).unwrap();
        }
        data.len() as u64
    });
}

#[test]
fn a_cross_wait_ends_with_both_answers() {
    within(LIMIT, || {
        for strategy in [WaitStrategy::Adaptive, WaitStrategy::Spin, WaitStrategy::Block] {
            let builder = Builder::new().wait(strategy);
            assert_eq!(
                crossed(&builder, crosser, |other, own| other.call("double", own as u64)).next(),
                [0, 2]
            );
        }
        assert_eq!(
            crossed(&Builder::new(), crosser, |other, own| other.call("double", own as u64)).next(),
            [0, 2, 4, 6, 8]
        );
    });
}

/// The workers' handlers call the parent, whose handlers must be served by the threads that wait.
#[test]
fn handlers_that_call_back_are_served_in_a_cross_wait() {
    within(LIMIT, || {
        let call = |other: &Coprocess, own| {
            other.serve("add one", |n: u64| n + 1);
            other.call("by way of the parent", own as u64)
        };
        // A handler that looks again and again waits no less.
        let short = |other: &Coprocess, own| {
            other.serve("add one", |n: u64| n + 1);
            if own > 0 {
                return other.call("by way of the parent", own as u64);
            }
            let mut pending = other.start("by way of the parent", own as u64)?;
            loop {
                if let Some(result) = pending.wait_for(Duration::from_micros(10))? {
                    return Ok(result);
                }
            }
        };
        assert_eq!(at_once(|| crossed(&Builder::new(), crosser, short).next()), [1, 2]);
        assert_eq!(at_once(|| crossed(&Builder::new(), crosser, short).next()), [1, 2, 3]);
        assert_eq!(crossed(&Builder::new(), crosser, call).next(), [1, 2]);
        assert_eq!(crossed(&Builder::new(), crosser, call).next(), [1, 2, 3, 4, 5]);
    });
}

/// Calls go to and fro through both pairs, as deep as is told, from both ends at once.
#[test]
fn calls_that_go_to_and_fro() {
    fn worker(parent: Coprocess) {
        let weak = parent.downgrade();
        parent.serve("down", move |n: u64| -> u64 {
            if n == 0 {
                0
            } else {
                1 + weak.upgrade().unwrap().call::<u64>("other.down", n - 1).unwrap()
            }
        });
        let weak = parent.downgrade();
        parent.serve("go", move |calls: u64| {
            let weak = weak.clone();
            thread::spawn(move || {
                let parent = weak.upgrade().unwrap();
                for n in 0..calls {
                    let depth = n % 12;
                    assert_eq!(parent.call::<u64>("other.down", depth).unwrap(), depth);
                }
                parent.emit("done", calls).unwrap();
            });
        });
    }
    within(LIMIT, || {
        let pair = [coprocess::fork(worker).unwrap(), coprocess::fork(worker).unwrap()];
        let done = pair.each_ref().map(|co| inbox::<u64>(co, "done"));
        relay(&pair[0], &pair[1], "down");
        relay(&pair[1], &pair[0], "down");
        for co in &pair {
            co.call::<()>("go", 100_u64).unwrap();
        }
        for done in &done {
            assert_eq!(next(done), 100);
        }
    });
}

/// A chain that nests nearly as deep as handlers may, from both ends at once.
#[test]
fn a_deep_chain_to_and_fro() {
    const DEPTH: u64 = 40;

    fn worker(parent: Coprocess) {
        let weak = parent.downgrade();
        parent.try_serve("down", move |n: u64| -> Result<u64, Error> {
            Ok(if n == 0 {
                0
            } else {
                1 + weak.upgrade().ok_or(Error::Closed)?.call::<u64>("other.down", n - 1)?
            })
        });
    }
    within(LIMIT, || {
        let pair = [coprocess::fork(worker).unwrap(), coprocess::fork(worker).unwrap()];
        relay(&pair[0], &pair[1], "down");
        relay(&pair[1], &pair[0], "down");
        for _ in 0..40 {
            let started = pair.each_ref().map(|co| co.start::<u64>("down", DEPTH).unwrap());
            for pending in started {
                assert_eq!(pending.wait().unwrap(), DEPTH);
            }
        }
    });
}

/// Events that were sent before an answer are handled before the answer is received, however many
/// there are.
#[test]
fn events_come_before_the_answer_behind_them() {
    const EVENTS: u64 = 50_000;
    static SEEN: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    within(LIMIT, || {
        let pairs: Crossed<2> = crossed(&Builder::new(), crosser, |other, own| {
            other.listen("event", move |n: u64| SEEN[own].store(n, Ordering::Relaxed));
            assert_eq!(other.call::<u64>("after events", EVENTS)?, EVENTS);
            Ok(SEEN[own].load(Ordering::Relaxed))
        });
        assert_eq!(pairs.next(), [EVENTS, EVENTS]);
    });
}

/// Messages that have no room in the ring: neither worker waits for room for ever.
#[test]
fn messages_larger_than_the_ring() {
    within(LIMIT, || {
        let pairs: Crossed<2> =
            crossed(&Builder::new().ring_capacity(SMALL_RING), crosser, |other, _| {
                let data = ByteBuf::from(vec![7; 16 * SMALL_RING]);
                other.call("large", &data)
            });
        let length = 16 * SMALL_RING as u64;
        assert_eq!(pairs.next(), [length, length]);
    });
}

/// A deadline ends a cross wait, and so does the end of one of the workers.
#[test]
fn deadlines_and_ends_hold() {
    within(LIMIT, || {
        let pairs: Crossed<2> = crossed(&Builder::new(), crosser, |other, _| {
            let start = Instant::now();
            let result = other.call_timeout::<u64>("never", (), Duration::from_millis(100));
            let took = start.elapsed();
            assert!(
                took >= Duration::from_millis(100) && took < Duration::from_secs(4),
                "took {took:?}"
            );
            result
        });
        for results in &pairs.results {
            assert_matches!(next(results), Err(Error::Timeout));
        }
        let pairs: Crossed<2> = crossed(&Builder::new(), crosser, |other, own| {
            if own == 0 {
                other.emit("end", ())?;
            }
            other.call("never", ())
        });
        assert_matches!(
            next(&pairs.results[0]),
            Err(Error::Disconnected(coprocess::Reason::Exited(3)))
        );
        pairs.pairs[0].close().unwrap();
        assert_matches!(next(&pairs.results[1]), Err(Error::Closed));
    });
}

/// Three workers in a ring of relays call each other, to either side, through handlers that relay
/// further. One of them is killed on the way: the others go on.
#[test]
fn a_ring_of_relays_survives_the_death_of_one() {
    const WORKERS: usize = 3;
    const THREADS: u64 = 2;

    fn worker(parent: Coprocess) {
        parent.serve("double", |n: u64| n * 2);
        let weak = parent.downgrade();
        // On to the next one, and back by it.
        parent.serve("further", move |n: u64| {
            weak.upgrade()
                .map_or(Err(Error::Closed), |co| co.call::<u64>("next.double", n))
                .unwrap_or(u64::MAX)
        });
        let weak = parent.downgrade();
        parent.serve("go", move |(seed, millis): (u64, u64)| {
            for thread in 0..THREADS {
                let weak = weak.clone();
                thread::spawn(move || {
                    let random = Random::new(seed + thread);
                    let parent = weak.upgrade().unwrap();
                    let end = Instant::now() + Duration::from_millis(millis);
                    let (mut right, mut failed) = (0_u64, 0_u64);
                    while Instant::now() < end {
                        let method =
                            ["next.double", "previous.double", "next.further", "previous.further"]
                                [random.below(4) as usize];
                        match parent.call::<u64>(method, right) {
                            Ok(doubled) if doubled == 2 * right => right += 1,
                            Ok(u64::MAX)
                            | Err(Error::Remote { .. } | Error::MethodNotFound { .. }) => {
                                failed += 1
                            }
                            other => panic!("{method}: {other:?}"),
                        }
                    }
                    parent.emit("done", (right, failed)).unwrap();
                });
            }
        });
    }

    static RELAYED: AtomicU64 = AtomicU64::new(0);
    within(LIMIT, || {
        let seed = seed("a_ring_of_relays_survives_the_death_of_one");
        let ring: Vec<Coprocess> = (0..WORKERS).map(|_| coprocess::fork(worker).unwrap()).collect();
        let done: Vec<_> = ring.iter().map(|co| inbox::<(u64, u64)>(co, "done")).collect();
        for (n, co) in ring.iter().enumerate() {
            for (side, to) in
                [("next", (n + 1) % WORKERS), ("previous", (n + WORKERS - 1) % WORKERS)]
            {
                for method in ["double", "further"] {
                    let to = ring[to].downgrade();
                    co.try_serve(&format!("{side}.{method}"), move |n: u64| {
                        RELAYED.fetch_add(1, Ordering::Relaxed);
                        to.upgrade().ok_or(Error::Closed)?.call::<u64>(method, n)
                    });
                }
            }
        }
        for (n, co) in ring.iter().enumerate() {
            co.call::<()>("go", (seed + 100 * n as u64, 5000_u64)).unwrap();
        }
        // In the midst of it.
        eventually("calls are relayed", || RELAYED.load(Ordering::Relaxed) > 1000);
        ring[1].kill().unwrap();
        for survivor in [0, 2] {
            for _ in 0..THREADS {
                let (right, failed) = next(&done[survivor]);
                assert!(right > 0 && failed > 0, "{right} right, {failed} failed");
            }
        }
        assert!(ring[0].close().unwrap().unwrap().success());
        assert!(ring[2].close().unwrap().unwrap().success());
    });
}
