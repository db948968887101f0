//! Tests looking at what has arrived behind the next message.

use std::collections::VecDeque;

use crate::Progress;
use crate::tests::common::{Numbers, message, pairs};

/// Each short message is shown once, wherever it is in the ring and whatever is around it. Nothing
/// is taken, and nothing is lost.
#[test]
fn short_messages_are_seen_once() {
    for slots in [32, 256, 4096] {
        for pair in pairs(slots) {
            let (mut sender, mut receiver) = pair.ends(1 << 20);
            let mut numbers = Numbers(11);
            let mut buffer = Vec::new();
            // What is in the ring; for the short messages also whether they were seen.
            let mut there: VecDeque<(Vec<u64>, usize, bool)> = VecDeque::new();
            let mut seen_in_time = 0;
            for seed in 0..20_000_u64 {
                match numbers.below(10) {
                    0..=4 => {
                        let (short, most) = (numbers.below(2) == 0, [100, 3000][numbers.below(2)]);
                        let bytes = numbers.below(most);
                        let (words, bytes) = if short || bytes == 16 {
                            (vec![seed, !seed], 16)
                        } else {
                            (message(seed, bytes), bytes)
                        };
                        match sender.send(&words, bytes).unwrap() {
                            Progress::Sent => there.push_back((words, bytes, false)),
                            // Fragments of the message may be there.
                            Progress::NoSpace(_) => sender.abandon(),
                        }
                    }
                    5..=7 => {
                        let taken = receiver.receive(&mut buffer).unwrap();
                        match there.pop_front() {
                            None => assert_eq!(taken, None),
                            Some((words, bytes, seen)) => {
                                assert_eq!((taken, &buffer), (Some(bytes), &words));
                                seen_in_time += u32::from(seen);
                            }
                        }
                    }
                    _ => {
                        let mut shown = Vec::new();
                        // All of it, a few frames at a time.
                        while !receiver.look_ahead(7, 2, |words| shown.push(words.to_vec())) {}
                        let mut expected = Vec::new();
                        for (words, bytes, seen) in &mut there {
                            if *bytes == 16 && !std::mem::replace(seen, true) {
                                expected.push(words.clone());
                            }
                        }
                        assert_eq!(shown, expected, "{seed}");
                    }
                }
            }
            assert!(seen_in_time > 1000, "{seen_in_time}");
        }
    }
}
