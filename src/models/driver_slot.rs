//! Checks the driver slot: the thread that should have the slot gets it, and a thread that stands
//! by is called up.

use super::{DEADLOCK, caught, check};
use crate::drive::driver_slot::{DriverSlot, Occupant};
use crate::sync::parker::Parker;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// Has as much of an end as the driver slot needs.
struct End {
    driver_slot: DriverSlot,
    /// Tasks that wait for an answer, which only a driver receives.
    tasks: AtomicUsize,
    over: AtomicBool,
}

impl End {
    fn new() -> Arc<End> {
        Arc::new(End {
            driver_slot: DriverSlot::default(),
            tasks: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn stands_by(&self) -> bool {
        self.tasks.load(Ordering::Relaxed) == 0
    }

    fn finish(&self) {
        self.over.store(true, Ordering::Release);
        self.driver_slot.notify_all();
    }

    /// Drives in the background: holds the driver slot as long as it is needed, and answers one
    /// task at a time.
    fn drive_in_background(&self, task: &Parker) {
        while self.driver_slot.claim_in_background(
            Occupant::Background,
            || self.is_over(),
            || self.stands_by(),
        ) {
            while !self.is_over() && !self.driver_slot.is_wanted() && !self.stands_by() {
                self.tasks.fetch_sub(1, Ordering::Relaxed);
                task.notify();
            }
            self.driver_slot.release();
        }
    }
}

/// Tasks come and go, and each task needs the thread that stands by.
fn tasks(calls_up_first: bool) {
    let (end, task) = (End::new(), Parker::new());
    let background = {
        let (end, task) = (end.clone(), task.clone());
        thread::spawn(move || end.drive_in_background(&task))
    };
    for _ in 0..2 {
        if calls_up_first {
            end.driver_slot.call_up();
        }
        end.tasks.fetch_add(1, Ordering::Relaxed);
        if !calls_up_first {
            end.driver_slot.call_up();
        }
        while !task.wait(None) {}
    }
    assert_eq!(end.tasks.load(Ordering::Relaxed), 0);
    end.finish();
    background.join().unwrap();
}

#[test]
fn a_thread_that_stands_by_is_called_up() {
    check(|| tasks(false));
}

#[test]
fn calling_up_before_there_is_a_reason_is_caught() {
    caught("models::driver_slot::calling_up_before_there_is_a_reason_is_caught", DEADLOCK, || {
        tasks(true)
    });
}

/// Two tasks wait at once, on threads of their own.
#[test]
fn two_tasks_at_once() {
    check(|| {
        let (end, task) = (End::new(), Parker::new());
        let background = {
            let (end, task) = (end.clone(), task.clone());
            thread::spawn(move || end.drive_in_background(&task))
        };
        let other = {
            let end = end.clone();
            thread::spawn(move || {
                end.tasks.fetch_add(1, Ordering::Relaxed);
                end.driver_slot.call_up();
            })
        };
        end.tasks.fetch_add(1, Ordering::Relaxed);
        end.driver_slot.call_up();
        other.join().unwrap();
        // One notification may stand for both tasks.
        while end.tasks.load(Ordering::Relaxed) > 0 {
            while !task.wait(None) {}
        }
        end.finish();
        background.join().unwrap();
    });
}

/// A thread in `run` gets the driver slot, whichever thread holds the slot, and the driver gets the
/// slot back.
fn run(evicts: bool) {
    let end = End::new();
    // The driver sleeps with the slot until the driver is interrupted. The thread in `run` waits
    // until the driver has the slot again.
    let (bell, back) = (Parker::new(), Parker::new());
    let background = {
        let (end, bell, back) = (end.clone(), bell.clone(), back.clone());
        thread::spawn(move || {
            while end.driver_slot.claim_in_background(
                Occupant::Background,
                || end.is_over(),
                || false,
            ) {
                back.notify();
                while !end.is_over() && !end.driver_slot.is_wanted() {
                    bell.wait(None);
                }
                end.driver_slot.release();
            }
        })
    };
    let evict = || {
        if evicts {
            bell.notify();
        }
    };
    while !back.wait(None) {}
    assert!(end.driver_slot.claim(|| false, evict));
    end.driver_slot.release();
    while !back.wait(None) {}
    end.finish();
    bell.notify();
    background.join().unwrap();
}

#[test]
fn a_thread_in_run_takes_precedence() {
    check(|| run(true));
}

#[test]
fn wanting_the_slot_without_an_interrupt_is_caught() {
    caught(
        "models::driver_slot::wanting_the_slot_without_an_interrupt_is_caught",
        DEADLOCK,
        || run(false),
    );
}
