//! Tests what every ring must do, over both kinds of memory.

use std::collections::VecDeque;

use crate::tests::common::{Numbers, Pair, longest_frame, message, pairs, receive_all, send_all};
use crate::{ChannelError, Misbehaved, Progress, Receiver, Sender, Side, Space, Watch};

fn no_space(progress: Progress) -> Space {
    match progress {
        Progress::NoSpace(space) => space,
        Progress::Sent => panic!("there was space"),
    }
}

/// Sends one-slot messages until there is no space. Returns how many, and the space to wait for.
fn fill(sender: &mut Sender) -> (u64, Space) {
    for count in 0.. {
        if let Progress::NoSpace(space) = sender.send(&[count], 8).expect("send") {
            return (count, space);
        }
    }
    unreachable!("a ring that is never full")
}

#[test]
fn an_empty_ring_has_nothing() {
    for pair in pairs(32) {
        let (mut sender, mut receiver) = pair.ends(1024);
        let watch = Watch::new(&pair.worker, Side::Worker);
        let mut buffer = vec![1, 2, 3];
        for round in 0..100 {
            assert_eq!(receiver.receive(&mut buffer).unwrap(), None, "{}", pair.name);
            assert!(buffer.is_empty(), "former contents must not look like a message");
            assert!(!watch.has_come(receiver.next_frame()));
            sender.send(&[round], 8).unwrap();
            assert!(watch.has_come(receiver.next_frame()));
            assert_eq!(receiver.receive(&mut buffer).unwrap(), Some(8));
            assert_eq!(buffer, [round]);
        }
    }
}

#[test]
fn every_small_size_arrives_as_it_was() {
    for pair in pairs(32) {
        let (mut sender, mut receiver) = pair.ends(1024);
        let mut buffer = Vec::new();
        for bytes in (0..=300).chain((0..=300).rev()) {
            let sent = message(bytes as u64, bytes);
            assert_eq!(
                sender.send(&sent, bytes).unwrap(),
                Progress::Sent,
                "{}: {bytes} bytes",
                pair.name
            );
            assert_eq!(receiver.receive(&mut buffer).unwrap(), Some(bytes), "{}", pair.name);
            assert_eq!(buffer, sent, "{}: {bytes} bytes", pair.name);
        }
    }
}

#[test]
fn sizes_around_the_limits_of_frames_arrive_as_they_were() {
    for slots in [32, 64, 128, 512, 1024] {
        let longest = longest_frame(slots);
        for pair in pairs(slots) {
            let (mut sender, mut receiver) = pair.ends(1 << 20);
            for middle in [
                56,
                120,
                248,
                longest - 128,
                longest,
                longest + 120,
                2 * longest,
                3 * longest,
                slots * 128,
            ] {
                for bytes in middle - 9..=middle + 9 {
                    let sent = message(bytes as u64, bytes);
                    let mut came = send_all(&mut sender, &mut receiver, &sent, bytes);
                    came.extend(receive_all(&mut receiver));
                    assert_eq!(came, [(bytes, sent)], "{}, {slots} slots", pair.name);
                }
            }
        }
    }
}

#[test]
fn order_and_contents_survive_many_laps() {
    for slots in [32, 128] {
        for pair in pairs(slots) {
            let (mut sender, mut receiver) = pair.ends(1 << 16);
            let mut numbers = Numbers(1);
            let mut under_way = VecDeque::new();
            let mut buffer = Vec::new();
            for seed in 0..20_000 {
                let bytes = numbers.below(301);
                let sent = message(seed, bytes);
                while sender.send(&sent, bytes).unwrap() != Progress::Sent {
                    let expected: (usize, Vec<u64>) =
                        under_way.pop_front().expect("no space in an empty ring");
                    assert_eq!(
                        (receiver.receive(&mut buffer).unwrap(), &buffer),
                        (Some(expected.0), &expected.1),
                        "{}",
                        pair.name
                    );
                }
                under_way.push_back((bytes, sent));
            }
            assert_eq!(receive_all(&mut receiver), under_way.into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_full_ring_says_so_and_tells_when_it_is_not() {
    for slots in [32, 256] {
        for pair in pairs(slots) {
            let (mut sender, mut receiver) = pair.ends(1024);
            let watch = Watch::new(&pair.parent, Side::Parent);
            let mut buffer = Vec::new();
            let mut expected = 0;
            for _lap in 0..10 {
                let (sent, space) = fill(&mut sender);
                assert!(sent > 0);
                // One slot stays free behind the last frame, and some slots that the receiver has
                // done with need not be known yet.
                assert!(sent < slots as u64, "{}", pair.name);
                assert!(!watch.has_space(space));
                let mut received = 0;
                while !watch.has_space(space) {
                    assert_eq!(
                        receiver.receive(&mut buffer).unwrap(),
                        Some(8),
                        "{}: everything is received and there is no space",
                        pair.name
                    );
                    assert_eq!(buffer, [expected % sent]);
                    expected += 1;
                    received += 1;
                }
                assert!(received <= slots / 4, "{}: space is told late", pair.name);
                assert_eq!(
                    sender.send(&[0], 8).unwrap(),
                    Progress::Sent,
                    "the watch said that there is space"
                );
                receive_all(&mut receiver);
                expected = 0;
            }
        }
    }
}

#[test]
fn an_empty_ring_has_space_for_the_longest_frame_wherever_it_stands() {
    for slots in [4, 8, 32, 128, 256] {
        let longest = longest_frame(slots);
        let longest_message = message(7, longest);
        for before in 0..2 * slots {
            let pair = Pair::heap(slots);
            let (mut sender, mut receiver) = pair.ends(1 << 16);
            for i in 0..before {
                let mut came = send_all(&mut sender, &mut receiver, &[i as u64], 8);
                came.extend(receive_all(&mut receiver));
                assert_eq!(came.len(), 1);
            }
            assert_eq!(
                sender.send(&longest_message, longest).unwrap(),
                Progress::Sent,
                "{slots} slots, {before} messages before"
            );
            assert_eq!(
                receive_all(&mut receiver),
                [(longest, longest_message.clone())],
                "{slots} slots, {before} messages before"
            );
        }
    }
}

#[test]
fn a_message_larger_than_the_ring_goes_through_in_fragments() {
    for slots in [32, 128] {
        for pair in pairs(slots) {
            let (mut sender, mut receiver) = pair.ends(1 << 20);
            for bytes in [slots * 128 + 1, 100_000, 1 << 20] {
                let sent = message(3, bytes);
                assert!(
                    matches!(sender.send(&sent, bytes).unwrap(), Progress::NoSpace(_)),
                    "{} bytes do not fit",
                    bytes
                );
                assert!(sender.is_under_way());
                let came = send_all(&mut sender, &mut receiver, &sent, bytes);
                assert_eq!(came, [], "nothing arrives before its end was sent");
                assert!(!sender.is_under_way());
                assert_eq!(receive_all(&mut receiver), [(bytes, sent)], "{}", pair.name);
            }
        }
    }
}

#[test]
fn tiny_rings_carry_everything_too() {
    for slots in [2, 4, 8, 16] {
        let (mut sender, mut receiver) = Pair::heap(slots).ends(1 << 20);
        for bytes in (0..=600).chain([5_000, 20_001]) {
            let sent = message(bytes as u64, bytes);
            let mut came = send_all(&mut sender, &mut receiver, &sent, bytes);
            came.extend(receive_all(&mut receiver));
            assert_eq!(came, [(bytes, sent)], "{slots} slots");
        }
    }
}

#[test]
fn an_abandoned_message_leaves_nothing_behind() {
    for pair in pairs(32) {
        let (mut sender, mut receiver) = pair.ends(1 << 20);
        let large = message(5, 50_000);
        for (round, after) in [0, 8, 2_040, 2_041, 50_000, 3].into_iter().enumerate() {
            no_space(sender.send(&large, 50_000).unwrap());
            for _ in 0..round {
                // More fragments each time, and an abort that must wait for space itself.
                receive_all(&mut receiver);
                no_space(sender.send(&large, 50_000).unwrap());
            }
            assert!(sender.is_under_way());
            sender.abandon();
            assert!(!sender.is_under_way());
            sender.abandon();
            let next = message(round as u64, after);
            let mut came = send_all(&mut sender, &mut receiver, &next, after);
            came.extend(receive_all(&mut receiver));
            assert_eq!(came, [(after, next)], "{}, round {round}", pair.name);
        }
    }
}

#[test]
fn abandoning_between_messages_changes_nothing() {
    for pair in pairs(32) {
        let (mut sender, mut receiver) = pair.ends(1024);
        sender.abandon();
        sender.send(&[1], 8).unwrap();
        sender.abandon();
        let (count, _) = fill(&mut sender);
        // The message was refused as a whole: nothing of it is in the ring.
        sender.abandon();
        assert_eq!(receive_all(&mut receiver).len() as u64, 1 + count, "{}", pair.name);
        sender.send(&[2], 8).unwrap();
        assert_eq!(receive_all(&mut receiver), [(8, vec![2])]);
    }
}

#[test]
fn two_abandoned_in_a_row_leave_nothing_behind() {
    for pair in pairs(32) {
        let (mut sender, mut receiver) = pair.ends(1 << 20);
        for seed in 0..5 {
            let large = message(seed, 40_000);
            no_space(sender.send(&large, 40_000).unwrap());
            // The abort of the round before waits for space here, and fragments follow it at once.
            assert_eq!(receive_all(&mut receiver), []);
            no_space(sender.send(&large, 40_000).unwrap());
            sender.abandon();
        }
        let mut came = send_all(&mut sender, &mut receiver, &[9], 8);
        came.extend(receive_all(&mut receiver));
        assert_eq!(came, [(8, vec![9])], "{}", pair.name);
    }
}

#[test]
fn the_end_is_seen_when_everything_was_received() {
    for pair in pairs(32) {
        let (mut sender, mut receiver) = pair.ends(1 << 20);
        let watch = Watch::new(&pair.worker, Side::Worker);
        let other_way = Watch::new(&pair.parent, Side::Parent);
        let (count, _) = fill(&mut sender);
        assert!(!receiver.is_closed() && !watch.is_closed());
        sender.close().unwrap();
        assert!(receiver.is_closed() && watch.is_closed());
        assert!(!other_way.is_closed(), "each direction ends by itself");
        // A receiver looks for the end first, and for messages afterwards.
        let mut buffer = Vec::new();
        let mut received = 0;
        loop {
            let ended = receiver.is_closed();
            match receiver.receive(&mut buffer).unwrap() {
                Some(bytes) => assert_eq!((bytes, &buffer), (8, &vec![received])),
                None if ended => break,
                None => panic!("the end was announced"),
            }
            received += 1;
        }
        assert_eq!(received, count, "{}", pair.name);
    }
}

#[test]
fn the_two_directions_do_not_touch_each_other() {
    for pair in pairs(64) {
        let (mut there, mut from_parent) = pair.ends(1 << 16);
        let mut back = Sender::new(&pair.worker, Side::Worker);
        let mut from_worker = Receiver::new(&pair.parent, Side::Parent, 1 << 16);
        let mut numbers = Numbers(2);
        for seed in 0..3_000 {
            let (a, b) = (numbers.below(4_000), numbers.below(4_000));
            let (ours, theirs) = (message(seed, a), message(!seed, b));
            assert_eq!(there.send(&ours, a).unwrap(), Progress::Sent);
            assert_eq!(back.send(&theirs, b).unwrap(), Progress::Sent);
            assert_eq!(receive_all(&mut from_worker), [(b, theirs)], "{}", pair.name);
            assert_eq!(receive_all(&mut from_parent), [(a, ours)], "{}", pair.name);
        }
    }
}

#[test]
fn a_message_beyond_the_agreed_size_is_misbehaviour() {
    for pair in pairs(32) {
        // 2040 bytes are the longest frame here: smaller messages go in one frame, larger ones in
        // fragments.
        for limit in [0, 100, 2_040, 2_041, 5_000] {
            let pair = Pair {
                name: pair.name,
                ..if pair.name == "heap" { Pair::heap(32) } else { Pair::segment(32) }
            };
            let (mut sender, mut receiver) = pair.ends(limit);
            let mut came = send_all(&mut sender, &mut receiver, &message(1, limit), limit);
            came.extend(receive_all(&mut receiver));
            assert_eq!(
                came,
                [(limit, message(1, limit))],
                "{}: {limit} bytes are allowed",
                pair.name
            );

            let beyond = message(2, limit + 1);
            let mut buffer = Vec::new();
            let caught = loop {
                sender.send(&beyond, limit + 1).unwrap();
                match receiver.receive(&mut buffer) {
                    Ok(None) => {}
                    other => break other,
                }
            };
            assert!(
                matches!(caught, Err(ChannelError::Misbehaved(Misbehaved::Oversize))),
                "{}: {caught:?}",
                pair.name
            );
        }
    }
}
