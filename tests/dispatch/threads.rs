//! Threads come and go, pairs stay. The thread that forked a worker, waited for it, or registered
//! its handlers means nothing to the pair once it has ended.

use std::collections::VecDeque;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::common::{
    self, Held, LIMIT, alone, at_once, eventually, is_gone, program, role, serve_parent, within,
};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Coprocess, Pending, WaitStrategy};

#[test]
fn worker_program() {
    match role().as_deref() {
        None => {}
        Some("plain") => serve_parent(plain),
        Some(other) => unreachable!("{other}"),
    }
}

fn plain(parent: Coprocess) {
    parent.serve("double", |x: u64| x * 2).serve("echo", |bytes: ByteBuf| bytes);
    let end = parent.downgrade();
    parent
        .serve("call back", move |x: u64| end.upgrade().unwrap().call::<u64>("triple", x).unwrap());
    let end = parent.downgrade();
    parent.listen("emit back", move |x: u64| end.upgrade().unwrap().emit("number", x).unwrap());
}

/// A pair on its way from thread to thread.
struct Baton {
    co: Coprocess,
    /// What the last thread has asked and not waited for, and what it asked for.
    asked: Option<(Pending<u64>, u64)>,
    emitted: u64,
    received: Arc<AtomicU64>,
}

impl Baton {
    /// Makes a baton, in a thread that will end right after.
    fn begin(number: u64) -> Baton {
        let strategy = [WaitStrategy::Adaptive, WaitStrategy::Block][number as usize % 2];
        let builder = common::patient().ring_capacity(common::SMALL_RING).wait(strategy);
        let co = if number.is_multiple_of(3) {
            builder.spawn(program!("plain"))
        } else {
            builder.fork(plain)
        }
        .unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let count = received.clone();
        co.serve("triple", |x: u64| x * 3).listen("number", move |x: u64| {
            count.fetch_add(x, Ordering::SeqCst);
        });
        Baton { co, asked: None, emitted: 0, received }
    }

    /// Takes the turn of one thread.
    fn turn(mut self, number: u64) -> Baton {
        if let Some((asked, number)) = self.asked.take() {
            assert_eq!(asked.wait().unwrap(), number * 2);
        }
        assert_eq!(self.co.call::<u64>("double", number).unwrap(), number * 2);
        assert_eq!(self.co.call::<u64>("call back", number).unwrap(), number * 3);
        if number.is_multiple_of(4) {
            let bytes = common::pattern(number as usize, 30_000);
            assert!(self.co.call::<ByteBuf>("echo", Bytes::new(&bytes)).unwrap() == bytes);
        }
        self.co.emit("emit back", number).unwrap();
        self.emitted += number;
        self.asked = Some((self.co.start("double", number).unwrap(), number));
        self
    }

    fn end(self) {
        eventually("all events have come back", || {
            self.received.load(Ordering::SeqCst) == self.emitted
        });
        assert!(at_once(|| self.co.close()).unwrap().unwrap().success());
    }
}

/// Passes a pair around a pool whose threads each do one thing and end.
fn pass_around() {
    const PAIRS: u64 = 6;
    const TURNS: u64 = 40;
    let batons: Mutex<VecDeque<Baton>> = Mutex::default();
    for number in 0..PAIRS {
        // The thread has ended before any other uses the pair.
        let begun = thread::spawn(move || Baton::begin(number).turn(number)).join().unwrap();
        batons.lock().unwrap().push_back(begun);
    }
    for round in 0..TURNS {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let baton = batons.lock().unwrap().pop_front().unwrap();
                    let baton = baton.turn(round);
                    batons.lock().unwrap().push_back(baton);
                });
            }
        });
    }
    for baton in batons.into_inner().unwrap() {
        assert!(baton.co.is_connected());
        thread::spawn(|| baton.end()).join().unwrap();
    }
}

#[test]
fn of_a_parent() {
    within(LIMIT, || {
        alone!({
            let before = Held::now();
            for _ in 0..3 {
                pass_around();
                before.again("a pool of threads");
            }
        });
    });
}

/// The same within a worker, one of whose own threads was the first to attach.
#[test]
fn of_a_worker() {
    within(LIMIT, || {
        let worker = common::patient()
            .fork(|parent| {
                thread::spawn(move || {
                    // The thread that registers ends at once.
                    parent.serve("pass around", |()| thread::spawn(pass_around).join().is_ok());
                })
                .join()
                .unwrap();
            })
            .unwrap();
        assert!(worker.call::<bool>("pass around", ()).unwrap());
        assert!(worker.close().unwrap().unwrap().success());
    });
}

/// Many at once that fork, use the pair a little, and let it go, with the thread or before it.
#[test]
fn that_fork_and_end() {
    within(LIMIT, || {
        alone!({
            let before = Held::now();
            for round in 0..5_u64 {
                let left: Vec<Coprocess> = thread::scope(|scope| {
                    let threads: Vec<_> = (0..12_u64)
                        .map(|number| {
                            scope.spawn(move || {
                                let co = common::patient().fork(plain).unwrap();
                                assert_eq!(co.call::<u64>("double", number).unwrap(), number * 2);
                                match number % 3 {
                                    0 => assert!(co.close().unwrap().unwrap().success()),
                                    1 => drop(co.start::<u64>("double", number).unwrap()),
                                    _ => return Some(co),
                                }
                                None
                            })
                        })
                        .collect();
                    threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
                });
                assert_eq!(left.len(), 4);
                let pids: Vec<u32> = left.iter().map(Coprocess::peer_id).collect();
                assert!(pids.iter().all(|pid| !is_gone(*pid) && *pid != process::id()));
                for co in &left {
                    assert_eq!(co.call::<u64>("double", round).unwrap(), round * 2);
                }
                // In a thread of their own, whose end is that of the pairs.
                thread::spawn(move || drop(left)).join().unwrap();
                at_once(|| {
                    eventually("the workers have ended", || pids.iter().all(|pid| is_gone(*pid)))
                });
                before.again("many threads");
            }
        });
    });
}
