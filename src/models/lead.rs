//! Checks the hand-over of the lead: no message and no wake-up is lost, whichever thread leaves
//! when.
//!
//! The ring and its doorbells are those of `coprocess-ring`, likewise over loom.

use super::{DEADLOCK, caught, check};
use crate::drive::lead::{Lead, LeadWait};
use crate::sync::Spin;
use crate::sync::parker::Parker;
use crate::time::deadline::Deadline;
use coprocess_ring::{Progress, Receiver, Region, Sender, Side, Sleeper, Watch};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// Has as much of an end as the hand-over needs: a lead, a watch, an inbox, and waiters that are
/// notified when their message has come.
struct End {
    lead: Lead,
    watch: Watch,
    inbox: Mutex<Receiver>,
    /// For each waiter: `true` if its message has come.
    answered: Vec<AtomicBool>,
    handled: AtomicUsize,
    over: AtomicBool,
}

fn pair(waiters: usize) -> (Arc<End>, Sender) {
    let region = Region::heap(8);
    let end = End {
        lead: Lead::new(Spin),
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
        self.watch.has_come(self.inbox.lock().unwrap().next_frame())
    }

    /// Receives one message, as the leader. Returns `true` if there was one.
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
        if !self.lead.try_enter(&self.watch)
            && self.lead.wait_turn(&self.watch, &parkers[me], Deadline::NEVER, done)
                != LeadWait::Lead
        {
            assert!(done());
            return;
        }
        while !done() {
            if !self.receive(parkers) && !done() {
                self.watch.arm(Sleeper::Waiter);
                if !self.has_something() {
                    self.watch.sleep(Sleeper::Waiter, None).expect("a futex");
                }
                self.watch.disarm();
            }
        }
        self.lead.leave(&self.watch, || self.has_something());
    }

    /// Receives until `messages` were handled, as the driver does.
    fn drive(&self, messages: usize, parkers: &[Arc<Parker>]) {
        let parker = Parker::new();
        assert_eq!(
            self.lead.wait_turn(&self.watch, &parker, Deadline::NEVER, || false),
            LeadWait::Lead
        );
        let over =
            || self.handled.load(Ordering::SeqCst) >= messages || self.over.load(Ordering::SeqCst);
        loop {
            while self.receive(parkers) {}
            if over() {
                break;
            }
            self.watch.arm(Sleeper::Driver);
            if self.has_something() || over() {
                self.watch.disarm();
                continue;
            }
            self.lead.park(&self.watch, Deadline::NEVER, &parker, over).expect("a futex");
            self.watch.disarm();
        }
        self.lead.leave(&self.watch, || self.has_something());
    }
}

/// Two threads wait, each for its own message. The leader delivers the other thread's message, or
/// hands the lead on.
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

/// The driver is parked while a caller takes the lead and gives it back. An event that comes at any
/// moment is handled.
#[test]
fn a_caller_and_the_driver() {
    check(|| {
        let (end, mut sender) = pair(1);
        let parkers: Arc<Vec<Arc<Parker>>> = Arc::new(vec![Parker::new()]);
        let driver = {
            let (end, parkers) = (end.clone(), parkers.clone());
            thread::spawn(move || end.drive(2, &parkers))
        };
        let peer = thread::spawn(move || {
            send(&mut sender, 0);
            send(&mut sender, 99);
        });
        end.call(0, &parkers);
        if end.handled.load(Ordering::SeqCst) >= 2 {
            // Nothing more will come. A thread that ends the driver's reason to stay wakes the
            // driver.
            end.lead.wake_driver(&end.watch);
        }
        driver.join().unwrap();
        peer.join().unwrap();
    });
}

/// A thread that wakes the driver leaves the mark of a waiter alone, which has the watch meanwhile.
#[test]
fn the_driver_is_woken_while_a_waiter_sleeps() {
    check(|| {
        let (end, mut sender) = pair(1);
        let parkers: Arc<Vec<Arc<Parker>>> = Arc::new(vec![Parker::new()]);
        let driver = {
            let (end, parkers) = (end.clone(), parkers.clone());
            thread::spawn(move || end.drive(1, &parkers))
        };
        let peer = {
            let end = end.clone();
            thread::spawn(move || {
                end.lead.wake_driver(&end.watch);
                send(&mut sender, 0);
            })
        };
        end.call(0, &parkers);
        end.lead.wake_driver(&end.watch);
        driver.join().unwrap();
        peer.join().unwrap();
    });
}

/// A change of state reaches a driver that is anywhere on its way into sleep.
#[test]
fn the_driver_is_told_that_it_is_over() {
    check(|| {
        let (end, _sender) = pair(0);
        let driver = {
            let end = end.clone();
            thread::spawn(move || end.drive(usize::MAX, &[]))
        };
        end.over.store(true, Ordering::SeqCst);
        end.lead.wake_driver(&end.watch);
        driver.join().unwrap();
    });
}

/// The model fails as it must: a caller gives the lead back without a look at the ring, and loses
/// what came before the driver's mark was set.
#[test]
fn leaving_without_a_look_at_the_ring_is_caught() {
    caught("models::lead::leaving_without_a_look_at_the_ring_is_caught", DEADLOCK, || {
        let (end, mut sender) = pair(1);
        let parkers: Arc<Vec<Arc<Parker>>> = Arc::new(vec![Parker::new()]);
        let driver = {
            let (end, parkers) = (end.clone(), parkers.clone());
            thread::spawn(move || end.drive(1, &parkers))
        };
        let peer = thread::spawn(move || send(&mut sender, 99));
        if end.lead.try_enter(&end.watch) {
            end.lead.leave(&end.watch, || false);
        }
        driver.join().unwrap();
        peer.join().unwrap();
    });
}

/// The peer closes while a waiter has the watch. The peer's doorbell finds no thread armed, so the
/// thread that leaves also looks for the end.
fn closed_while_a_waiter_leaves(looks_for_the_end: bool) {
    let (end, mut sender) = pair(0);
    let driver = {
        let end = end.clone();
        thread::spawn(move || {
            let parker = Parker::new();
            assert_eq!(
                end.lead.wait_turn(&end.watch, &parker, Deadline::NEVER, || false),
                LeadWait::Lead
            );
            while !end.watch.is_closed() {
                end.watch.arm(Sleeper::Driver);
                if !end.watch.is_closed() {
                    end.lead
                        .park(&end.watch, Deadline::NEVER, &parker, || end.watch.is_closed())
                        .expect("a futex");
                }
                end.watch.disarm();
            }
            end.lead.leave(&end.watch, || end.has_something());
        })
    };
    let peer = thread::spawn(move || sender.close().expect("a futex"));
    if end.lead.try_enter(&end.watch) {
        end.lead.leave(&end.watch, || {
            end.has_something() || looks_for_the_end && end.watch.is_closed()
        });
    }
    driver.join().unwrap();
    peer.join().unwrap();
}

#[test]
fn the_driver_learns_of_a_close_while_a_waiter_leaves() {
    check(|| closed_while_a_waiter_leaves(true));
}

#[test]
fn leaving_without_a_look_for_the_end_is_caught() {
    caught("models::lead::leaving_without_a_look_for_the_end_is_caught", DEADLOCK, || {
        closed_while_a_waiter_leaves(false)
    });
}

/// The model fails as it must: a driver that does not look at its state again, after it has
/// announced its sleep, is not told that it is over.
#[test]
fn sleeping_without_a_second_look_is_caught() {
    caught("models::lead::sleeping_without_a_second_look_is_caught", DEADLOCK, || {
        let (end, _sender) = pair(0);
        let driver = {
            let end = end.clone();
            thread::spawn(move || {
                let parker = Parker::new();
                assert!(end.lead.try_enter(&end.watch));
                end.watch.arm(Sleeper::Driver);
                if !end.over.load(Ordering::SeqCst) {
                    end.lead.park(&end.watch, Deadline::NEVER, &parker, || false).expect("a futex");
                }
            })
        };
        end.over.store(true, Ordering::SeqCst);
        end.lead.wake_driver(&end.watch);
        driver.join().unwrap();
    });
}
