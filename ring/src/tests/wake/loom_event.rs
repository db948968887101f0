//! Models wake-ups by events: a ringer, an event and a listener tell a sleeper that what it waits
//! for is there. See `proxy`.

use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::thread;

use crate::queue::frame::FrameKind;
use crate::queue::producer::Producer;
use crate::sync::Arc;
use crate::sync::atomic::AtomicU32;
use crate::tests::models::explore;
use crate::wake::doorbell_id::DoorbellId;
use crate::wake::event::proxy::{Proxy, ProxyState};
use crate::wake::event::raw_event::Event;
use crate::{Progress, Receiver, Sender, Sleeper, Watch};
use crate::{Region, Side};

/// The two sides of a pair over one piece of memory.
struct Pair {
    parent: (Region, Arc<ProxyState>),
    worker: (Region, Arc<ProxyState>),
    workers_event: Event,
}

fn pair() -> Pair {
    let (parents_event, workers_event) = (Event::new(), Event::new());
    let heap = Region::heap(4);
    let side = |side, ours: &Event, theirs: &Event| {
        let state = Arc::new(ProxyState::new(heap.memory(), side, ours.clone(), theirs.clone()));
        (heap.with_events(Proxy::of(state.clone())), state)
    };
    Pair {
        parent: side(Side::Parent, &parents_event, &workers_event),
        worker: side(Side::Worker, &workers_event, &parents_event),
        workers_event,
    }
}

/// What one of the threads in between does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The sleeper does not look at its word again before it joins the waiters.
    DoesNotLook,
    /// The waker asks for the event before the marks are where the listener looks.
    AsksFirst,
}

/// Sends one frame from the parent to a worker that sleeps until the frame is there.
fn one_frame(wrong: Wrong) {
    let Pair { parent: (ours, ringing), worker: (theirs, listening), workers_event } = pair();
    let over = Arc::new(AtomicBool::new(false));

    let asking = ringing.clone();
    let ringer = thread::spawn(move || while ringing.ringer_round() {});
    let listener = thread::spawn({
        let (over, listening) = (over.clone(), listening.clone());
        move || {
            while !over.load(Ordering::SeqCst) {
                listening.listener_round();
            }
        }
    });
    let sending = thread::spawn(move || {
        if wrong == Wrong::AsksFirst {
            // `Sender::send` and `Doorbell::ring`, by hand.
            assert!(Producer::new(ours.clone(), 0).push(&[7], 8, FrameKind::Last).unwrap());
            fence(Ordering::SeqCst);
            let mark = ours.control(0).data_doorbell.word.swap(0, Ordering::Relaxed);
            if mark != 0 {
                asking.request_set();
                asking.pending_marks(DoorbellId::data(0)).fetch_or(mark, Ordering::Release);
            }
        } else {
            assert_eq!(Sender::new(&ours, Side::Parent).send(&[7], 8).unwrap(), Progress::Sent);
        }
        // The ringer of this side ends with the last handle of the side.
    });

    let watch = Watch::new(&theirs, Side::Worker);
    let mut receiver = Receiver::new(&theirs, Side::Worker, 64);
    let mut buffer = Vec::new();
    while receiver.receive(&mut buffer).unwrap().is_none() {
        let next = receiver.next_frame();
        watch.arm(Sleeper::Driver);
        if watch.has_come(next) {
            continue;
        }
        if wrong == Wrong::DoesNotLook {
            let mark = Sleeper::Driver as u32;
            listening.wait(DoorbellId::data(0), &AtomicU32::new(mark), mark, None);
        } else {
            watch.sleep(Sleeper::Driver, None).unwrap();
        }
        watch.disarm();
    }
    assert_eq!(buffer, [7]);
    over.store(true, Ordering::SeqCst);
    workers_event.set();
    for thread in [ringer, listener, sending] {
        thread.join().unwrap();
    }
}

#[test]
fn loom_a_frame_wakes_through_the_relay() {
    explore(|| one_frame(Wrong::Nothing));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_sleeper_that_does_not_look_again() {
    explore(|| one_frame(Wrong::DoesNotLook));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_waker_that_asks_before_the_marks_are_there() {
    explore(|| one_frame(Wrong::AsksFirst));
}
