//! The end of a pair at any moment. Threads of both processes call, emit, wait, dispatch and
//! register while the pair is closed: from any thread, from inside handlers, by either end, several
//! times, by a kill, or by handles that are dropped in any order. Every thread learns of the end at
//! once, and nothing is left over.
//!
//! At random: `COPROCESS_SEED` repeats a run that has failed, as far as its threads can be
//! repeated. `COPROCESS_ROUNDS` makes the run longer.

use std::future::Future;
use std::pin::Pin;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    Held, LIMIT, Random, SMALL_RING, alone, assert_matches, at_once, eventually, is_gone, rounds,
    within,
};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Builder, Coprocess, Error, Reason, Reply, WaitStrategy};

/// Something that is dropped at some time, and may hold anything.
type Bag = Mutex<Vec<Box<dyn Send>>>;

/// No worker is to need the signal that comes after this, nor on a loaded machine to get it.
const PATIENCE: Duration = Duration::from_secs(20);

fn worker(parent: Coprocess) {
    let held: Mutex<Vec<Reply<()>>> = Mutex::default();
    parent
        .serve("double", |x: u64| x * 2)
        .serve("echo", |bytes: ByteBuf| bytes)
        .serve_deferred("never", move |(), reply: Reply<()>| held.lock().unwrap().push(reply))
        .serve_deferred("later", |x: u64, reply: Reply<u64>| {
            drop(thread::spawn(move || reply.send(x * 2)))
        })
        .listen("number", |_: (u64, ByteBuf)| ())
        .listen("exit", |()| process::exit(0));
    let end = parent.downgrade();
    parent.listen("close", move |()| drop(end.upgrade().map(|end| end.close())));
    let end = parent.clone();
    parent.listen("close in a thread", move |()| {
        let end = end.clone();
        thread::spawn(move || end.close());
    });
    let end = parent.clone();
    parent.listen("ask to close", move |()| drop(end.emit("close here", ())));
    let end = parent.clone();
    parent.serve("ask to be closed", move |()| drop(end.call::<()>("close here", ())));
    for chatter in 0..2_u64 {
        let end = parent.clone();
        // Until the pair is over.
        thread::spawn(move || {
            let mut number = 0;
            while match chatter {
                0 => end.emit("number", (number, Bytes::new(&[1; 200]))).is_ok(),
                _ => {
                    matches!(end.call::<u64>("double", number), Ok(double) if double == number * 2)
                }
            } {
                number += 1;
            }
        });
    }
}

/// What happens in the parent of one pair.
struct Scene {
    bag: Bag,
    /// Callbacks that will have been called, and that were.
    promised: AtomicU64,
    called: Arc<AtomicU64>,
    /// The threads are to stop, although the pair goes on.
    stop: AtomicBool,
    /// Whether a thread may wait for something that nothing but the end of the pair ends.
    may_wait_for_the_end: bool,
}

impl Scene {
    /// Does something with the pair.
    fn act(self: &Arc<Scene>, co: &Coprocess, random: &mut Random) -> coprocess::Result<()> {
        let number = random.below(1 << 40);
        let soon = Duration::from_micros(random.below(2000));
        match random.below(if self.may_wait_for_the_end { 18 } else { 16 }) {
            0 => assert_eq!(co.call::<u64>("double", number)?, number * 2),
            1 => assert_eq!(co.call_timeout::<u64>("later", number, soon)?, number * 2),
            2 => assert_eq!(co.start::<u64>("later", number)?.wait()?, number * 2),
            3 => drop(co.start::<u64>("double", number)?),
            4 => {
                let mut call = co.start::<u64>("later", number)?;
                let polled = Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop()));
                if polled.is_pending() {
                    self.bag.lock().unwrap().push(Box::new(call));
                }
            }
            5 => {
                let called = self.called.clone();
                let count = move |_: coprocess::Result<u64>| {
                    called.fetch_add(1, Ordering::SeqCst);
                };
                co.call_with("double", number, count)?;
                self.promised.fetch_add(1, Ordering::SeqCst);
            }
            6 => co.emit("number", (number, Bytes::new(&[7; 100])))?,
            7 => co.emit("number", (number, Bytes::new(&[7; 20_000])))?,
            8 => co.try_emit("number", (number, Bytes::new(&[7; 1000])))?,
            9 => co.emit_timeout("number", (number, Bytes::new(&[7; 3000])), soon)?,
            10 => drop(co.poll()?),
            11 => drop(co.listen("other", |()| ()).serve("other", |x: u64| x).unlisten("other")),
            12 => drop((co.stats(), co.is_connected(), format!("{co:?}"))),
            13 => self
                .bag
                .lock()
                .unwrap()
                .push(Box::new((co.downgrade(), co.downgrade().upgrade().ok_or(Error::Closed)?))),
            14 => assert_eq!(co.call::<ByteBuf>("echo", Bytes::new(&[3; 60_000]))?.len(), 60_000),
            15 => self.bag.lock().unwrap().push(Box::new(co.start::<()>("never", ())?)),
            16 => co.call::<()>("never", ())?,
            _ => {
                co.run()?;
                return Err(Error::Closed);
            }
        }
        Ok(())
    }

    /// Acts until the pair is over.
    fn act_on(self: &Arc<Scene>, co: &Coprocess, random: &mut Random) {
        while !self.stop.load(Ordering::SeqCst) {
            match self.act(co, random) {
                Ok(()) | Err(Error::Full | Error::Timeout) => {}
                Err(Error::Closed | Error::Disconnected(_)) => return,
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    fn register(self: &Arc<Scene>, co: &Coprocess, random: &mut Random) {
        let scene = self.clone();
        co.serve("double", |x: u64| x * 2).listen("number", |_: (u64, ByteBuf)| ());
        co.serve_deferred("hold", move |(), reply: Reply<()>| {
            scene.bag.lock().unwrap().push(Box::new(reply))
        });
        // A handle of its own keeps the pair open until a thread closes it.
        let own = (self.may_wait_for_the_end && random.below(2) == 0).then(|| co.clone());
        let end = co.downgrade();
        let close = move || {
            if let Some(end) = own.clone().or_else(|| end.upgrade()) {
                at_once(|| end.close()).unwrap();
            }
        };
        let event = close.clone();
        co.serve("close here", move |()| close()).listen("close here", move |()| event());
    }
}

/// How a pair ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Closed,
    ClosedInAHandler,
    ClosedInACall,
    ClosedByTheWorker,
    ClosedByAThreadOfTheWorker,
    WorkerExits,
    Killed,
}

use Ending::*;

const ENDINGS: [Ending; 7] = [
    Closed,
    ClosedInAHandler,
    ClosedInACall,
    ClosedByTheWorker,
    ClosedByAThreadOfTheWorker,
    WorkerExits,
    Killed,
];

fn end(co: &Coprocess, ending: Ending) {
    // Another thread may have ended the pair before.
    match ending {
        Closed => drop(co.close().unwrap()),
        ClosedInAHandler => drop(co.emit("ask to close", ())),
        ClosedInACall => drop(co.call::<()>("ask to be closed", ())),
        ClosedByTheWorker => drop(co.emit("close", ())),
        ClosedByAThreadOfTheWorker => drop(co.emit("close in a thread", ())),
        WorkerExits => drop(co.emit("exit", ())),
        Killed => co.kill().unwrap(),
    }
}

fn pair(random: &mut Random) -> Coprocess {
    let capacity = random.one_of(&[SMALL_RING, 64 * 1024]);
    let strategy = random.one_of(&[WaitStrategy::Adaptive, WaitStrategy::Block]);
    Builder::new()
        .ring_capacity(capacity)
        .wait(strategy)
        .close_timeout(PATIENCE)
        .fork(worker)
        .unwrap()
}

fn scene(may_wait_for_the_end: bool) -> Arc<Scene> {
    Arc::new(Scene {
        bag: Bag::default(),
        promised: AtomicU64::new(0),
        called: Arc::default(),
        stop: AtomicBool::new(false),
        may_wait_for_the_end,
    })
}

/// Drops what was collected, and `last`, in any order.
fn let_go(scene: &Scene, last: impl Send + 'static, random: &mut Random) {
    let mut bag = std::mem::take(&mut *scene.bag.lock().unwrap());
    bag.push(Box::new(last));
    while !bag.is_empty() {
        let at = random.below(bag.len() as u64) as usize;
        drop(bag.swap_remove(at));
    }
}

/// Starts threads that act, ends the pair after a while in one to three ways at once, and checks
/// what is left.
#[test]
fn while_everybody_is_busy() {
    within(LIMIT, || {
        alone!({
            let before = Held::now();
            let mut random = Random::for_test("closing");
            for _ in 0..rounds(60) {
                let (co, scene) = (pair(&mut random), scene(true));
                if random.below(8) > 0 {
                    scene.register(&co, &mut random);
                }
                let actors: Vec<_> = (0..random.below(6))
                    .map(|_| {
                        let (co, scene, mut random) = (co.clone(), scene.clone(), random.split());
                        thread::spawn(move || scene.act_on(&co, &mut random))
                    })
                    .collect();
                thread::sleep(Duration::from_micros(random.below(3000)));
                let endings: Vec<Ending> =
                    (0..=random.below(3)).map(|_| random.one_of(&ENDINGS)).collect();
                let closes: Vec<_> = endings
                    .iter()
                    .map(|ending| {
                        let (co, ending) = (co.clone(), *ending);
                        thread::spawn(move || end(&co, ending))
                    })
                    .collect();
                at_once(|| {
                    closes.into_iter().for_each(|thread| thread.join().unwrap());
                    // The worker does not ask again if no thread handles the request.
                    let status = co.close().unwrap().unwrap();
                    assert!(
                        status.success() || endings.contains(&Killed),
                        "{endings:?}: {status:?}"
                    );
                    actors.into_iter().for_each(|thread| thread.join().unwrap());
                });
                for _ in 0..10 {
                    match scene.act(&co, &mut random) {
                        Ok(()) | Err(Error::Closed | Error::Disconnected(_)) => {}
                        Err(other) => panic!("{endings:?}: {other:?}"),
                    }
                }
                assert_matches!(co.emit("number", ()), Err(Error::Closed | Error::Disconnected(_)));
                assert!(co.close().unwrap().is_some());
                let (promised, called) =
                    (scene.promised.load(Ordering::SeqCst), scene.called.clone());
                eventually("every callback was called", || {
                    called.load(Ordering::SeqCst) == promised
                });
                let_go(&scene, co, &mut random);
                drop(scene);
                before.again("the end of a pair");
            }
        });
    });
}

/// No thread closes. Handles, weak handles, calls, replies and handlers that hold them are dropped
/// in any order.
#[test]
fn by_letting_go() {
    within(LIMIT, || {
        alone!({
            let before = Held::now();
            let mut random = Random::for_test("closing");
            for _ in 0..rounds(60) {
                let (co, scene) = (pair(&mut random), scene(false));
                let pid = co.peer_id();
                scene.register(&co, &mut random);
                let actors: Vec<_> = (0..random.below(4))
                    .map(|_| {
                        let (co, scene, mut random) = (co.clone(), scene.clone(), random.split());
                        thread::spawn(move || scene.act_on(&co, &mut random))
                    })
                    .collect();
                thread::sleep(Duration::from_micros(random.below(3000)));
                scene.stop.store(true, Ordering::SeqCst);
                let late = (random.below(2) == 0).then(|| co.clone());
                let_go(&scene, co, &mut random);
                at_once(|| actors.into_iter().for_each(|thread| thread.join().unwrap()));
                let_go(&scene, late, &mut random);
                at_once(|| eventually("the worker has ended", || is_gone(pid)));
                let (promised, called) =
                    (scene.promised.load(Ordering::SeqCst), scene.called.clone());
                eventually("every callback was called", || {
                    called.load(Ordering::SeqCst) == promised
                });
                // What the last handlers have put there.
                let_go(&scene, (), &mut random);
                drop(scene);
                before.again("a pair that was let go of");
            }
        });
    });
}

/// The same moment for all: every thread closes, or waits in another way, when the last one is
/// ready.
#[test]
fn by_all_at_once() {
    within(LIMIT, || {
        alone!({
            let before = Held::now();
            for round in 0..rounds(20) {
                let co = Builder::new()
                    .ring_capacity(SMALL_RING)
                    .close_timeout(PATIENCE)
                    .fork(worker)
                    .unwrap();
                let barrier = std::sync::Barrier::new(8);
                thread::scope(|scope| {
                    for thread in 0..8 {
                        let (co, barrier) = (&co, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            match (thread + round) % 4 {
                                0 | 1 => {
                                    let (start, status) =
                                        (Instant::now(), at_once(|| co.close()).unwrap().unwrap());
                                    assert!(
                                        status.success(),
                                        "{status:?} after {:?}",
                                        start.elapsed()
                                    );
                                }
                                2 => assert_matches!(
                                    at_once(|| co.call::<()>("never", ())),
                                    Err(Error::Closed
                                        | Error::Disconnected(Reason::Closed | Reason::Exited(0)))
                                ),
                                _ => at_once(|| co.run()).unwrap(),
                            }
                        });
                    }
                });
                drop(co);
                before.again("closes at the same moment");
            }
        });
    });
}
