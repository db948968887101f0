//! Models the returns to the start of the ring, and what goes wrong on the way: jumps, skips, and
//! messages given up half-way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::thread;

use crate::queue::consumer::Consumer;
use crate::queue::frame::FrameKind;
use crate::queue::producer::Producer;
use crate::sync::atomic::Ordering;
use crate::tests::models::{explore, frame_word, pop, push};
use crate::{Progress, Receiver, Sender};
use crate::{Region, Side};

const JUMP: u64 = 1 << 17;
const SKIP: u64 = 1 << 16 | 1 << 18;

/// The smallest ring that has a hot set, of four slots under the model checker.
const SLOTS: usize = 16;

/// Sends frames as the producer will, and fails unless the producer was seen to put a word with all
/// of `flags` into the ring.
fn frames_arrive_with(flags: u64, frames: u64) {
    // Not loom's: it outlives one execution.
    let seen = Arc::new(AtomicBool::new(false));
    let noted = seen.clone();
    explore(move || {
        let region = Region::heap(SLOTS);
        let theirs = region.clone();
        let noted = noted.clone();
        let sending = thread::spawn(move || {
            let mut producer = Producer::new(theirs.clone(), 0);
            for payload in 1..=frames {
                push(&mut producer, &[payload]);
            }
            let has = |slot: &crate::shm::layout::Slot| {
                slot.frame().load(Ordering::Relaxed) & flags == flags
            };
            noted.fetch_or(theirs.slots(0).iter().any(has), Relaxed);
        });
        let mut consumer = Consumer::new(region, 0);
        let mut words = Vec::new();
        for payload in 1..=frames {
            while pop(&mut consumer, &mut words).kind() == FrameKind::Skip {}
            assert_eq!(words, [payload]);
        }
        sending.join().unwrap();
    });
    assert!(seen.load(Relaxed), "the model never came to what it is about");
}

#[test]
fn loom_frames_arrive_across_a_jump() {
    frames_arrive_with(JUMP, 6);
}

#[test]
fn loom_frames_arrive_across_a_skip() {
    frames_arrive_with(SKIP, 7);
}

/// Stores a frame of one word, as a producer written by hand.
fn store(region: &Region, slot: usize, word: u64, payload: u64) {
    let words = &region.slots(0)[slot].words;
    words[1].store(payload, Ordering::Relaxed);
    words[0].store(word, Ordering::Release);
}

fn wait_for_head(region: &Region, position: u64) {
    while region.control(0).head.word.load(Ordering::Acquire) < position {
        thread::yield_now();
    }
}

/// Has the real consumer receive 1, 2, .. from a producer written by hand. Skips are left out.
fn receives(count: u64, region: Region, sender: impl FnOnce(Region) + 'static) {
    let theirs = region.clone();
    let sending = thread::spawn(move || sender(theirs));
    let mut consumer = Consumer::new(region, 0);
    let mut words = Vec::new();
    for payload in 1..=count {
        while pop(&mut consumer, &mut words).kind() == FrameKind::Skip {}
        assert_eq!(words, [payload]);
    }
    sending.join().unwrap();
}

/// Jumps to a slot that the consumer has, or has not, given back.
fn jump_by_hand(waits: bool) {
    receives(3, Region::heap(4), move |region| {
        store(&region, 0, frame_word(8, 1), 1);
        store(&region, 1, frame_word(8, 2) | JUMP, 2);
        if waits {
            wait_for_head(&region, 1);
        }
        store(&region, 0, frame_word(8, 3), 3);
    });
}

#[test]
fn loom_a_jump_goes_to_a_slot_that_was_given_back() {
    explore(|| jump_by_hand(true));
}

#[test]
#[should_panic(expected = "assertion")]
fn loom_catches_a_jump_to_a_slot_that_is_still_read() {
    explore(|| jump_by_hand(false));
}

/// Skips to a slot that was inside a frame and holds what looks like the next frame. The slot is
/// cleared before or after the skip is published.
fn skip_by_hand(clears_first: bool) {
    let region = Region::heap(4);
    region.slots(0)[2].frame().store(frame_word(8, 4), Ordering::Relaxed);
    receives(3, region, move |region| {
        let clear = || region.slots(0)[2].frame().store(0, Ordering::Relaxed);
        store(&region, 0, frame_word(8, 1), 1);
        store(&region, 1, frame_word(8, 2) | JUMP, 2);
        wait_for_head(&region, 1);
        if clears_first {
            clear();
        }
        store(&region, 0, frame_word(0, 3) | SKIP, 0);
        if !clears_first {
            clear();
        }
        store(&region, 2, frame_word(8, 4), 3);
    });
}

#[test]
fn loom_a_skip_leads_to_a_slot_that_was_cleared() {
    explore(|| skip_by_hand(true));
}

#[test]
#[should_panic(expected = "assertion")]
fn loom_catches_a_skip_to_a_slot_that_is_cleared_late() {
    explore(|| skip_by_hand(false));
}

const LONG: [u64; 70] = [1; 70];

/// Gives a message up half-way, and sends one that follows; the receiver may be anywhere.
fn given_up(says_so: bool) {
    let region = Region::heap(4);
    let theirs = region.clone();
    let sending = thread::spawn(move || {
        if !says_so {
            let mut producer = Producer::new(theirs, 0);
            while !producer.push(&[1], 8, FrameKind::More).unwrap() {}
            push(&mut producer, &[7]);
            return;
        }
        let mut sender = Sender::new(&theirs, Side::Parent);
        // The message is longer than the ring: it gets to its end only if the receiver keeps up.
        if sender.send(&LONG, size_of_val(&LONG)).unwrap() != Progress::Sent {
            sender.abandon();
        }
        while sender.send(&[7], 8).unwrap() != Progress::Sent {
            thread::yield_now();
        }
    });
    let mut receiver = Receiver::new(&region, Side::Worker, 1024);
    let mut buffer = Vec::new();
    while buffer != [7] {
        match receiver.receive(&mut buffer).unwrap() {
            None => thread::yield_now(),
            Some(_) => assert!(buffer == [7] || buffer == LONG, "a part of a message: {buffer:?}"),
        }
    }
    sending.join().unwrap();
}

#[test]
fn loom_a_message_given_up_is_forgotten() {
    explore(|| given_up(true));
}

#[test]
#[should_panic(expected = "a part of a message")]
fn loom_catches_a_message_given_up_without_a_word() {
    explore(|| given_up(false));
}
