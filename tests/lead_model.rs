//! Loom models of the hand-over of the lead: no message and no wake-up is lost, whoever leaves when; and of the latch of the inbox.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release --test lead_model`. The files under test are the library's own, compiled into this
//! test over loom's locks and atomics; the ring and its bells are those of `coprocess-ring`, likewise over loom.
#![cfg(loom)]
#![allow(unsafe_code, reason = "loom's cells")]
#![allow(dead_code, reason = "the models use a part of the files they include")]

#[path = "../src/latch.rs"]
mod latch;
#[path = "../src/lead.rs"]
mod lead;
#[path = "../src/parker.rs"]
mod parker;

/// Loom's, under the names of the library's `sync`.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread::yield_now;

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }

    #[derive(Debug, Default)]
    pub(crate) struct Backoff;

    impl Backoff {
        pub(crate) fn pause(&mut self) {
            yield_now();
        }
    }

    /// Spinning and yielding change nothing but how much time passes.
    #[derive(Debug)]
    pub(crate) struct Spin;

    impl Spin {
        pub(crate) fn spin(&self, _deadline: Option<std::time::Instant>, mut done: impl FnMut() -> bool) -> bool {
            done()
        }
        pub(crate) fn slept(&self, _took: std::time::Duration) {}
    }

    /// The models do not nest: nobody asks whose the lead is.
    pub(crate) fn thread_token() -> usize {
        1
    }
}

use coprocess_ring::{Progress, Receiver, Region, Sender, Side, Sleeper, Watch};
use latch::Latch;
use lead::{Lead, Turn};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use parker::Parker;

/// As much of an end as the hand-over needs: a lead, a watch, an inbox, and waiters that are told when their message came.
struct End {
    lead: Lead,
    watch: Watch,
    inbox: Mutex<Receiver>,
    /// For each waiter: whether its message has come.
    answered: Vec<AtomicBool>,
    handled: AtomicUsize,
    over: AtomicBool,
}

fn pair(waiters: usize) -> (Arc<End>, Sender) {
    let region = Region::heap(8);
    let end = End {
        lead: Lead::new(sync::Spin),
        watch: Watch::new(&region, Side::Worker),
        inbox: Mutex::new(Receiver::new(&region, Side::Worker, 1024)),
        answered: (0..waiters).map(|_| AtomicBool::new(false)).collect(),
        handled: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    (Arc::new(end), Sender::new(&region, Side::Parent))
}

fn send(sender: &mut Sender, to: u64) {
    assert_eq!(sender.send(&[to], 8).expect("an honest peer"), Progress::Sent);
}

impl End {
    fn has_something(&self) -> bool {
        self.watch.has_come(self.inbox.lock().unwrap().next())
    }

    /// Receives one message, as the leader. Returns whether there was one.
    fn receive(&self, parkers: &[Arc<Parker>]) -> bool {
        let mut message = Vec::new();
        let received = self.inbox.lock().unwrap().receive(&mut message).expect("an honest peer");
        if received.is_none() {
            return false;
        }
        self.handled.fetch_add(1, Ordering::SeqCst);
        let to = message[0] as usize;
        if let Some(answered) = self.answered.get(to) {
            answered.store(true, Ordering::SeqCst);
            parkers[to].notify();
        }
        true
    }

    /// Waits for the message to `me`, as a call does.
    fn call(&self, me: usize, parkers: &[Arc<Parker>]) {
        let done = || self.answered[me].load(Ordering::SeqCst);
        if !self.lead.try_enter(&self.watch) && self.lead.wait_turn(&self.watch, &parkers[me], None, done) != Turn::Lead {
            assert!(done());
            return;
        }
        while !done() {
            if !self.receive(parkers) && !done() {
                self.watch.arm(Sleeper::Guest);
                if !self.has_something() {
                    self.watch.sleep(Sleeper::Guest, None).expect("a futex");
                }
                self.watch.disarm();
            }
        }
        self.lead.leave(&self.watch, || self.has_something());
    }

    /// Looks after the ring until `messages` were handled, as the resident does.
    fn reside(&self, messages: usize, parkers: &[Arc<Parker>]) {
        let parker = Parker::new();
        assert_eq!(self.lead.wait_turn(&self.watch, &parker, None, || false), Turn::Lead);
        let over = || self.handled.load(Ordering::SeqCst) >= messages || self.over.load(Ordering::SeqCst);
        loop {
            while self.receive(parkers) {}
            if over() {
                break;
            }
            self.watch.arm(Sleeper::Resident);
            if self.has_something() || over() {
                self.watch.disarm();
                continue;
            }
            self.lead.doze(&self.watch, None, &parker, over).expect("a futex");
            self.watch.disarm();
        }
        self.lead.leave(&self.watch, || self.has_something());
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Two threads wait, each for its own message: whoever leads delivers the other's, or hands the lead on.
#[test]
fn two_waiters() {
    check(|| {
        let (end, mut sender) = pair(2);
        let parkers: Arc<Vec<Arc<Parker>>> = Arc::new((0..2).map(|_| Parker::new()).collect());
        let waiter = {
            let (end, parkers) = (end.clone(), parkers.clone());
            thread::spawn(move || end.call(1, &parkers))
        };
        let peer = thread::spawn(move || {
            send(&mut sender, 1);
            send(&mut sender, 0);
        });
        end.call(0, &parkers);
        waiter.join().unwrap();
        peer.join().unwrap();
    });
}

/// The resident dozes while a caller takes the lead from it and gives it back; an event that comes at any moment is handled.
#[test]
fn a_caller_and_the_resident() {
    check(|| {
        let (end, mut sender) = pair(1);
        let parkers: Arc<Vec<Arc<Parker>>> = Arc::new(vec![Parker::new()]);
        let resident = {
            let (end, parkers) = (end.clone(), parkers.clone());
            thread::spawn(move || end.reside(2, &parkers))
        };
        let peer = thread::spawn(move || {
            send(&mut sender, 0);
            send(&mut sender, 99);
        });
        end.call(0, &parkers);
        if end.handled.load(Ordering::SeqCst) >= 2 {
            // Nothing will come any more: whoever makes the resident's reason to stay go away wakes it.
            end.lead.wake_resident(&end.watch);
        }
        resident.join().unwrap();
        peer.join().unwrap();
    });
}

/// Whoever wakes the resident leaves the mark of a guest alone, which has the watch meanwhile.
#[test]
fn the_resident_is_woken_while_a_guest_sleeps() {
    check(|| {
        let (end, mut sender) = pair(1);
        let parkers: Arc<Vec<Arc<Parker>>> = Arc::new(vec![Parker::new()]);
        let resident = {
            let (end, parkers) = (end.clone(), parkers.clone());
            thread::spawn(move || end.reside(1, &parkers))
        };
        let peer = {
            let end = end.clone();
            thread::spawn(move || {
                end.lead.wake_resident(&end.watch);
                send(&mut sender, 0);
            })
        };
        end.call(0, &parkers);
        end.lead.wake_resident(&end.watch);
        resident.join().unwrap();
        peer.join().unwrap();
    });
}

/// A change of state reaches a resident that is anywhere on its way into sleep.
#[test]
fn the_resident_is_told_that_it_is_over() {
    check(|| {
        let (end, _sender) = pair(0);
        let resident = {
            let end = end.clone();
            thread::spawn(move || end.reside(usize::MAX, &[]))
        };
        end.over.store(true, Ordering::SeqCst);
        end.lead.wake_resident(&end.watch);
        resident.join().unwrap();
    });
}

/// The models bite: a caller that gives the lead back without a look at the ring loses what came before the resident's mark was up.
#[test]
fn leaving_without_a_look_at_the_ring_is_caught() {
    caught("leaving_without_a_look_at_the_ring_is_caught", || {
        let (end, mut sender) = pair(1);
        let parkers: Arc<Vec<Arc<Parker>>> = Arc::new(vec![Parker::new()]);
        let resident = {
            let (end, parkers) = (end.clone(), parkers.clone());
            thread::spawn(move || end.reside(1, &parkers))
        };
        let peer = thread::spawn(move || send(&mut sender, 99));
        if end.lead.try_enter(&end.watch) {
            end.lead.leave(&end.watch, || false);
        }
        resident.join().unwrap();
        peer.join().unwrap();
    });
}

/// The models bite: a resident that does not look at its state once more after it has announced its sleep is not told that it is over.
#[test]
fn sleeping_without_a_second_look_is_caught() {
    caught("sleeping_without_a_second_look_is_caught", || {
        let (end, _sender) = pair(0);
        let resident = {
            let end = end.clone();
            thread::spawn(move || {
                let parker = Parker::new();
                assert!(end.lead.try_enter(&end.watch));
                end.watch.arm(Sleeper::Resident);
                if !end.over.load(Ordering::SeqCst) {
                    end.lead.doze(&end.watch, None, &parker, || false).expect("a futex");
                }
            })
        };
        end.over.store(true, Ordering::SeqCst);
        end.lead.wake_resident(&end.watch);
        resident.join().unwrap();
    });
}

/// What a lock protects.
struct Count(UnsafeCell<u32>);

// SAFETY: it is used by one thread at a time; loom finds out if that is not so.
unsafe impl Sync for Count {}

impl Count {
    fn add(&self) {
        // SAFETY: as above.
        self.0.with_mut(|count| unsafe { *count += 1 });
    }
}

/// One thread takes the latch again and again, giving the others time, as the one that dispatches does.
#[test]
fn a_latch_is_for_one_at_a_time() {
    check(|| {
        let shared = Arc::new((Latch::new(), Count(UnsafeCell::new(0))));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.0.take();
                shared.1.add();
                shared.0.let_go();
            })
        };
        for _ in 0..2 {
            if shared.0.is_wanted() {
                shared.0.let_others();
            }
            shared.0.take();
            shared.1.add();
            shared.0.let_go();
        }
        other.join().unwrap();
        shared.1.add();
    });
}

/// By hand: what `Latch` does, but for the order in which it lets go.
fn latch_by_hand(let_go: Ordering) {
    let shared = Arc::new((AtomicBool::new(false), Count(UnsafeCell::new(0))));
    let once = move |(taken, count): &(AtomicBool, Count)| {
        while taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            thread::yield_now();
        }
        count.add();
        taken.store(false, let_go);
    };
    let other = {
        let shared = shared.clone();
        thread::spawn(move || once(&shared))
    };
    once(&shared);
    other.join().unwrap();
}

#[test]
fn a_latch_by_hand_is_for_one_at_a_time() {
    check(|| latch_by_hand(Ordering::Release));
}

/// The models bite: the next holder does not see what the last one did.
#[test]
#[should_panic(expected = "Causality violation")]
fn letting_go_of_a_latch_without_release_is_caught() {
    check(|| latch_by_hand(Ordering::Relaxed));
}

/// Runs a model that must deadlock, in a process of its own: loom's report of a deadlock aborts.
fn caught(test: &str, model: impl Fn() + Sync + Send + 'static) {
    if std::env::var_os("LEAD_MODEL").is_some() {
        return check(model);
    }
    let program = std::env::current_exe().expect("a program");
    let output =
        std::process::Command::new(program).args([test, "--exact", "--nocapture"]).env("LEAD_MODEL", "1").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("deadlock;"), "the broken variant was not caught: {text}");
}
