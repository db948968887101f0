//! Tests that each breach of the protocol is found, and named.

use std::sync::atomic::Ordering::Relaxed;

use crate::queue::frame::FrameKind;
use crate::queue::producer::Producer;
use crate::tests::common::{Pair, longest_frame, message};
use crate::{ChannelError, Misbehaved, Progress, Receiver, Sender, Side, Watch};

const SLOTS: usize = 32;
const MORE: u64 = 1 << 16;
const ABORT: u64 = 1 << 18;

/// Makes a frame word, by the description in `layout`.
fn frame_word(bytes: u64, flags: u64, serial: u64) -> u64 {
    bytes | flags | serial << 19
}

/// Returns what a receiver finds if the first slot has this frame word.
fn received(word: u64) -> Result<Option<usize>, Misbehaved> {
    let pair = Pair::segment(SLOTS);
    pair.parent.slots(0)[0].words[0].store(word, Relaxed);
    let mut receiver = Receiver::new(&pair.worker, Side::Worker, 1 << 20);
    let found = receiver.receive(&mut Vec::new());
    let has_come = Watch::new(&pair.worker, Side::Worker)
        .has_come(Receiver::new(&pair.worker, Side::Worker, 0).next_frame());
    assert!(
        has_come || matches!(found, Ok(None)),
        "a sleeper must see that there is something to find"
    );
    found.map_err(|e| match e {
        ChannelError::Misbehaved(m) => m,
        e => panic!("{e}"),
    })
}

#[test]
fn a_frame_in_order_is_none() {
    assert_eq!(received(frame_word(0, 0, 1)), Ok(Some(0)));
    assert_eq!(received(frame_word(24, 0, 1)), Ok(Some(24)));
    assert_eq!(received(frame_word(24, MORE, 1)), Ok(None));
    assert_eq!(received(frame_word(0, ABORT, 1)), Ok(None));
}

#[test]
fn a_serial_of_the_future() {
    for serial in [2, 3, 1000, 1 << 44, 1 << 44 | 2, (1 << 45) - 1] {
        assert_eq!(received(frame_word(24, 0, serial)), Err(Misbehaved::Serial));
    }
}

#[test]
fn more_bytes_than_a_frame_has() {
    let longest = longest_frame(SLOTS) as u64;
    assert_eq!(received(frame_word(longest, 0, 1)), Ok(Some(longest as usize)));
    for bytes in [longest + 1, longest + 8, 4096, 0xffff] {
        assert_eq!(received(frame_word(bytes, 0, 1)), Err(Misbehaved::Length));
        assert_eq!(received(frame_word(bytes, MORE, 1)), Err(Misbehaved::Length));
    }
}

#[test]
fn a_fragment_that_no_sender_makes() {
    for bytes in [0, 1, 7, 9, 2039] {
        assert_eq!(
            received(frame_word(bytes, MORE, 1)),
            Err(Misbehaved::Fragment),
            "{bytes} bytes"
        );
    }
    assert_eq!(received(frame_word(8, MORE | ABORT, 1)), Err(Misbehaved::Fragment));
}

#[test]
fn fragments_without_end() {
    let pair = Pair::segment(SLOTS);
    let mut producer = Producer::new(pair.parent.clone(), 0);
    let mut receiver = Receiver::new(&pair.worker, Side::Worker, 1_000);
    let mut buffer = Vec::new();
    for _ in 0..10 {
        producer.push(&message(1, 96), 96, FrameKind::More).unwrap();
        assert!(receiver.receive(&mut buffer).unwrap().is_none());
    }
    producer.push(&message(1, 48), 48, FrameKind::More).unwrap();
    assert!(matches!(
        receiver.receive(&mut buffer),
        Err(ChannelError::Misbehaved(Misbehaved::Oversize))
    ));
}

/// This holds for frames of every size, empty ones included: the bound is on what is taken out of
/// the ring.
#[test]
fn frames_after_the_end() {
    for (bytes, kind) in [
        (0, FrameKind::Last),
        (96, FrameKind::Last),
        (1_000, FrameKind::Last),
        (0, FrameKind::Abort),
        (96, FrameKind::More),
    ] {
        let pair = Pair::segment(SLOTS);
        let mut producer = Producer::new(pair.parent.clone(), 0);
        let mut receiver = Receiver::new(&pair.worker, Side::Worker, 1 << 20);
        let mut buffer = Vec::new();
        receiver.expect_end();
        let found = (0..4 * SLOTS).find_map(|_| {
            producer.push(&message(1, bytes), bytes, kind).unwrap();
            // A second call changes nothing.
            receiver.expect_end();
            receiver.receive(&mut buffer).err()
        });
        assert!(
            matches!(found, Some(ChannelError::Misbehaved(Misbehaved::Afterwards))),
            "{bytes} bytes: {found:?}"
        );
    }
}

#[test]
fn a_position_outside_what_was_published() {
    let allowed = [16, 17, 31, 32, 46, 47].map(|position| (position, true));
    let others = [0, 15, 48, 1 << 40, u64::MAX].map(|position| (position, false));
    for (position, allowed) in allowed.into_iter().chain(others) {
        let pair = Pair::segment(SLOTS);
        let mut sender = Sender::new(&pair.parent, Side::Parent);
        let head = &pair.worker.control(0).head.word;
        // 31 frames, and 16 more: the sender stands at 47, and has seen the receiver at 16.
        for seen in [0, 16] {
            head.store(seen, Relaxed);
            while sender.send(&[1], 8).unwrap() == Progress::Sent {}
        }
        head.store(position, Relaxed);
        match sender.send(&[1], 8) {
            Ok(progress) => assert!(
                allowed && (progress == Progress::Sent) == (position > 16),
                "position {position}: {progress:?}"
            ),
            Err(ChannelError::Misbehaved(Misbehaved::Position)) => {
                assert!(!allowed, "position {position}")
            }
            Err(e) => panic!("position {position}: {e}"),
        }
    }
}

/// Until every thread knows that the channel is dead, another thread may send another message.
#[test]
fn a_message_that_failed_half_way_is_not_gone_on_with() {
    let pair = Pair::segment(SLOTS);
    let mut sender = Sender::new(&pair.parent, Side::Parent);
    let large = message(1, 10_000);
    assert!(matches!(sender.send(&large, 10_000), Ok(Progress::NoSpace(_))));
    assert!(sender.is_under_way());
    pair.worker.control(0).head.word.store(1 << 40, Relaxed);
    assert!(matches!(
        sender.send(&large, 10_000),
        Err(ChannelError::Misbehaved(Misbehaved::Position))
    ));
    assert!(!sender.is_under_way());
    for bytes in [0, 8, 20_000] {
        // A frame may still find space by the last position that made sense.
        match sender.send(&message(2, bytes), bytes) {
            Ok(Progress::Sent) | Err(ChannelError::Misbehaved(Misbehaved::Position)) => {
                assert!(!sender.is_under_way())
            }
            other => panic!("{bytes} bytes: {other:?}"),
        }
    }
}
