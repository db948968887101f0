//! Models frames through a ring. Each rule of the orderings has a variant that breaks it, and that
//! must be caught.

use loom::thread;

use crate::Region;
use crate::queue::consumer::Consumer;
use crate::queue::producer::Producer;
use crate::shm::layout::SLOT_WORDS;
use crate::sync::atomic::Ordering;
use crate::tests::models::{explore, frame_word, pop, push};

const SLOTS: usize = 4;

/// Starts `sender`, and receives `expected` frames from what it writes to ring 0.
fn receives(expected: &[&[u64]], region: Region, sender: impl FnOnce(Region) + 'static) {
    let theirs = region.clone();
    let sending = thread::spawn(move || sender(theirs));
    let mut consumer = Consumer::new(region, 0);
    let mut words = Vec::new();
    for frame in expected {
        assert_eq!(pop(&mut consumer, &mut words).bytes(), frame.len() * 8);
        assert_eq!(words, *frame);
    }
    sending.join().unwrap();
    assert_eq!(consumer.pop(&mut words), Ok(None));
}

/// Stores one frame of one word as a producer does, the frame word with `ordering`.
fn store_frame(
    region: &Region,
    slot: usize,
    serial: u64,
    payload: u64,
    order: [&str; 2],
    ordering: Ordering,
) {
    let words = &region.slots(0)[slot].words;
    for part in order {
        match part {
            "payload" => words[1].store(payload, Ordering::Relaxed),
            _ => words[0].store(frame_word(8, serial), ordering),
        }
    }
}

#[test]
fn loom_frames_arrive_in_order_over_more_than_a_lap() {
    explore(|| {
        receives(&[&[11], &[22], &[33], &[44], &[55], &[66]], Region::heap(SLOTS), |region| {
            let mut producer = Producer::new(region, 0);
            for payload in [11, 22, 33, 44, 55, 66] {
                push(&mut producer, &[payload]);
            }
        });
    });
}

#[test]
fn loom_a_frame_stored_in_order_by_hand_arrives() {
    // Each of the two tests that follow changes one thing of this.
    explore(|| {
        receives(&[&[11]], Region::heap(SLOTS), |region| {
            store_frame(&region, 0, 1, 11, ["payload", "frame"], Ordering::Release)
        });
    });
}

#[test]
#[should_panic(expected = "assertion")]
fn loom_catches_a_frame_word_that_is_stored_relaxed() {
    explore(|| {
        receives(&[&[11]], Region::heap(SLOTS), |region| {
            store_frame(&region, 0, 1, 11, ["payload", "frame"], Ordering::Relaxed)
        });
    });
}

#[test]
#[should_panic(expected = "assertion")]
fn loom_catches_a_frame_word_that_is_stored_before_the_payload() {
    explore(|| {
        receives(&[&[11]], Region::heap(SLOTS), |region| {
            store_frame(&region, 0, 1, 11, ["frame", "payload"], Ordering::Release)
        });
    });
}

/// Makes payload for the two slots of a frame. All its words would be frame `serial` if they were
/// looked at as frame words.
fn disguised(serial: u64) -> Vec<u64> {
    vec![frame_word(8, serial); SLOT_WORDS]
}

#[test]
fn loom_the_inside_of_a_frame_is_cleared_before_it_is_looked_at() {
    explore(|| {
        // Slot 1 and slot 0 are inside a frame in the first and in the second lap. Then they hold
        // what looks like frames 4 and 5.
        let expected: [&[u64]; 5] = [&disguised(4), &[22], &disguised(5), &[44], &[55]];
        receives(&expected, Region::heap(SLOTS), |region| {
            let mut producer = Producer::new(region, 0);
            for words in [&disguised(4)[..], &[22], &disguised(5), &[44], &[55]] {
                push(&mut producer, words);
            }
        });
    });
}

#[test]
#[should_panic(expected = "assertion")]
fn loom_catches_clearing_after_the_frame_was_published() {
    explore(|| {
        let region = Region::heap(SLOTS);
        // As after a lap: slot 1 was inside a frame, and slot 0 is free again.
        region.slots(0)[1].words[0].store(frame_word(8, 2), Ordering::Relaxed);
        receives(&[&[11], &[22]], region, |region| {
            store_frame(&region, 0, 1, 11, ["payload", "frame"], Ordering::Release);
            region.slots(0)[1].words[0].store(0, Ordering::Relaxed);
            store_frame(&region, 1, 2, 22, ["payload", "frame"], Ordering::Release);
        });
    });
}

/// Sends six frames through three free slots to a consumer written by hand. The consumer takes two
/// frames at a time, and reads their payload before or after it gives the slots back.
fn consume_by_hand(payload_first: bool) {
    let region = Region::heap(SLOTS);
    let theirs = region.clone();
    let sending = thread::spawn(move || {
        let mut producer = Producer::new(theirs, 0);
        (1..=6).for_each(|payload| push(&mut producer, &[payload]));
    });
    let words = |position: u64| &region.slots(0)[position as usize % SLOTS].words;
    let payload = |position| words(position)[1].load(Ordering::Relaxed);
    let give_back = |before| region.control(0).head.word.store(before, Ordering::Release);
    for position in [0, 2, 4] {
        for (position, serial) in [(position, position + 1), (position + 1, position + 2)] {
            while words(position)[0].load(Ordering::Acquire) != frame_word(8, serial) {
                thread::yield_now();
            }
        }
        if !payload_first {
            give_back(position + 2);
        }
        assert_eq!([payload(position), payload(position + 1)], [position + 1, position + 2]);
        if payload_first {
            give_back(position + 2);
        }
    }
    sending.join().unwrap();
}

#[test]
fn loom_a_slot_is_given_back_after_it_was_read() {
    explore(|| consume_by_hand(true));
}

#[test]
#[should_panic(expected = "assertion")]
fn loom_catches_a_slot_that_is_given_back_too_early() {
    explore(|| consume_by_hand(false));
}

/// Has a sender close after two frames, and a receiver look for the end before or after it looks
/// for frames.
fn count_until_the_end(end_first: bool) -> u64 {
    let region = Region::heap(SLOTS);
    let theirs = region.clone();
    let sending = thread::spawn(move || {
        let mut producer = Producer::new(theirs, 0);
        push(&mut producer, &[1]);
        push(&mut producer, &[2]);
        producer.close();
    });
    let mut consumer = Consumer::new(region, 0);
    let mut words = Vec::new();
    let mut count = 0;
    loop {
        let ended_before = consumer.is_closed();
        let came = consumer.pop(&mut words).unwrap().is_some();
        count += u64::from(came);
        let ended = if end_first { ended_before } else { consumer.is_closed() };
        if !came && ended {
            break;
        }
        if !came {
            thread::yield_now();
        }
    }
    sending.join().unwrap();
    count
}

#[test]
fn loom_everything_sent_before_the_end_is_received() {
    explore(|| assert_eq!(count_until_the_end(true), 2));
}

#[test]
#[should_panic(expected = "assertion")]
fn loom_catches_a_receiver_that_looks_for_the_end_last() {
    explore(|| assert_eq!(count_until_the_end(false), 2));
}
