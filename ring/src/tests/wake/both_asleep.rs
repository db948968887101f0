//! Schedules sender and receiver on one thread, in random turns, with their doorbells and sleeps.
//! The two never both sleep while there is something for one of them to do.

use std::collections::VecDeque;

use crate::sync::atomic::Ordering::Relaxed;
use crate::tests::common::{Numbers, Pair, message};
use crate::{Progress, Side, Sleeper, Space, Watch};

/// The consumer empties the ring and falls asleep between the producer's look at the consumer's
/// position and what the producer publishes then.
#[test]
fn a_sender_that_finds_no_space_has_published_nothing_unheard() {
    let pair = Pair::heap(128);
    let (mut sender, mut receiver) = pair.ends(1 << 20);
    let (watch, sending) =
        (Watch::new(&pair.worker, Side::Worker), Watch::new(&pair.parent, Side::Parent));
    let mut buffer = Vec::new();
    for _ in 0..64 {
        assert_eq!(sender.send(&[1], 8).unwrap(), Progress::Sent);
    }
    while receiver.receive(&mut buffer).unwrap().is_some() {}
    let jumps = message(2, 32 * 128 - 8);
    assert_eq!(sender.send(&jumps, jumps.len() * 8).unwrap(), Progress::Sent);

    let head = &pair.parent.control(0).head.word;
    let seen = head.load(Relaxed);
    while receiver.receive(&mut buffer).unwrap().is_some() {}
    let published = head.load(Relaxed);
    watch.arm(Sleeper::Driver);
    assert!(!watch.has_come(receiver.next_frame()));

    let before = sender.wakeups();
    head.store(seen, Relaxed);
    let longest = message(3, 64 * 128 - 8);
    let sent = sender.send(&longest, longest.len() * 8).unwrap();
    head.store(published, Relaxed);
    let Progress::NoSpace(space) = sent else {
        panic!("{sent:?}: half a ring has no space beside what was not consumed")
    };
    assert!(sending.has_space(space) || sender.wakeups() > before, "both sides sleep");
    assert!(
        !watch.has_come(receiver.next_frame()) || sender.wakeups() > before,
        "something is there, and no sleeper was woken"
    );
}

struct Run {
    pair: Pair,
    numbers: Numbers,
    /// How many of 16 turns are the receiver's.
    receives: usize,
}

impl Run {
    /// Returns the size of a message that may be small, as long as a frame gets, or of several
    /// fragments.
    fn size(&mut self, slots: usize) -> usize {
        let longest = slots.min(512) * 64 - 8;
        match self.numbers.below(12) {
            0 => self.numbers.below(longest + 1),
            1 => self.numbers.below(longest * 3),
            2 => longest,
            3..6 => self.numbers.below(600),
            _ => self.numbers.below(57),
        }
    }

    fn go(mut self, slots: usize, turns: usize) {
        let (mut sender, mut receiver) = self.pair.ends(1 << 22);
        let (watch, sending) = (
            Watch::new(&self.pair.worker, Side::Worker),
            Watch::new(&self.pair.parent, Side::Parent),
        );
        let mut sent = VecDeque::new();
        let mut buffer = Vec::new();
        let mut receiver_sleeps = false;
        let mut waiting: Option<(usize, Vec<u64>, Space)> = None;
        for turn in 0..turns {
            if turn % 64 == 0 {
                self.receives = 1 + self.numbers.below(15);
            }
            receiver_sleeps &= self.pair.parent.control(0).data_doorbell.word.load(Relaxed) != 0;
            let sender_sleeps =
                waiting.as_ref().is_some_and(|(.., space)| !sending.has_space(*space));
            assert!(!receiver_sleeps || !sender_sleeps, "both sleep in turn {turn}");
            if self.numbers.below(16) < self.receives && !receiver_sleeps {
                match receiver.receive(&mut buffer).expect("an honest sender") {
                    Some(bytes) => {
                        assert_eq!(Some((bytes, buffer.clone())), sent.pop_front(), "turn {turn}")
                    }
                    None => {
                        watch.arm(Sleeper::Driver);
                        receiver_sleeps = !watch.has_come(receiver.next_frame());
                        if !receiver_sleeps {
                            watch.disarm();
                        }
                    }
                }
            } else if !sender_sleeps {
                let (bytes, words) = match waiting.take() {
                    Some(_) if self.numbers.below(8) == 0 => {
                        sender.abandon();
                        continue;
                    }
                    Some((bytes, words, _)) => (bytes, words),
                    None => {
                        let bytes = self.size(slots);
                        (bytes, message(turn as u64, bytes))
                    }
                };
                match sender.send(&words, bytes).expect("an honest receiver") {
                    Progress::Sent => sent.push_back((bytes, words)),
                    Progress::NoSpace(space) => waiting = Some((bytes, words, space)),
                }
            }
        }
    }
}

#[test]
fn never_do_both_sides_sleep() {
    for seed in 1..40 {
        for slots in [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048] {
            Run { pair: Pair::heap(slots), numbers: Numbers(seed), receives: 8 }.go(slots, 1500);
        }
    }
}
