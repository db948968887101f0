//! Checks calls in flight, the parker, and the inbox: no answer and no wake-up is lost.
//!
//! For a variant that leaves something out, the model has the code of the file by hand.

use super::{DEADLOCK, NO_PROGRESS, caught, check};
use crate::calls::in_flight::{Completion, Forgotten, InFlight, MAX_IN_FLIGHT, Notify, Outcome};
use crate::sync::parker::Parker;
use crate::sync::spin_lock::SpinLock;
use crate::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering};
use loom::cell::UnsafeCell;
use loom::sync::Condvar;
use loom::sync::atomic::AtomicBool;
use loom::thread;

fn said(text: &str) -> Outcome {
    Outcome::Remote(text.to_owned())
}

fn is(outcome: Option<Outcome>, text: &str) -> bool {
    matches!(outcome, Some(Outcome::Remote(said)) if said == text)
}

/// Waits for an answer that another thread receives.
fn answered(looks: bool) {
    let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
    let in_flight = Arc::new(in_flight);
    let id = in_flight.claim(&mut claimer).expect("space");
    let receiver = {
        let in_flight = in_flight.clone();
        thread::spawn(move || {
            assert!(matches!(in_flight.complete(id, said("yes")), Completion::Done))
        })
    };
    let parker = Parker::new();
    let asked = in_flight.notify(id, Notify::Thread(parker.clone()));
    // If the notice was handed back, the answer is there already, and no thread will notify.
    if asked.is_ok() || !looks {
        parker.wait(None);
    }
    assert!(is(in_flight.take(id), "yes"));
    receiver.join().unwrap();
}

#[test]
fn an_answer_wakes_its_waiter() {
    check(|| answered(true));
}

#[test]
fn waiting_for_an_answer_that_is_there_is_caught() {
    caught("models::calls::waiting_for_an_answer_that_is_there_is_caught", DEADLOCK, || {
        answered(false)
    });
}

/// A hostile peer answers twice: once to the waiter itself, which frees the entry and makes the
/// next call; and once to a thread that stores answers.
#[test]
fn a_second_answer_is_never_that_of_the_next_call() {
    check(|| {
        let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
        let in_flight = Arc::new(in_flight);
        let id = in_flight.claim(&mut claimer).expect("space");
        let receiver = {
            let in_flight = in_flight.clone();
            thread::spawn(move || drop(in_flight.complete(id, said("again"))))
        };
        in_flight.release(id);
        let next = in_flight.claim(&mut claimer).expect("space");
        assert_eq!((next.entry, next.serial), (id.entry, id.serial + 1));
        assert!(in_flight.take(next).is_none());
        assert!(in_flight.notify(next, Notify::Thread(Parker::new())).is_ok());
        receiver.join().unwrap();
        assert!(in_flight.take(next).is_none());
        assert!(matches!(in_flight.complete(next, said("yes")), Completion::Done));
        assert!(is(in_flight.take(next), "yes"));
    });
}

/// A caller asks for notice, takes its answer as the leader, and claims the next call, while a hostile
/// peer answers the first call once more: the next call keeps its entry.
#[test]
fn a_second_answer_of_a_noticed_call() {
    check(|| {
        let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
        let in_flight = Arc::new(in_flight);
        let id = in_flight.claim(&mut claimer).expect("space");
        let receiver = {
            let in_flight = in_flight.clone();
            thread::spawn(move || drop(in_flight.complete(id, said("again"))))
        };
        if in_flight.notify(id, Notify::Thread(Parker::new())).is_ok() {
            in_flight.release(id);
        } else {
            assert!(is(in_flight.take(id), "again"));
        }
        let next = in_flight.claim(&mut claimer).expect("space");
        assert!(in_flight.take(next).is_none());
        receiver.join().unwrap();
        assert!(in_flight.take(next).is_none());
        assert!(matches!(in_flight.complete(next, said("yes")), Completion::Done));
        assert!(is(in_flight.take(next), "yes"));
    });
}

/// Models the second answer on one entry by hand, with the status stored or exchanged. The status of
/// call 1 is 8 if free, 9 if busy, 11 if ready; the next call is busy with 17.
fn second_answer_by_hand(exchanges: bool) {
    let entry = Arc::new((AtomicU64::new(9), Mutex::new(())));
    let receiver = {
        let entry = entry.clone();
        thread::spawn(move || {
            let _state = entry.1.lock().unwrap();
            if entry.0.load(Ordering::Acquire) != 9 {
                return;
            }
            if exchanges {
                let _ = entry.0.compare_exchange(9, 11, Ordering::Release, Ordering::Relaxed);
            } else {
                entry.0.store(11, Ordering::Release);
            }
        })
    };
    if entry.0.load(Ordering::Relaxed) == 9 {
        entry.0.store(8, Ordering::Release);
        entry.0.store(17, Ordering::Relaxed);
        receiver.join().unwrap();
        assert_eq!(entry.0.load(Ordering::Acquire), 17, "the next call's entry was taken from it");
    }
}

#[test]
fn a_second_answer_by_hand() {
    check(|| second_answer_by_hand(true));
}

#[test]
fn storing_the_status_of_a_second_answer_is_caught() {
    caught(
        "models::calls::storing_the_status_of_a_second_answer_is_caught",
        "was taken from it",
        || second_answer_by_hand(false),
    );
}

/// A deadline passes while the answer comes: either the callback gets the answer, or the call is
/// forgotten, and never both.
#[test]
fn a_call_is_completed_or_forgotten() {
    check(|| {
        let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
        let in_flight = Arc::new(in_flight);
        let id = in_flight.claim(&mut claimer).expect("space");
        assert!(in_flight.notify(id, Notify::Callback(Box::new(|_| {}))).is_ok());
        let receiver = {
            let in_flight = in_flight.clone();
            thread::spawn(move || {
                matches!(in_flight.complete(id, said("yes")), Completion::Run(..))
            })
        };
        let forgotten = in_flight.forget(id) != Forgotten::Unknown;
        assert_ne!(receiver.join().unwrap(), forgotten);
        assert!(!in_flight.is_known(id));
    });
}

/// A call is given up while its answer comes: the peer is told exactly if no waiter will take the
/// answer.
#[test]
fn a_call_is_answered_or_cancelled() {
    check(|| {
        let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
        let in_flight = Arc::new(in_flight);
        let id = in_flight.claim(&mut claimer).expect("space");
        let receiver = {
            let in_flight = in_flight.clone();
            thread::spawn(move || matches!(in_flight.complete(id, said("yes")), Completion::Done))
        };
        match (in_flight.forget(id), receiver.join().unwrap()) {
            (Forgotten::Unanswered, false) | (Forgotten::Answered, true) => {}
            other => panic!("{other:?}"),
        }
        assert!(!in_flight.is_known(id));
    });
}

/// The pair ends while an answer comes: the callback runs once.
#[test]
fn a_callback_runs_once_though_the_end_comes() {
    check(|| {
        let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
        let in_flight = Arc::new(in_flight);
        let id = in_flight.claim(&mut claimer).expect("space");
        assert!(in_flight.notify(id, Notify::Callback(Box::new(|_| {}))).is_ok());
        let ran = Arc::new(AtomicU32::new(0));
        let count = |completion, ran: &AtomicU32| {
            if matches!(completion, Completion::Run(..)) {
                ran.fetch_add(1, Ordering::SeqCst);
            }
        };
        let receiver = {
            let (in_flight, ran) = (in_flight.clone(), ran.clone());
            thread::spawn(move || count(in_flight.complete(id, said("yes")), &ran))
        };
        in_flight.abandon(|completion| count(completion, &ran), || said("over"));
        receiver.join().unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_parker_is_woken_wherever_it_is() {
    check(|| {
        let parker = Parker::new();
        let notifier = {
            let parker = parker.clone();
            thread::spawn(move || parker.notify())
        };
        assert!(parker.wait(None));
        notifier.join().unwrap();
    });
}

/// Models a parker by hand: 0 is empty, 1 parked, 2 notified.
fn parker_by_hand(locks: bool) {
    let parker = Arc::new((AtomicU32::new(0), Mutex::new(()), Condvar::new()));
    let notifier = {
        let parker = parker.clone();
        thread::spawn(move || {
            if parker.0.swap(2, Ordering::Release) == 1 {
                if locks {
                    drop(parker.1.lock().unwrap());
                }
                parker.2.notify_one();
            }
        })
    };
    let mut asleep = parker.1.lock().unwrap();
    if parker.0.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        while parker.0.compare_exchange(2, 0, Ordering::Acquire, Ordering::Relaxed).is_err() {
            asleep = parker.2.wait(asleep).unwrap();
        }
    }
    drop(asleep);
    notifier.join().unwrap();
}

#[test]
fn a_parker_by_hand() {
    check(|| parker_by_hand(true));
}

#[test]
fn notifying_without_the_sleepers_lock_is_caught() {
    caught("models::calls::notifying_without_the_sleepers_lock_is_caught", DEADLOCK, || {
        parker_by_hand(false)
    });
}

/// Holds a value that a lock protects.
struct Count(UnsafeCell<u32>);

// SAFETY: one thread at a time uses the value; loom fails the model if that is not so.
unsafe impl Sync for Count {}

impl Count {
    fn add(&self) {
        // SAFETY: as above.
        self.0.with_mut(|count| unsafe { *count += 1 });
    }
}

/// Does by hand what `SpinLock` does, but unlocks with the ordering `unlock`.
fn spin_lock_by_hand(unlock: Ordering) {
    let shared = Arc::new((AtomicBool::new(false), Count(UnsafeCell::new(0))));
    let once = move |(taken, count): &(AtomicBool, Count)| {
        while taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            thread::yield_now();
        }
        count.add();
        taken.store(false, unlock);
    };
    let other = {
        let shared = shared.clone();
        thread::spawn(move || once(&shared))
    };
    once(&shared);
    other.join().unwrap();
}

#[test]
fn a_spin_lock_by_hand_is_for_one_at_a_time() {
    check(|| spin_lock_by_hand(Ordering::Release));
}

/// The next holder does not see what the last holder did.
#[test]
#[should_panic(expected = "Causality violation")]
fn unlocking_without_release_is_caught() {
    check(|| spin_lock_by_hand(Ordering::Relaxed));
}

/// Says which step is left out by a thread that spins with the inbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leader {
    Yields,
    NeverLooks,
    LocksAgain,
}

/// A thread spins with the inbox until another thread acts, and the other thread needs the inbox
/// first.
fn inbox(leader: Leader) {
    let shared = Arc::new((SpinLock::new(), Count(UnsafeCell::new(0)), AtomicBool::new(false)));
    let visitor = {
        let shared = shared.clone();
        thread::spawn(move || {
            let (lock, count, told) = &*shared;
            lock.lock();
            count.add();
            lock.unlock();
            told.store(true, Ordering::Release);
        })
    };
    let (lock, count, told) = &*shared;
    let come = || told.load(Ordering::Acquire);
    while !come() {
        if leader != Leader::LocksAgain && lock.is_contended() {
            lock.yield_to_waiters();
        }
        lock.lock();
        count.add();
        while !come() && (leader == Leader::NeverLooks || !lock.is_contended()) {
            thread::yield_now();
        }
        lock.unlock();
    }
    visitor.join().unwrap();
}

#[test]
fn a_thread_that_spins_with_the_inbox_yields_it() {
    check(|| inbox(Leader::Yields));
}

#[test]
fn spinning_without_a_look_for_waiters_is_caught() {
    caught("models::calls::spinning_without_a_look_for_waiters_is_caught", NO_PROGRESS, || {
        inbox(Leader::NeverLooks)
    });
}

#[test]
fn taking_the_inbox_again_at_once_is_caught() {
    caught("models::calls::taking_the_inbox_again_at_once_is_caught", NO_PROGRESS, || {
        inbox(Leader::LocksAgain)
    });
}
