//! Tests a peer that writes what it likes, where it likes, between any two steps of this side, and
//! during them.
//!
//! Whatever the peer does, a step of this side ends, does not panic, and takes no more memory than
//! agreed. It says one of: a clean message, nothing there, no space, misbehaviour. An access
//! outside the ring would be a panic: everything goes through slices.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::queue::consumer::Consumer;
use crate::queue::frame::FrameKind;
use crate::queue::producer::Producer;
use crate::shm::layout::SLOT_WORDS;
use crate::tests::common::{Numbers, Pair, longest_frame, message};
use crate::{ChannelError, Receiver, Region, Sender, Side, Sleeper, Watch};

/// Makes a frame word, by the description in `layout`.
fn frame_word(bytes: u64, flags: u64, serial: u64) -> u64 {
    bytes & 0xffff | (flags & 7) << 16 | serial << 19
}

/// Any word that the peer can write to.
#[derive(Debug, Clone, Copy)]
enum Word {
    Head,
    DataDoorbell,
    SpaceDoorbell,
    Closed,
    Slot(usize, usize),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    // Steps of this side.
    Send(usize),
    Receive,
    Look,
    Abandon,
    Close,
    // Steps of the peer in good form, so that what follows does harm in the midst of things.
    Push(usize, FrameKind),
    Pop,
    // Steps of the peer in bad form.
    Store(usize, Word, u64),
    Flip(usize, Word, u32),
    /// Moves the head by this much from where it is.
    Head(i64),
    /// Stores a plausible frame word in one slot: length, flags, distance from the serial that the
    /// peer would send next.
    Frame(usize, u64, u64, i64),
    /// Stores such a word in all slots: one of them is where this side looks.
    Frames(u64, u64, i64),
    /// Puts in again what another lap left, as if it were new.
    Copy(usize, usize),
}

struct Run {
    theirs: Region,
    sender: Sender,
    receiver: Receiver,
    watch: Watch,
    max_message: usize,
    their_sender: Producer,
    their_receiver: Consumer,
    their_serial: u64,
    under_way: Option<usize>,
    buffer: Vec<u64>,
}

impl Run {
    fn new(pair: Pair, max_message: usize) -> Run {
        Run {
            sender: Sender::new(&pair.parent, Side::Parent),
            receiver: Receiver::new(&pair.parent, Side::Parent, max_message),
            watch: Watch::new(&pair.parent, Side::Parent),
            max_message,
            their_sender: Producer::new(pair.worker.clone(), 1),
            their_receiver: Consumer::new(pair.worker.clone(), 0),
            their_serial: 1,
            under_way: None,
            buffer: Vec::new(),
            theirs: pair.worker,
        }
    }

    fn send(&mut self, bytes: usize) {
        let bytes = *self.under_way.get_or_insert(bytes);
        match self.sender.send(&message(1, bytes), bytes) {
            Ok(crate::Progress::Sent) => self.under_way = None,
            Ok(crate::Progress::NoSpace(space)) => {
                self.watch.has_space(space);
            }
            // A program stops here. That it may go on without harm is more than is needed, and
            // finds more.
            Err(ChannelError::Misbehaved(_)) => {}
            Err(e) => panic!("{e}"),
        }
    }

    /// Returns `false` if the channel is dead.
    fn receive(&mut self) -> bool {
        let received = self.receiver.receive(&mut self.buffer);
        let most = self.max_message.max(longest_frame(self.theirs.slots(0).len()));
        assert!(
            self.buffer.capacity() * 8 <= 2 * most + 64,
            "{} words for messages of {} bytes",
            self.buffer.capacity(),
            self.max_message
        );
        match received {
            Ok(Some(bytes)) => {
                assert!(bytes <= self.max_message, "{bytes} bytes");
                assert_eq!(self.buffer.len(), bytes.div_ceil(8));
                true
            }
            Ok(None) => true,
            Err(ChannelError::Misbehaved(_)) => false,
            Err(e) => panic!("{e}"),
        }
    }

    fn change(&self, ring: usize, target: Word, to: impl Fn(u64) -> u64) {
        let control = self.theirs.control(ring);
        let small = |word: &crate::sync::atomic::AtomicU32| {
            word.store(to(word.load(Relaxed).into()) as u32, Relaxed)
        };
        match target {
            Word::Head => control.head.word.store(to(control.head.word.load(Relaxed)), Relaxed),
            Word::DataDoorbell => small(&control.data_doorbell.word),
            Word::SpaceDoorbell => small(&control.space_doorbell.word),
            Word::Closed => small(&control.closed.word),
            Word::Slot(slot, word) => {
                let slots = self.theirs.slots(ring);
                let word = &slots[slot % slots.len()].words[word];
                word.store(to(word.load(Relaxed)), Relaxed);
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(bytes) => self.send(bytes),
            Step::Receive => {
                self.receive();
            }
            Step::Look => {
                self.watch.has_come(self.receiver.next_frame());
                self.watch.is_closed();
            }
            Step::Abandon => {
                self.sender.abandon();
                self.under_way = None;
            }
            Step::Close => self.sender.close().expect("wake"),
            Step::Push(bytes, kind) => {
                let bytes = bytes.min(self.their_sender.max_frame_bytes());
                if self.their_sender.push(&message(2, bytes), bytes, kind) == Ok(true) {
                    self.their_serial += 1;
                }
            }
            Step::Pop => {
                let _ = self.their_receiver.pop(&mut Vec::new());
            }
            Step::Store(ring, target, value) => self.change(ring, target, |_| value),
            Step::Flip(ring, target, bit) => self.change(ring, target, |old| old ^ 1 << bit),
            Step::Head(by) => self.change(0, Word::Head, |old| old.wrapping_add_signed(by)),
            Step::Frame(slot, bytes, flags, ahead) => {
                let word = frame_word(bytes, flags, self.their_serial.wrapping_add_signed(ahead));
                self.change(1, Word::Slot(slot, 0), |_| word);
            }
            Step::Frames(bytes, flags, ahead) => {
                let word = frame_word(bytes, flags, self.their_serial.wrapping_add_signed(ahead));
                (0..self.theirs.slots(1).len())
                    .for_each(|slot| self.change(1, Word::Slot(slot, 0), |_| word));
            }
            Step::Copy(from, to) => {
                let slots = self.theirs.slots(1);
                for word in 0..SLOT_WORDS {
                    let old = slots[from % slots.len()].words[word].load(Relaxed);
                    self.change(1, Word::Slot(to, word), |_| old);
                }
            }
        }
    }
}

fn shared_word() -> impl Strategy<Value = Word> {
    prop_oneof![
        2 => Just(Word::Head),
        1 => Just(Word::DataDoorbell),
        1 => Just(Word::SpaceDoorbell),
        1 => Just(Word::Closed),
        4 => (0..64_usize).prop_map(|slot| Word::Slot(slot, 0)),
        2 => (0..64_usize, 0..SLOT_WORDS).prop_map(|(slot, word)| Word::Slot(slot, word)),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..300_u64,
        Just(u64::MAX),
        (0..300_u64).prop_map(|v| u64::MAX - v),
        (0..64_u32).prop_map(|b| 1 << b)
    ]
}

fn frame_bytes() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..=200_u64,
        0..=0xffff_u64,
        (0..=256_u64, 0..=16_u64).prop_map(|(n, d)| (n * 128).saturating_sub(d))
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = || prop_oneof![3 => 0..=300_usize, 1 => 0..=20_000_usize];
    let kind = prop::sample::select(vec![
        FrameKind::Last,
        FrameKind::Last,
        FrameKind::More,
        FrameKind::Abort,
    ]);
    let ring = || 0..2_usize;
    prop_oneof![
        6 => sizes().prop_map(Step::Send),
        8 => Just(Step::Receive),
        1 => Just(Step::Look),
        1 => Just(Step::Abandon),
        1 => Just(Step::Close),
        8 => (sizes().prop_map(|bytes| bytes & !7), kind)
            .prop_map(|(bytes, kind)| Step::Push(bytes, kind)),
        4 => Just(Step::Pop),
        2 => (ring(), shared_word(), value())
            .prop_map(|(ring, target, value)| Step::Store(ring, target, value)),
        2 => (ring(), shared_word(), 0..64_u32)
            .prop_map(|(ring, target, bit)| Step::Flip(ring, target, bit)),
        2 => (-40..300_i64).prop_map(Step::Head),
        1 => (0..64_usize, frame_bytes(), 0..8_u64, -3..3_i64)
            .prop_map(|(slot, bytes, flags, ahead)| Step::Frame(slot, bytes, flags, ahead)),
        1 => (frame_bytes(), 0..8_u64, -3..3_i64)
            .prop_map(|(bytes, flags, ahead)| Step::Frames(bytes, flags, ahead)),
        1 => (0..64_usize, 0..64_usize).prop_map(|(from, to)| Step::Copy(from, to)),
    ]
}

fn hostile_pair() -> impl Strategy<Value = Pair> {
    prop_oneof![
        prop::sample::select(vec![4, 8, 32, 128, 256]).prop_map(Pair::heap),
        prop::sample::select(vec![32, 128]).prop_map(Pair::segment),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_the_other_side_writes_does_harm(
        pair in hostile_pair(),
        max_message in prop::sample::select(vec![0, 64, 1_000, 5_000, 40_000]),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut run = Run::new(pair, max_message);
        for step in steps {
            run.step(step);
        }
    }
}

/// Words change while they are read: what was checked must be what is used.
#[test]
fn nothing_it_writes_meanwhile_does_harm() {
    for slots in [32, 128] {
        let start = Instant::now();
        let mut deaths = 0;
        // On a busy machine the two threads may hardly run at the same time: then it takes longer
        // until the writes are noticed.
        for seed in 0.. {
            if start.elapsed() >= Duration::from_millis(if deaths > 0 { 300 } else { 20_000 }) {
                break;
            }
            let pair = Pair::segment(slots);
            let theirs = pair.worker.clone();
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| scribble(&theirs, seed, &over));
                let mut run = Run::new(pair, 5_000);
                let mut numbers = Numbers(seed);
                for _ in 0..20_000 {
                    run.send(numbers.below(3_000));
                    if !run.receive() {
                        deaths += 1;
                        break;
                    }
                }
                over.store(true, Relaxed);
            });
        }
        assert!(deaths > 0, "it was not even noticed");
    }
}

/// Writes plausible frames, and now and then rubbish, into both rings until it is over.
fn scribble(region: &Region, seed: u64, over: &AtomicBool) {
    let mut numbers = Numbers(!seed);
    let slots = region.slots(1);
    let mut serial = 1;
    let mut position = 0;
    while !over.load(Relaxed) {
        let bytes = numbers.below(600) as u64;
        // Hesitates between two words, so that a second look may find another word.
        for bytes in [bytes, 0xffff, bytes] {
            slots[position % slots.len()].words[0].store(frame_word(bytes, 0, serial), Relaxed);
        }
        position += (bytes as usize + 8).div_ceil(128);
        serial += 1;
        let head = &region.control(0).head.word;
        head.store(head.load(Relaxed) + numbers.below(3) as u64, Relaxed);
        if numbers.below(1_000) == 0 {
            let slot = &slots[numbers.below(slots.len())];
            slot.words[numbers.below(SLOT_WORDS)].store(numbers.next(), Relaxed);
        }
        if numbers.below(16) == 0 {
            thread::yield_now();
        }
    }
}

/// A sender that begins messages and gives them up for ever must not keep a receiver from looking
/// at the clock.
#[test]
fn a_flood_of_abandoned_messages_does_not_hold_a_receiver() {
    const SLOTS: u64 = 1024;
    const FRAME_SLOTS: u64 = 16;
    let pair = Pair::heap(SLOTS as usize);
    let head = || pair.parent.control(1).head.word.load(Relaxed);
    // Only the frame words are written: writing is so much quicker than reading that the ring is
    // never empty.
    let (mut position, mut serial) = (0, 1);
    let mut fill = || {
        while position - head() + FRAME_SLOTS < SLOTS {
            let flag = if serial % 2 == 1 { 1 } else { 4 };
            let word = frame_word(FRAME_SLOTS * 128 - 8, flag, serial);
            pair.worker.slots(1)[(position % SLOTS) as usize].words[0].store(word, Relaxed);
            position += FRAME_SLOTS;
            serial += 1;
        }
    };
    fill();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(5);
            while !over.load(Relaxed) && Instant::now() < until {
                fill();
            }
        });
        let mut receiver = Receiver::new(&pair.parent, Side::Parent, 1 << 20);
        let mut buffer = Vec::new();
        let mut longest = 0;
        for _ in 0..1_000 {
            let before = head();
            assert_eq!(receiver.receive(&mut buffer).expect("in good form"), None);
            longest = longest.max(head() - before);
        }
        over.store(true, Relaxed);
        assert!(longest <= SLOTS, "one call took {longest} slots");
    });
}

#[test]
fn a_sleep_ends_at_its_deadline_whatever_is_in_the_bells() {
    let pair = Pair::segment(32);
    let watch = Watch::new(&pair.parent, Side::Parent);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut numbers = Numbers(1);
            while !over.load(Relaxed) {
                let mark = numbers.below(4) as u32;
                pair.worker.control(1).data_doorbell.word.store(mark, Relaxed);
                pair.worker.control(0).space_doorbell.word.store(mark, Relaxed);
                thread::yield_now();
            }
        });
        for round in 0..100 {
            let deadline = Instant::now() + Duration::from_millis(1);
            while Instant::now() < deadline {
                if round % 2 == 0 {
                    watch.arm(Sleeper::Driver);
                    watch.sleep(Sleeper::Driver, Some(deadline)).expect("futex");
                } else {
                    watch.arm_for_space();
                    watch.sleep_for_space(Some(deadline)).expect("futex");
                }
            }
            assert!(deadline.elapsed() < Duration::from_secs(4));
        }
        over.store(true, Relaxed);
    });
}
