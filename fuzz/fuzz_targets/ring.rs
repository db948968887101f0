//! Feeds raw words of the segment to both halves of an end: to a sender whose consumer lies, and to
//! a receiver whose producer lies.
//!
//! The peer is a separate producer, written from the description of the layout. It does everything
//! that a producer may do: frames of any length and with any marks, and jumps wherever there is
//! space for one. While the producer keeps to the rules, all its messages must arrive. It may break
//! the rules at any time, and write any word of the segment. Even then:
//!
//! - Nothing panics.
//! - The end takes no more memory than was agreed.
//! - Each word of a message is from a slot of the incoming ring.
//! - The end stores nothing outside its own words.

#![no_main]

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use coprocess_fuzz::segment::{CLOSED, DATA_BELL, HEAD, SLOT_WORDS, SPACE_BELL, Segment};
use coprocess_ring::{ChannelError, Progress, Receiver, Region, Sender, Side, Watch};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const CAPACITY: usize = 4096;
/// Counts the payload bytes of the longest frame, which takes half the slots.
const LONGEST: usize = CAPACITY / 2 - 8;
const MAX_MESSAGE: usize = 3000;
/// Marks, in its upper half, each word that must not turn up in a message. These are the words
/// outside of both rings, and those of the other ring.
const FOREIGN: u64 = 0x5a5a_f00d << 32;

const MORE: u64 = 1;
const JUMP: u64 = 2;
const ABORT: u64 = 4;

#[derive(Arbitrary, Debug)]
enum Step {
    Send(u16),
    SendJoined(u8, u16),
    Abandon,
    Receive,
    Look,
    Close,
    /// The peer receives everything that was sent.
    Take,
    /// The next frame, with this length and these marks.
    Frame(u16, u8),
    /// A small frame without marks, or with a jump.
    Small(u8, bool),
    /// A frame after which the message goes on.
    Fragment(u8),
    /// A frame that gives the message up.
    GiveUp,
    /// The next frame, with a wrong serial or in a wrong slot.
    Misplaced {
        bytes: u16,
        marks: u8,
        ahead: i8,
        slots: i8,
    },
    /// One frame word in every slot: the receiver looks at one of them.
    Everywhere {
        bytes: u16,
        marks: u8,
        ahead: i8,
    },
    /// Moves the position of the peer's consumer.
    Head(i16),
    HeadAt(u64),
    Closed(bool),
    Bell(bool, bool, u32),
    Word {
        ring: bool,
        slot: u8,
        word: u8,
        value: u64,
    },
    Flip {
        ring: bool,
        slot: u8,
        word: u8,
        bit: u8,
    },
    /// Copies the content of one slot to another.
    Copy(u8, u8),
}

/// Plays the peer's producer.
struct Producer {
    segment: &'static Segment,
    tail: u64,
    serial: u64,
    sent: u64,
    /// Lists the messages that must still arrive, while the producer has kept to the rules.
    expected: Option<VecDeque<Vec<u64>>>,
    lengths: VecDeque<usize>,
    partial: Vec<u64>,
}

impl Producer {
    fn slots(&self) -> u64 {
        self.segment.slots() as u64
    }

    fn misbehave(&mut self) {
        self.expected = None;
    }

    fn frame(&mut self, bytes: u16, marks: u64) {
        let count = (u64::from(bytes) + 8).div_ceil(128);
        let behind = self.tail.wrapping_add(count);
        let next = if marks & JUMP != 0 { (behind | (self.slots() - 1)) + 1 } else { behind };
        self.check(usize::from(bytes), marks, count, next);
        let slots = self.slots();
        let slot = |position: u64| (position & (slots - 1)) as usize;
        let payload = self.payload(usize::from(bytes));
        let ring = self.segment.slot(1, 0);
        for (i, value) in payload.iter().enumerate() {
            ring[(slot(self.tail) * SLOT_WORDS + 1 + i) % ring.len()].store(*value, Relaxed);
        }
        self.segment.slot(1, slot(next))[0].store(0, Relaxed);
        self.segment.slot(1, slot(self.tail))[0].store(self.word(bytes, marks, 0), Release);
        self.tail = next;
        self.serial += 1;
        self.note(usize::from(bytes), marks, payload);
    }

    fn word(&self, bytes: u16, marks: u64, ahead: i8) -> u64 {
        u64::from(bytes) | marks << 16 | self.serial.wrapping_add_signed(ahead.into()) << 19
    }

    /// Makes words that no other frame has.
    fn payload(&mut self, bytes: usize) -> Vec<u64> {
        let words = bytes.div_ceil(8);
        let mut payload: Vec<u64> = (0..words).map(|i| (self.sent + i as u64) << 8 | 1).collect();
        self.sent += words as u64;
        if let (Some(last), rest @ 1..) = (payload.last_mut(), bytes % 8) {
            *last &= (1 << (8 * rest)) - 1;
        }
        payload
    }

    /// Notes misbehaviour if an honest producer must not publish this frame now.
    fn check(&mut self, bytes: usize, marks: u64, count: u64, next: u64) {
        let head = self.segment.control(1, HEAD).load(Acquire);
        let free = |position: u64| position.wrapping_sub(head) < self.slots();
        let fits = self.tail.wrapping_sub(head).wrapping_add(count) < self.slots() && free(next);
        let kind = match marks & (MORE | ABORT) {
            0 => true,
            MORE => bytes > 0 && bytes.is_multiple_of(8),
            ABORT => bytes == 0,
            _ => false,
        };
        if !fits || !kind || bytes > LONGEST || self.partial.len() * 8 + bytes > MAX_MESSAGE {
            self.misbehave();
        }
    }

    fn note(&mut self, bytes: usize, marks: u64, payload: Vec<u64>) {
        let Some(expected) = &mut self.expected else { return };
        match marks & (MORE | ABORT) {
            ABORT => self.partial.clear(),
            MORE => self.partial.extend(payload),
            _ => {
                self.lengths.push_back(self.partial.len() * 8 + bytes);
                let mut message = std::mem::take(&mut self.partial);
                message.extend(payload);
                expected.push_back(message);
            }
        }
    }
}

/// Holds the end under test.
struct Ours {
    sender: Sender,
    receiver: Receiver,
    watch: Watch,
    under_way: Option<(usize, usize)>,
    buffer: Vec<u64>,
    dead: bool,
}

impl Ours {
    fn send(&mut self, first: usize, second: usize) {
        let (first, second) = *self.under_way.get_or_insert((first, second));
        let mut words: Vec<u64> = (0..first.div_ceil(8)).map(|i| FOREIGN | i as u64).collect();
        if let (Some(last), rest @ 1..) = (words.last_mut(), first % 8) {
            *last &= (1 << (8 * rest)) - 1;
        }
        let sent = if second > 0 {
            self.sender.send_joined(&words, &vec![0x5a; second])
        } else {
            self.sender.send(&words, first)
        };
        match sent {
            Ok(Progress::Sent) => self.under_way = None,
            Ok(Progress::NoSpace(needed)) => {
                self.watch.has_space(needed);
            }
            Err(ChannelError::Misbehaved(_)) => self.under_way = None,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self, theirs: &mut Producer) -> bool {
        let received = self.receiver.receive(&mut self.buffer);
        let capacity = self.buffer.capacity() * 8;
        assert!(
            capacity <= 2 * (MAX_MESSAGE + LONGEST) + 64,
            "{capacity} bytes for a message of at most {MAX_MESSAGE}"
        );
        match received {
            Ok(Some(bytes)) => {
                assert!(bytes <= MAX_MESSAGE);
                assert_eq!(self.buffer.len(), bytes.div_ceil(8));
                assert!(
                    self.buffer.iter().all(|word| word >> 32 != FOREIGN >> 32),
                    "a word from elsewhere"
                );
                if let Some(expected) = &mut theirs.expected {
                    assert_eq!(
                        (Some(bytes), Some(&self.buffer)),
                        (theirs.lengths.pop_front(), expected.pop_front().as_ref())
                    );
                }
                true
            }
            Ok(None) => false,
            Err(ChannelError::Misbehaved(how)) => {
                assert!(theirs.expected.is_none(), "{how}: reported for honest frames");
                self.dead = true;
                false
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn fuzz(steps: Vec<Step>) {
    static SEGMENT: OnceLock<(Region, Region, Segment)> = OnceLock::new();
    let (region, theirs, segment) = SEGMENT.get_or_init(|| {
        let (region, file) = Region::create(CAPACITY).expect("create");
        let theirs = Region::attach(&file, CAPACITY).expect("attach");
        (region, theirs, Segment::map(&file, CAPACITY))
    });
    segment.reset(FOREIGN);
    let mut ours = Ours {
        sender: Sender::new(region, Side::Parent),
        receiver: Receiver::new(region, Side::Parent, MAX_MESSAGE),
        watch: Watch::new(region, Side::Parent),
        under_way: None,
        buffer: Vec::new(),
        dead: false,
    };
    let expected = Some(VecDeque::new());
    let mut producer = Producer {
        segment,
        tail: 0,
        serial: 1,
        sent: 0,
        expected,
        lengths: VecDeque::new(),
        partial: Vec::new(),
    };
    let mut consumer = Some(Receiver::new(theirs, Side::Worker, 1 << 20));
    let mut taken = Vec::new();

    for step in steps {
        match step {
            Step::Send(bytes) => ours.send(bytes.into(), 0),
            Step::SendJoined(words, bytes) => ours.send(usize::from(words) * 8, bytes.into()),
            Step::Abandon => {
                ours.sender.abandon();
                ours.under_way = None;
            }
            Step::Receive if !ours.dead => {
                ours.receive(&mut producer);
            }
            Step::Receive => {}
            Step::Look => {
                ours.watch.has_come(ours.receiver.next_frame());
                ours.watch.is_closed();
            }
            Step::Close => ours.sender.close().and_then(|()| ours.receiver.close()).expect("wake"),
            Step::Take => {
                while let Some(Ok(Some(_))) =
                    consumer.as_mut().map(|consumer| consumer.receive(&mut taken))
                {}
            }
            Step::Frame(bytes, marks) => producer.frame(bytes, u64::from(marks & 7)),
            Step::Small(bytes, jump) => {
                producer.frame(u16::from(bytes), if jump { JUMP } else { 0 })
            }
            Step::Fragment(words) => producer.frame(8 * u16::from(words), MORE),
            Step::GiveUp => producer.frame(0, ABORT),
            Step::Misplaced { bytes, marks, ahead, slots } => {
                producer.misbehave();
                let slot = producer.tail.wrapping_add_signed(slots.into()) & (producer.slots() - 1);
                segment.slot(1, slot as usize)[0]
                    .store(producer.word(bytes, u64::from(marks & 7), ahead), Release);
            }
            Step::Everywhere { bytes, marks, ahead } => {
                producer.misbehave();
                for slot in 0..segment.slots() {
                    segment.slot(1, slot)[0]
                        .store(producer.word(bytes, u64::from(marks & 7), ahead), Release);
                }
            }
            Step::Head(by) => {
                consumer = None;
                let head = segment.control(0, HEAD);
                head.store(head.load(Relaxed).wrapping_add_signed(by.into()), Release);
            }
            Step::HeadAt(to) => {
                consumer = None;
                segment.control(0, HEAD).store(to, Release);
            }
            Step::Closed(closed) => segment.control(1, CLOSED).store(closed.into(), Release),
            Step::Bell(ring, space, mark) => {
                segment
                    .control(ring.into(), if space { SPACE_BELL } else { DATA_BELL })
                    .store(mark.into(), Relaxed);
            }
            Step::Word { ring, slot, word, value } => {
                let value = if value >> 32 == FOREIGN >> 32 { !value } else { value };
                if ring {
                    producer.misbehave();
                } else {
                    consumer = None;
                }
                segment.slot(ring.into(), slot.into())[usize::from(word) % SLOT_WORDS]
                    .store(value, Relaxed);
            }
            Step::Flip { ring, slot, word, bit } => {
                if ring {
                    producer.misbehave();
                } else {
                    consumer = None;
                }
                let word = &segment.slot(ring.into(), slot.into())[usize::from(word) % SLOT_WORDS];
                let value = word.load(Relaxed) ^ 1 << (bit % 64);
                // Never a foreign word, which the check would report.
                if value >> 32 != FOREIGN >> 32 {
                    word.store(value, Relaxed);
                }
            }
            Step::Copy(from, to) => {
                producer.misbehave();
                for (from, to) in segment
                    .slot(1, from.into())
                    .iter()
                    .zip(segment.slot(1, to.into()))
                    .take(SLOT_WORDS)
                {
                    to.store(from.load(Relaxed), Relaxed);
                }
            }
        }
    }

    // Messages in honest frames must arrive, if they were not received so far. Fragments may take
    // as many calls as a lap has frames.
    let mut nothing = 0;
    while !ours.dead && nothing < 4 && producer.expected.is_some() {
        nothing = if ours.receive(&mut producer) { 0 } else { nothing + 1 };
    }
    assert!(
        producer.expected.is_none_or(|expected| expected.is_empty()),
        "honest messages were lost"
    );
    for (i, word) in segment.words().iter().enumerate().filter(|(i, _)| !segment.is_used(*i)) {
        assert_eq!(word.load(Relaxed), FOREIGN, "word {i} was written");
    }
}

fuzz_target!(|steps: Vec<Step>| fuzz(steps));
