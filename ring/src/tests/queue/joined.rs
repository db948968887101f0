//! Tests messages that are sent from two places, and long runs of payload at every place of the
//! ring.

use crate::queue::copy::{load_words, store_bytes, store_words};
use crate::tests::common::{Numbers, message, pairs};
use crate::{Progress, Region};

/// Puts bytes at an odd address, with others behind them that must not go along.
fn somewhere(words: &[u64], bytes: usize) -> Vec<u8> {
    let mut moved = vec![0xa5];
    moved.extend_from_slice(&bytemuck::cast_slice(words)[..bytes]);
    moved.push(0xa5);
    moved
}

#[test]
fn arrive_as_one() {
    for pair in pairs(32) {
        let (mut sender, mut receiver) = pair.ends(1 << 20);
        let mut numbers = Numbers(3);
        let mut buffer = Vec::new();
        for seed in 0..600 {
            let most = [300, 3_000, 30_000][numbers.below(3)];
            let bytes = 1 + numbers.below(most);
            let sent = message(seed, bytes);
            let (first, rest) = sent.split_at(numbers.below(sent.len()));
            let rest = somewhere(rest, bytes - first.len() * 8);
            let rest = &rest[1..rest.len() - 1];
            // Some messages are given up in their midst: nothing of them arrives.
            let give_up = numbers.below(4) == 0;
            let mut arrived = None;
            for _ in 0..sent.len() + 2 {
                let progress = sender.send_joined(first, rest).unwrap();
                if progress != Progress::Sent && give_up {
                    sender.abandon();
                    break;
                }
                arrived = receiver.receive(&mut buffer).unwrap();
                if progress == Progress::Sent {
                    break;
                }
            }
            while arrived.is_none() && !give_up {
                arrived = receiver.receive(&mut buffer).unwrap();
            }
            if let Some(length) = arrived {
                assert_eq!((length, &buffer), (bytes, &sent), "{} {seed}", pair.name);
            }
            while receiver.receive(&mut buffer).unwrap().is_some() {}
        }
    }
}

#[test]
fn every_length_at_every_place() {
    let region = Region::heap(64);
    let slots = region.slots(0);
    let mut numbers = Numbers(9);
    for start in (0..64).chain(u64::MAX - 64..=u64::MAX) {
        for bytes in [0, 1, 7, 8, 119, 120, 121, 247, 248, 249]
            .into_iter()
            .chain((0..40).map(|_| numbers.below(63 * 128)))
        {
            let sent = message(bytes as u64, bytes);
            let mut loaded = vec![1, 2, 3];
            store_words(slots, start, &sent);
            load_words(slots, start, sent.len(), &mut loaded);
            assert_eq!(
                (&loaded[..3], &loaded[3..]),
                (&[1, 2, 3][..], &sent[..]),
                "{bytes} bytes at {start}"
            );

            let other = message(!bytes as u64, bytes);
            let lying = somewhere(&other, bytes);
            loaded.clear();
            store_bytes(slots, start, &lying[1..=bytes]);
            load_words(slots, start, other.len(), &mut loaded);
            assert_eq!(loaded, other, "{bytes} bytes at {start}");
        }
    }
}
