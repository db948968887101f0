//! Models sleeping and waking, with the futex modelled in `futex`. A lost wake-up is a deadlock of
//! the model.
//!
//! Each step of the proof in `doorbell` has a variant without it, which must be caught.

use loom::thread;

use crate::queue::frame::FrameKind;
use crate::queue::producer::Producer;
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use crate::tests::models::explore;
use crate::wake::futex;
use crate::{Progress, Receiver, Sender, Sleeper, Watch};
use crate::{Region, Side};

/// A step of the protocol that a variant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The fence between publishing and looking at the doorbell.
    WakersFence,
    /// The fence between the mark and the second look.
    SleepersFence,
    /// The second look.
    Look,
    /// Clearing the mark before the wake-up.
    Clearing,
}

/// `Doorbell::ring`, by hand.
fn ring_without(word: &AtomicU32, without: Without) {
    if without != Without::WakersFence {
        fence(Ordering::SeqCst);
    }
    let mark = word.load(Ordering::Relaxed);
    if mark != 0 {
        if without != Without::Clearing {
            word.store(0, Ordering::Relaxed);
        }
        futex::wake(word, mark).unwrap();
    }
}

/// `Doorbell::arm`, a look, and `Doorbell::sleep`, by hand.
fn sleep_without(word: &AtomicU32, without: Without, is_there: impl Fn() -> bool) {
    let mark = Sleeper::Driver as u32;
    word.store(mark, Ordering::Relaxed);
    if without != Without::SleepersFence {
        fence(Ordering::SeqCst);
    }
    if without == Without::Look || !is_there() {
        futex::wait(word, mark, mark, None).unwrap();
    }
}

/// Sends one frame to a consumer that sleeps until the frame is there, both written by hand.
fn one_frame(without: Without) {
    let region = Region::heap(4);
    let theirs = region.clone();
    let sending = thread::spawn(move || {
        assert!(Producer::new(theirs.clone(), 0).push(&[7], 8, FrameKind::Last).unwrap());
        ring_without(&theirs.control(0).data_doorbell.word, without);
    });
    let watch = Watch::new(&region, Side::Worker);
    let mut receiver = Receiver::new(&region, Side::Worker, 64);
    let mut buffer = Vec::new();
    while receiver.receive(&mut buffer).unwrap().is_none() {
        let next = receiver.next_frame();
        sleep_without(&region.control(0).data_doorbell.word, without, || watch.has_come(next));
    }
    assert_eq!(buffer, [7]);
    sending.join().unwrap();
}

#[test]
fn loom_a_frame_wakes_by_hand() {
    explore(|| one_frame(Without::Nothing));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_waker_without_its_fence() {
    explore(|| one_frame(Without::WakersFence));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_sleeper_without_its_fence() {
    explore(|| one_frame(Without::SleepersFence));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_sleeper_without_its_look() {
    explore(|| one_frame(Without::Look));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_waker_that_does_not_clear_the_mark() {
    explore(|| one_frame(Without::Clearing));
}

/// Receives the next message, and sleeps until it is there. Returns `None` after the end.
fn receive(receiver: &mut Receiver, watch: &Watch) -> Option<u64> {
    let mut buffer = Vec::new();
    loop {
        let ended = receiver.is_closed();
        if receiver.receive(&mut buffer).unwrap().is_some() {
            return Some(buffer[0]);
        }
        if ended {
            return None;
        }
        let next = receiver.next_frame();
        watch.arm(Sleeper::Driver);
        if !watch.has_come(next) && !watch.is_closed() {
            watch.sleep(Sleeper::Driver, None).unwrap();
        }
        watch.disarm();
    }
}

/// Sends a message, and sleeps until there is space. Returns `false` if the peer closed first.
fn send(sender: &mut Sender, watch: &Watch, words: &[u64]) -> bool {
    while let Progress::NoSpace(space) = sender.send(words, words.len() * 8).unwrap() {
        watch.arm_for_space();
        if !watch.has_space(space) && !watch.is_closed() {
            watch.sleep_for_space(None).unwrap();
        }
        watch.disarm_for_space();
        if watch.is_closed() {
            return false;
        }
    }
    true
}

#[test]
fn loom_messages_and_the_end_wake_a_sleeper() {
    explore(|| {
        let region = Region::heap(4);
        let mut sender = Sender::new(&region, Side::Parent);
        let sending = thread::spawn(move || {
            sender.send(&[1], 8).unwrap();
            sender.send(&[2], 8).unwrap();
            sender.close().unwrap();
        });
        let watch = Watch::new(&region, Side::Worker);
        let mut receiver = Receiver::new(&region, Side::Worker, 64);
        let received: [Option<u64>; 3] = std::array::from_fn(|_| receive(&mut receiver, &watch));
        assert_eq!(received, [Some(1), Some(2), None]);
        sending.join().unwrap();
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_an_end_that_rings_no_doorbell() {
    explore(|| {
        let region = Region::heap(4);
        let producer = Producer::new(region.clone(), 0);
        let sending = thread::spawn(move || producer.close());
        let watch = Watch::new(&region, Side::Worker);
        assert_eq!(receive(&mut Receiver::new(&region, Side::Worker, 64), &watch), None);
        sending.join().unwrap();
    });
}

/// The slots of the ring in the models of space. The position is published every second slot.
const SLOTS: u64 = 8;

/// Makes a full ring.
fn full() -> (Region, Sender) {
    let region = Region::heap(SLOTS as usize);
    let mut sender = Sender::new(&region, Side::Parent);
    for i in 1..SLOTS {
        assert_eq!(sender.send(&[i], 8).unwrap(), Progress::Sent);
    }
    assert!(matches!(sender.send(&[SLOTS], 8).unwrap(), Progress::NoSpace(_)));
    (region, sender)
}

/// Returns the longest frame of such a ring, which needs the most space.
fn longest() -> Vec<u64> {
    vec![SLOTS; SLOTS as usize / 2 * 16 - 1]
}

#[test]
fn loom_space_wakes_a_sleeper_though_positions_are_published_lazily() {
    explore(|| {
        let (region, mut sender) = full();
        let watch = Watch::new(&region, Side::Parent);
        let sending = thread::spawn(move || assert!(send(&mut sender, &watch, &[SLOTS])));
        let watch = Watch::new(&region, Side::Worker);
        let mut receiver = Receiver::new(&region, Side::Worker, 1024);
        for i in 1..=SLOTS {
            assert_eq!(receive(&mut receiver, &watch), Some(i));
        }
        sending.join().unwrap();
    });
}

#[test]
fn loom_space_for_the_longest_frame_comes_when_everything_was_received() {
    explore(|| {
        let (region, mut sender) = full();
        let watch = Watch::new(&region, Side::Parent);
        let sending = thread::spawn(move || {
            // All but the last slot is published; what is left must do.
            let Progress::NoSpace(space) = sender.send(&longest(), longest().len() * 8).unwrap()
            else {
                return;
            };
            watch.arm_for_space();
            if !watch.has_space(space) {
                watch.sleep_for_space(None).unwrap();
            }
        });
        let mut receiver = Receiver::new(&region, Side::Worker, 1024);
        let mut buffer = Vec::new();
        for i in 1..SLOTS {
            assert_eq!(receiver.receive(&mut buffer).unwrap(), Some(8));
            assert_eq!(buffer, [i]);
        }
        sending.join().unwrap();
    });
}

/// How a consumer by hand publishes its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    EverySecond,
    Never,
    RingsFirst,
    WithoutFence,
}

/// Has a sender wait for space for the longest frame, while a consumer by hand takes just enough
/// out.
fn space_by_hand(told: Told) {
    let (region, mut sender) = full();
    let watch = Watch::new(&region, Side::Parent);
    let sending = thread::spawn(move || assert!(send(&mut sender, &watch, &longest())));
    let (head, doorbell) = (&region.control(0).head.word, &region.control(0).space_doorbell.word);
    for position in 1..=SLOTS / 2 {
        // The frames are all there from the beginning: only the giving back is of interest.
        if position % 2 != 0 || told == Told::Never {
            continue;
        }
        if told == Told::RingsFirst {
            region.space_doorbell(0).ring().unwrap();
        }
        head.store(position, Ordering::Release);
        match told {
            Told::WithoutFence => ring_without(doorbell, Without::WakersFence),
            Told::EverySecond => ring_without(doorbell, Without::Nothing),
            Told::Never | Told::RingsFirst => {}
        }
    }
    sending.join().unwrap();
}

#[test]
fn loom_space_wakes_by_hand() {
    explore(|| space_by_hand(Told::EverySecond));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_position_that_is_kept_back() {
    explore(|| space_by_hand(Told::Never));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_ringing_before_the_position_is_published() {
    explore(|| space_by_hand(Told::RingsFirst));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_catches_a_position_without_a_fence() {
    explore(|| space_by_hand(Told::WithoutFence));
}

/// The end comes through the other ring; a sender that waits for space must learn of it, too.
#[test]
fn loom_the_end_wakes_a_sender_that_waits_for_space() {
    explore(|| {
        let (region, mut sender) = full();
        let watch = Watch::new(&region, Side::Parent);
        let sending = thread::spawn(move || assert!(!send(&mut sender, &watch, &longest())));
        Sender::new(&region, Side::Worker).close().unwrap();
        Receiver::new(&region, Side::Worker, 64).close().unwrap();
        sending.join().unwrap();
    });
}
