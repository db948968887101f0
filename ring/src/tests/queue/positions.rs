//! Tests the inside of the ring: where frames lie, and what must hold at the edges of its numbers.

use crate::queue::consumer::Consumer;
use crate::queue::frame::{Frame, FrameKind};
use crate::queue::producer::Producer;
use crate::shm::layout::SLOT_WORDS;
use crate::sync::atomic::Ordering;
use crate::tests::common::{Numbers, Pair, message, pairs, receive_all};
use crate::{Progress, Region, Side, Watch};

/// Serials have 45 bits, above a length of 16 and three flags.
const SERIALS: u64 = 1 << 45;
const SERIAL_SHIFT: u32 = 19;

/// Returns the slots of ring 0 in which anything was ever stored.
fn touched(region: &Region) -> Vec<usize> {
    let slots = region.slots(0).iter().enumerate();
    slots
        .filter(|(_, slot)| slot.words.iter().any(|w| w.load(Ordering::Relaxed) != 0))
        .map(|(i, _)| i)
        .collect()
}

/// Makes an end at each side of ring 0, as if `position` slots and `serial` frames had gone before.
fn ends_at(slots: usize, position: u64, serial: u64) -> (Producer, Consumer) {
    let region = Region::heap(slots);
    region.control(0).head.word.store(position, Ordering::Relaxed);
    (
        Producer::starting_at(region.clone(), 0, position, serial),
        Consumer::starting_at(region, 0, position, serial),
    )
}

/// Takes the next frame that is no skip.
fn pop(consumer: &mut Consumer, words: &mut Vec<u64>) -> Frame {
    loop {
        let frame = consumer.pop(words).expect("the producer is honest").expect("it was pushed");
        if frame.kind() != FrameKind::Skip {
            return frame;
        }
    }
}

/// Pushes and pops frames of random sizes with up to `in_flight` between the two, and compares.
fn exchange(
    producer: &mut Producer,
    consumer: &mut Consumer,
    frames: u64,
    in_flight: usize,
    most_bytes: usize,
) {
    let mut numbers = Numbers(frames);
    let mut expected = std::collections::VecDeque::new();
    let mut words = Vec::new();
    for seed in 0..frames {
        // Empty frames come often: they are nothing but their frame word.
        let bytes = if numbers.below(4) == 0 { 0 } else { numbers.below(most_bytes + 1) };
        let sent = message(seed, bytes);
        while expected.len() >= in_flight
            || !producer.push(&sent, bytes, FrameKind::Last).expect("the consumer is honest")
        {
            words.clear();
            let frame = pop(consumer, &mut words);
            assert_eq!(Some((frame.bytes(), words.clone())), expected.pop_front());
        }
        expected.push_back((bytes, sent));
    }
    for (bytes, sent) in expected {
        words.clear();
        let frame = pop(consumer, &mut words);
        assert_eq!((frame.bytes(), &words), (bytes, &sent));
    }
    assert_eq!(consumer.pop(&mut words), Ok(None));
}

#[test]
fn an_exchange_of_small_messages_stays_in_the_first_slots() {
    for slots in [128, 256, 8192] {
        for pair in pairs(slots) {
            let (mut sender, mut receiver) = pair.ends(1024);
            for i in 0..10_000 {
                assert_eq!(sender.send(&[i], 8).unwrap(), Progress::Sent);
                assert_eq!(receive_all(&mut receiver), [(8, vec![i])]);
            }
            assert_eq!(
                touched(&pair.parent),
                (0..32).collect::<Vec<_>>(),
                "{}, {slots} slots",
                pair.name
            );
        }
    }
}

#[test]
fn nearly_all_of_the_ring_is_there_for_a_burst_at_any_moment() {
    for slots in [128, 256, 2048] {
        for bytes in [8, 120, 121, 300] {
            let (mut producer, mut consumer) = ends_at(slots, 0, 1);
            let each = (bytes + 8_usize).div_ceil(SLOT_WORDS * 8);
            let mut words = Vec::new();
            let mut numbers = Numbers(7);
            for round in 0..400 {
                // A quiet phase, in which a few frames at most are under way, then a burst while
                // the consumer stands still.
                let quiet = numbers.below(100) + 3;
                exchange(&mut producer, &mut consumer, quiet as u64, 1 + round % 3, bytes);
                let mut sent = 0;
                while producer.push(&message(sent, bytes), bytes, FrameKind::Last).unwrap() {
                    sent += 1;
                }
                // Once round the hot set, what the consumer had not published, and the slot that is
                // kept free.
                let least = (slots - slots.min(2 * 32) - 16 - 2 * each) / each;
                assert!(
                    sent as usize >= least,
                    "{sent} frames of {bytes} bytes in {slots} slots after {quiet}: not {least}"
                );
                for i in 0..sent {
                    words.clear();
                    assert_eq!(pop(&mut consumer, &mut words).bytes(), bytes);
                    assert_eq!(words, message(i, bytes));
                }
                assert_eq!(consumer.pop(&mut words), Ok(None));
            }
        }
    }
}

#[test]
fn a_skip_that_leads_anywhere_but_forward_is_an_error() {
    const SKIP: u64 = 5 << 16;
    const JUMP: u64 = 1 << 17;
    for (before, word) in
        [(0, SKIP), (5, SKIP), (5, SKIP | JUMP), (5, SKIP | 8), (127, SKIP), (40, SKIP)]
    {
        let region = Region::heap(128);
        let mut producer = Producer::new(region.clone(), 0);
        let mut consumer = Consumer::new(region.clone(), 0);
        for i in 0..before {
            assert!(producer.push(&[i], 8, FrameKind::Last).unwrap());
            // The consumer never catches up, so the producer does not jump.
            if i >= 33 {
                assert!(consumer.pop(&mut Vec::new()).unwrap().is_some());
            }
        }
        while consumer.pop(&mut Vec::new()).unwrap().is_some() {}
        region.slots(0)[before as usize].words[0]
            .store((before + 1) << SERIAL_SHIFT | word, Ordering::Relaxed);
        assert_eq!(
            consumer.pop(&mut Vec::new()),
            Err(crate::Misbehaved::Fragment),
            "{before} {word:x}"
        );
    }
}

#[test]
fn a_few_in_flight_and_longer_ones_stay_near_the_start() {
    let pair = Pair::heap(1024);
    let (mut sender, mut receiver) = pair.ends(1024);
    let mut buffer = Vec::new();
    for i in 0..10_000_u64 {
        let bytes = [8, 130, 300][i as usize % 3];
        assert_eq!(sender.send(&message(i, bytes), bytes).unwrap(), Progress::Sent);
        if i >= 4 {
            let before = [8, 130, 300][(i - 4) as usize % 3];
            assert_eq!(receiver.receive(&mut buffer).unwrap(), Some(before));
            assert_eq!(buffer, message(i - 4, before));
        }
    }
    assert!(touched(&pair.parent).len() < 64, "touched {:?}", touched(&pair.parent));
}

#[test]
fn after_a_burst_the_exchange_returns_to_the_start() {
    for pair in pairs(128) {
        let (mut sender, mut receiver) = pair.ends(1024);
        while sender.send(&[1], 8).unwrap() == Progress::Sent {}
        receive_all(&mut receiver);
        for i in 0..1_000 {
            sender.send(&[i], 8).unwrap();
            assert_eq!(receive_all(&mut receiver), [(8, vec![i])]);
        }
        let clear =
            |slot: usize| pair.parent.slots(0)[slot].words[1].store(u64::MAX, Ordering::Relaxed);
        (32..128).for_each(clear);
        for i in 0..1_000 {
            sender.send(&[i], 8).unwrap();
            assert_eq!(receive_all(&mut receiver), [(8, vec![i])]);
        }
        let written =
            |slot: &usize| pair.parent.slots(0)[*slot].words[1].load(Ordering::Relaxed) != u64::MAX;
        assert_eq!((32..128).find(written), None, "{}", pair.name);
    }
}

/// A frame that crosses the end of the ring covers the very slots that a jump would lead to.
#[test]
fn a_frame_across_the_end_of_the_ring_keeps_its_contents() {
    for slots in [128, 256] {
        for before in slots - 20..slots {
            for bytes in [121, 1_000, 1_900, 2_500, 4_000] {
                let pair = Pair::heap(slots);
                let (mut sender, mut receiver) = pair.ends(1 << 16);
                // All messages at once, so that the ring does not return to its start on the way.
                for _ in 0..before {
                    assert_eq!(sender.send(&[1], 8).unwrap(), Progress::Sent);
                }
                assert_eq!(receive_all(&mut receiver).len(), before);
                for seed in 0..3 {
                    let sent = message(seed, bytes);
                    assert_eq!(sender.send(&sent, bytes).unwrap(), Progress::Sent);
                    assert_eq!(
                        receive_all(&mut receiver),
                        [(bytes, sent)],
                        "{slots} slots, {before} before, {bytes} bytes"
                    );
                }
            }
        }
    }
}

/// Payload is the caller's: it may hold just the words that would be valid frames at the places
/// where it lies.
#[test]
fn payload_that_looks_like_frames_is_never_taken_for_frames() {
    for slots in [32, 128] {
        for pair in pairs(slots) {
            let (mut sender, mut receiver) = pair.ends(1 << 16);
            let watch = Watch::new(&pair.worker, Side::Worker);
            let mut numbers = Numbers(slots as u64);
            // Serials count frames from 1, and every message here is one frame.
            for serial in 1..20_000_u64 {
                let bytes = numbers.below(if serial % 16 == 0 { slots * 64 - 8 } else { 600 }) & !7;
                let ahead = 1 + if serial % 2 == 0 { 0 } else { numbers.below(slots) as u64 };
                let flags = [0, 1 << 16, 1 << 17, 1 << 18][numbers.below(4)];
                let frame = 24 | flags | (serial + ahead) << SERIAL_SHIFT;
                let sent = vec![frame; bytes / 8];
                if sender.send(&sent, bytes).unwrap() != Progress::Sent {
                    receive_all(&mut receiver);
                    assert_eq!(sender.send(&sent, bytes).unwrap(), Progress::Sent);
                }
                if numbers.below(4) == 0 {
                    continue;
                }
                let came = receive_all(&mut receiver);
                assert_eq!(came.last(), Some(&(bytes, sent)), "{}, {slots} slots", pair.name);
                assert!(
                    !watch.has_come(receiver.next_frame()),
                    "{}: payload was taken for a frame",
                    pair.name
                );
            }
        }
    }
}

#[test]
fn serials_wrap() {
    for slots in [8, 32, 256] {
        for in_flight in [1, 3, 100] {
            for before in [1, 2, 5, 40] {
                let (mut producer, mut consumer) = ends_at(slots, 0, SERIALS - before);
                exchange(&mut producer, &mut consumer, 1_000, in_flight, 300);
            }
        }
    }
}

/// Empty frames are nothing but their serial. Neither a slot that was never written nor one of the
/// lap before is such a frame.
#[test]
fn around_the_wrap_of_serials_nothing_is_there_before_it_was_sent() {
    for before in [1, 2, 5, 32, 40] {
        let (mut producer, mut consumer) = ends_at(32, 0, SERIALS - before);
        let mut words = Vec::new();
        for i in 0..200 {
            assert_eq!(consumer.pop(&mut words), Ok(None), "{before} before the wrap, frame {i}");
            assert_eq!(producer.push(&[], 0, FrameKind::Last), Ok(true));
            assert!(
                consumer.pop(&mut words).expect("honest").is_some(),
                "{before} before the wrap, frame {i}"
            );
        }
    }
}

/// An exchange that stays in the first slots leaves the others alone, perhaps for a whole round of
/// serials. A word that lies there since then is neither of the future nor, by chance, the very
/// frame that is expected.
#[test]
fn words_left_for_a_whole_round_of_serials_are_forgotten() {
    // Twenty frames before the wrap and 120 after it: then the frame with the serial 121 is
    // expected, in slot 44.
    for left in [121, 122, 5_000, 1 << 43] {
        let region = Region::heap(128);
        for slot in &region.slots(0)[32..] {
            slot.words[0].store(8 | left << SERIAL_SHIFT, Ordering::Relaxed);
        }
        let mut producer = Producer::starting_at(region.clone(), 0, 0, SERIALS - 20);
        let mut consumer = Consumer::starting_at(region.clone(), 0, 0, SERIALS - 20);
        exchange(&mut producer, &mut consumer, 100, 1, 8);
        exchange(&mut producer, &mut consumer, 40, 40, 8);
        let last = region.slots(0)[43].words[0].load(Ordering::Relaxed);
        assert_eq!(last >> SERIAL_SHIFT, 120, "the last frame is not where this test wants it");
        assert_eq!(consumer.pop(&mut Vec::new()), Ok(None), "a word of serial {left}");
    }
}

#[test]
fn positions_wrap() {
    for slots in [8, 32, 128, 1024] {
        for in_flight in [1, 3, 100] {
            for before in (1..40).chain([slots as u64, slots as u64 + 1, 3 * slots as u64]) {
                let (mut producer, mut consumer) = ends_at(slots, 0_u64.wrapping_sub(before), 1);
                exchange(&mut producer, &mut consumer, 300, in_flight, (slots * 64 - 8).min(1_500));
            }
        }
    }
}

#[test]
fn after_the_wrap_of_positions_the_ring_still_returns_to_its_start() {
    for before in 1..400_u64 {
        let region = Region::heap(128);
        let start = 0_u64.wrapping_sub(before);
        region.control(0).head.word.store(start, Ordering::Relaxed);
        let mut producer = Producer::starting_at(region.clone(), 0, start, 1);
        let mut consumer = Consumer::starting_at(region.clone(), 0, start, 1);
        exchange(&mut producer, &mut consumer, 600, 1, 300);
        for slot in &region.slots(0)[64..] {
            slot.words[SLOT_WORDS - 1].store(u64::MAX, Ordering::Relaxed);
        }
        exchange(&mut producer, &mut consumer, 600, 1, 300);
        let untouched = region.slots(0)[64..]
            .iter()
            .all(|s| s.words[SLOT_WORDS - 1].load(Ordering::Relaxed) == u64::MAX);
        assert!(untouched, "{before} slots before the wrap");
    }
}

/// Space is counted in positions, so what a sender waits for must make sense across the wrap as
/// well.
#[test]
fn space_to_wait_for_holds_across_the_wrap() {
    for slots in [8, 32, 256] {
        for before in 0..2 * slots as u64 {
            let start = 0_u64.wrapping_sub(before);
            let region = Region::heap(slots);
            region.control(0).head.word.store(start, Ordering::Relaxed);
            let mut producer = Producer::starting_at(region.clone(), 0, start, 1);
            let mut consumer = Consumer::starting_at(region.clone(), 0, start, 1);
            let mut words = Vec::new();
            while producer.push(&[7], 8, FrameKind::Last).expect("honest") {}
            let from = producer.space_for(8);
            let known = || region.control(0).head.word.load(Ordering::Acquire);
            assert!(known().wrapping_sub(from) > u64::MAX / 2, "no space yet");
            while known().wrapping_sub(from) > u64::MAX / 2 {
                assert!(
                    consumer.pop(&mut words).expect("honest").is_some(),
                    "{slots} slots: all is received and no space"
                );
            }
            assert_eq!(
                producer.push(&[7], 8, FrameKind::Last),
                Ok(true),
                "{slots} slots, {before} before the wrap"
            );
        }
    }
}

#[test]
fn sides_write_and_read_opposite_rings() {
    assert_eq!((Side::Parent.outgoing(), Side::Parent.incoming()), (0, 1));
    assert_eq!((Side::Worker.outgoing(), Side::Worker.incoming()), (1, 0));
}
