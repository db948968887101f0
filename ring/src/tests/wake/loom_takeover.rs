//! Models two threads of one process at one doorbell: a waiter takes over the watch from a sleeping
//! driver, and gives it back.
//!
//! See `doorbell`, sections "Two sleepers on one doorbell" and "What a hostile peer can do".

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;

use crate::tests::models::explore;
use crate::{Receiver, Sender, Sleeper, Watch};
use crate::{Region, Side};

/// What a waiter does when it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Properly,
    WithoutTheMark,
    WithoutALook,
}

/// The receiving end of a process, and what it has received.
struct End {
    receiver: Receiver,
    received: Vec<u64>,
    ended: bool,
}

impl End {
    fn drain(&mut self) {
        self.ended = self.receiver.is_closed();
        let mut buffer = Vec::new();
        while self.receiver.receive(&mut buffer).unwrap().is_some() {
            self.received.push(buffer[0]);
        }
    }

    /// Announces a sleep. Returns `true` if nothing is there.
    fn arm(&mut self, watch: &Watch, sleeper: Sleeper) -> bool {
        let next = self.receiver.next_frame();
        watch.arm(sleeper);
        !watch.has_come(next) && !watch.is_closed()
    }
}

/// Receives when no other thread does, as the driver. It sleeps without the lock, so that a waiter
/// can take over.
fn drive(end: &Mutex<End>, watch: &Watch) {
    loop {
        let mut inside = end.lock().unwrap();
        inside.drain();
        if inside.ended {
            return;
        }
        let nothing = inside.arm(watch, Sleeper::Driver);
        drop(inside);
        if nothing {
            watch.sleep(Sleeper::Driver, None).unwrap();
        }
    }
}

/// Waits for the first message, watching the ring itself, and gives the watch back.
fn wait_for_a_message(end: &Mutex<End>, watch: &Watch, leaves: Leaves) {
    let mut inside = end.lock().unwrap();
    inside.drain();
    while inside.received.is_empty() {
        if inside.arm(watch, Sleeper::Waiter) {
            watch.sleep(Sleeper::Waiter, None).unwrap();
        }
        inside.drain();
    }
    match leaves {
        Leaves::WithoutTheMark => watch.disarm(),
        Leaves::WithoutALook => watch.arm(Sleeper::Driver),
        Leaves::Properly => {
            while !inside.arm(watch, Sleeper::Driver) {
                inside.drain();
                if inside.ended {
                    // Under the lock the driver is either in the kernel, or will look at the word
                    // or at the ring again.
                    watch.wake_local(Sleeper::Driver).unwrap();
                    break;
                }
            }
        }
    }
}

fn driver_and_waiter(leaves: Leaves) {
    let region = Region::heap(4);
    let watch = Watch::new(&region, Side::Worker);
    let receiver = Receiver::new(&region, Side::Worker, 64);
    let end = Arc::new(Mutex::new(End { receiver, received: Vec::new(), ended: false }));
    let driving = thread::spawn({
        let (end, watch) = (end.clone(), watch.clone());
        move || drive(&end, &watch)
    });
    let mut sender = Sender::new(&region, Side::Parent);
    let sending = thread::spawn(move || {
        sender.send(&[1], 8).unwrap();
        sender.send(&[2], 8).unwrap();
        sender.close().unwrap();
    });
    wait_for_a_message(&end, &watch, leaves);
    sending.join().unwrap();
    driving.join().unwrap();
    assert_eq!(end.lock().unwrap().received, [1, 2]);
}

#[test]
fn loom_a_waiter_takes_the_watch_over_and_gives_it_back() {
    explore(|| driver_and_waiter(Leaves::Properly));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_waiter_that_leaves_without_the_drivers_mark() {
    explore(|| driver_and_waiter(Leaves::WithoutTheMark));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_waiter_that_leaves_without_a_look() {
    explore(|| driver_and_waiter(Leaves::WithoutALook));
}

/// How a thread of the same process tells a waiter that it need not wait any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tells {
    Properly,
    WithoutAFence,
    Once,
}

/// Has a waiter wait for a frame that never comes, until a thread of its own process says that it
/// is over. Meanwhile the peer writes the waiter's mark into the doorbell.
fn told_while_the_doorbell_is_rewritten(tells: Tells) {
    let region = Region::heap(4);
    let watch = Watch::new(&region, Side::Worker);
    // How many threads may be asleep, and whether it is over.
    let state = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
    let telling = thread::spawn({
        let (state, watch) = (state.clone(), watch.clone());
        move || {
            state.1.store(1, Ordering::Relaxed);
            if tells != Tells::WithoutAFence {
                fence(Ordering::SeqCst);
            }
            while state.0.load(Ordering::Relaxed) > 0 {
                watch.wake_local(Sleeper::Waiter).unwrap();
                if tells == Tells::Once {
                    break;
                }
                thread::yield_now();
            }
        }
    });
    let hostile = thread::spawn({
        let region = region.clone();
        move || {
            region.control(0).data_doorbell.word.store(Sleeper::Waiter as u32, Ordering::Relaxed)
        }
    });
    state.0.fetch_add(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    while state.1.load(Ordering::Relaxed) == 0 {
        watch.arm(Sleeper::Waiter);
        if state.1.load(Ordering::Relaxed) == 0 {
            watch.sleep(Sleeper::Waiter, None).unwrap();
        }
        watch.disarm();
    }
    state.0.fetch_sub(1, Ordering::Relaxed);
    telling.join().unwrap();
    hostile.join().unwrap();
}

#[test]
fn loom_a_waiter_is_told_although_the_doorbell_is_rewritten() {
    explore(|| told_while_the_doorbell_is_rewritten(Tells::Properly));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_telling_without_a_fence() {
    explore(|| told_while_the_doorbell_is_rewritten(Tells::WithoutAFence));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_telling_once() {
    explore(|| told_while_the_doorbell_is_rewritten(Tells::Once));
}
