//! Tests that no byte reaches the segment that was not sent: what lies behind a message in private
//! memory is none of the peer's business.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::shm::layout::{CONTROL_OFFSET, SLOT_BYTES, SLOTS_OFFSET, segment_bytes};
use crate::tests::common::{Numbers, message, receive_all};
use crate::{Progress, Receiver, Region, Sender, Side};

const POISON: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// Puts a message into a vector whose spare capacity is poison.
fn amid_poison(words: &[u64]) -> Vec<u64> {
    let mut poisoned = vec![POISON; words.len() + 64];
    poisoned[..words.len()].copy_from_slice(words);
    poisoned.truncate(words.len());
    poisoned
}

fn words_of(file: &File, capacity: usize) -> Vec<u64> {
    let mut bytes = vec![0; segment_bytes(capacity)];
    file.read_exact_at(&mut bytes, 0).expect("read the segment");
    bytes.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes"))).collect()
}

/// The whole segment is compared with one that is put together here, by the description in
/// `layout`.
#[test]
fn the_segment_holds_what_was_sent_and_zeros() {
    const CAPACITY: usize = 64 * 1024;
    let (region, file) = Region::create(CAPACITY).unwrap();
    let file = File::from(file);
    let mut expected = words_of(&file, CAPACITY);
    assert_eq!(
        expected[4..].iter().find(|w| **w != 0),
        None,
        "a new segment is empty behind its header"
    );

    let mut sender = Sender::new(&region, Side::Parent);
    let mut slot = SLOTS_OFFSET / 8;
    for (serial, bytes) in (1..).zip([
        0, 1, 7, 8, 9, 55, 56, 57, 119, 120, 121, 127, 128, 248, 249, 300, 1_001, 5_003, 20_001,
    ]) {
        let sent = message(serial, bytes);
        assert_eq!(sender.send(&amid_poison(&sent), bytes).unwrap(), Progress::Sent);
        expected[slot] = bytes as u64 | serial << 19;
        expected[slot + 1..][..sent.len()].copy_from_slice(&sent);
        slot += (1 + sent.len()).next_multiple_of(SLOT_BYTES / 8);
    }
    let found = words_of(&file, CAPACITY);
    let different = (0..found.len()).find(|&i| found[i] != expected[i]);
    assert_eq!(different, None, "of {} words", found.len());
}

#[test]
fn fragments_and_aborts_bring_nothing_along() {
    const CAPACITY: usize = 4096;
    let (region, file) = Region::create(CAPACITY).unwrap();
    let file = File::from(file);
    let mut sender = Sender::new(&region, Side::Parent);
    let mut receiver = Receiver::new(&region, Side::Worker, 1 << 20);
    let mut numbers = Numbers(5);
    for seed in 0..400 {
        let bytes = numbers.below(10_000);
        let sent = amid_poison(&message(seed, bytes));
        let give_up = numbers.below(3) == 0;
        while sender.send(&sent, bytes).unwrap() != Progress::Sent {
            if give_up {
                sender.abandon();
                break;
            }
            receive_all(&mut receiver);
        }
        let words = words_of(&file, CAPACITY);
        assert_eq!(
            words.iter().position(|w| *w == POISON),
            None,
            "after message {seed} of {bytes} bytes"
        );
        // The other direction, and what lies between the control blocks, is not even touched.
        let slots_end = (SLOTS_OFFSET + CAPACITY) / 8;
        assert!(words[slots_end..].iter().all(|w| *w == 0));
        assert!(
            words[4..CONTROL_OFFSET[0] / 8]
                .iter()
                .chain(&words[CONTROL_OFFSET[1] / 8..SLOTS_OFFSET / 8])
                .all(|w| *w == 0)
        );
        receive_all(&mut receiver);
    }
}
