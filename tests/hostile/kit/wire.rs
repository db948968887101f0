//! Frames and messages by hand: enough to talk to an honest end, and nothing that would keep the
//! program from lying.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use super::memory::{CONTROL, DATA_BELL, Memory, ROOM_BELL, SLOT};

/// Marks of a frame.
pub(crate) const MORE: u64 = 1 << 16;
pub(crate) const JUMP: u64 = 1 << 17;
pub(crate) const ABORT: u64 = 1 << 18;
pub(crate) const SERIAL_SHIFT: u32 = 19;

/// How long this side waits for anything, before it looks whether it still wants to.
const PATIENCE: Duration = Duration::from_millis(20);

/// Writes frames into a ring.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) memory: Memory,
    pub(crate) ring: usize,
    pub(crate) tail: u64,
    pub(crate) serial: u64,
    /// Whether frames go over what was not read yet.
    pub(crate) reckless: bool,
}

impl Writer {
    pub(crate) fn new(memory: Memory, ring: usize) -> Writer {
        Writer { memory, ring, tail: 0, serial: 1, reckless: false }
    }

    /// Puts a frame in: `bytes` is what it announces, `words` what is there.
    /// Returns false if there was no room for a while.
    pub(crate) fn frame(&mut self, words: &[u64], bytes: u64, marks: u64) -> bool {
        let count = ((words.len() * 8 + 8).div_ceil(SLOT)) as u64;
        let deadline = Instant::now() + PATIENCE;
        while !self.reckless
            && self.tail.wrapping_sub(self.memory.word(CONTROL[self.ring]).load(Acquire)) + count
                >= self.memory.slots()
        {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::yield_now();
        }
        for (i, word) in words.iter().enumerate() {
            let at = i + 1;
            let slot = self.memory.slot(self.ring, self.tail + (at * 8 / SLOT) as u64);
            self.memory.word(slot + at * 8 % SLOT).store(*word, Relaxed);
        }
        self.memory.word(self.memory.slot(self.ring, self.tail + count)).store(0, Relaxed);
        self.memory
            .word(self.memory.slot(self.ring, self.tail))
            .store(bytes | marks | self.serial << SERIAL_SHIFT, Release);
        self.tail += count;
        self.serial += 1;
        self.memory.ring_bell(CONTROL[self.ring] + DATA_BELL);
        true
    }

    /// Sends a message, in fragments if need be. Returns false if there was no room for a while.
    pub(crate) fn message(&mut self, bytes: &[u8]) -> bool {
        let words = words(bytes);
        let longest = (self.memory.slots() / 2).min(256) as usize * SLOT / 8 - 1;
        let mut left = &words[..];
        while left.len() > longest {
            let (part, rest) = left.split_at(longest);
            if !self.frame(part, part.len() as u64 * 8, MORE) {
                return false;
            }
            left = rest;
        }
        self.frame(left, (bytes.len() - (words.len() - left.len()) * 8) as u64, 0)
    }
}

/// Reads messages out of a ring, like an honest side.
#[derive(Debug)]
pub(crate) struct Reader {
    memory: Memory,
    ring: usize,
    head: u64,
    serial: u64,
    jumped_at: u64,
    partial: Vec<u64>,
}

impl Reader {
    pub(crate) fn new(memory: Memory, ring: usize) -> Reader {
        Reader { memory, ring, head: 0, serial: 1, jumped_at: 0, partial: Vec::new() }
    }

    /// Returns the next message, if there is one.
    pub(crate) fn message(&mut self) -> Option<Vec<u8>> {
        let mask = self.memory.slots() - 1;
        loop {
            let word = self.memory.word(self.memory.slot(self.ring, self.head)).load(Acquire);
            if word >> SERIAL_SHIFT != self.serial {
                return None;
            }
            let bytes = (word & 0xffff) as usize;
            for at in 1..=bytes.div_ceil(8) {
                let slot = self.memory.slot(self.ring, self.head + (at * 8 / SLOT) as u64);
                self.partial.push(self.memory.word(slot + at * 8 % SLOT).load(Relaxed));
            }
            self.head += ((bytes + 8).div_ceil(SLOT)) as u64;
            self.serial += 1;
            if word & JUMP != 0 {
                self.jumped_at = self.head & mask;
                self.head = (self.head | mask) + 1;
            }
            if word & (MORE | ABORT) == MORE | ABORT {
                self.head = self.head & !mask | self.jumped_at;
            }
            self.memory.word(CONTROL[self.ring]).store(self.head, Release);
            self.memory.ring_bell(CONTROL[self.ring] + ROOM_BELL);
            match word & (MORE | ABORT) {
                0 => {
                    let words = std::mem::take(&mut self.partial);
                    let unused = (8 - bytes % 8) % 8;
                    let mut message: Vec<u8> =
                        words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    message.truncate(message.len() - unused);
                    return Some(message);
                }
                ABORT => self.partial.clear(),
                _ => {}
            }
        }
    }

    /// Waits for the next message until `deadline`.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        loop {
            if let Some(message) = self.message() {
                return Some(message);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::yield_now();
        }
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks(8)
        .map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
        .collect()
}

/// What a message says. `entry` and `serial` name a call. If a message has a number in place of the
/// name, the name here is that number, in decimal.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) entry: u32,
    pub(crate) serial: u64,
    pub(crate) name: Vec<u8>,
    /// Encoded arguments, value or result.
    pub(crate) value: Vec<u8>,
}

pub(crate) const EVENT: u8 = 1;
pub(crate) const CALL: u8 = 2;
pub(crate) const CANCEL: u8 = 6;
pub(crate) const CALL_BY: u8 = 7;
pub(crate) const ANSWER: u8 = 3;
pub(crate) const NOT_FOUND: u8 = 4;
pub(crate) const OVERLOADED: u8 = 9;
pub(crate) const FAILED: u8 = 5;
pub(crate) const RECEIPT: u8 = 8;
pub(crate) const WITHDRAW: u8 = 10;
pub(crate) const INTRODUCE: u8 = 11;
pub(crate) const MISTYPED: u8 = 12;
pub(crate) const REFUSE: u8 = 13;
pub(crate) const WELCOME: u8 = 14;

/// Flags beside these: a number in place of the name, the answer is to tell its kinds, kinds follow
/// the name.
pub(crate) const NUMBERED: u8 = 16;
pub(crate) const ASKS: u8 = 32;
pub(crate) const DESCRIBED: u8 = 64;

impl Message {
    pub(crate) fn event(name: &str, value: &[u8]) -> Message {
        Message { kind: EVENT, entry: 0, serial: 0, name: name.into(), value: value.into() }
    }

    pub(crate) fn call(serial: u64, name: &str, args: &[u8]) -> Message {
        Message {
            kind: CALL,
            entry: serial as u32 % 1000,
            serial,
            name: name.into(),
            value: args.into(),
        }
    }

    /// Makes the answer to a call, with its arguments as the result.
    pub(crate) fn answer(call: &Message) -> Message {
        Message { kind: ANSWER, name: Vec::new(), ..call.clone() }
    }

    /// Makes the message that says what a number stands for from here on.
    pub(crate) fn introduction(number: u32, name: &[u8], kinds: &[u8]) -> Message {
        Message {
            kind: INTRODUCE,
            entry: number,
            serial: 0,
            name: name.into(),
            value: kinds.into(),
        }
    }

    /// Makes the receipt for an event of the gauge with this number.
    pub(crate) fn receipt(gauge: u32) -> Message {
        Message { kind: RECEIPT, entry: gauge, serial: 0, name: Vec::new(), value: Vec::new() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let head =
            u64::from(self.kind) | (self.name.len() as u64) << 8 | u64::from(self.entry) << 32;
        let mut bytes = head.to_le_bytes().to_vec();
        if !matches!(self.kind & 0xf, EVENT | INTRODUCE) {
            bytes.extend(self.serial.to_le_bytes());
        }
        bytes.extend(&self.name);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(&self.value);
        bytes
    }

    /// Takes a message apart. Nothing is checked, and what it says of kinds is skipped.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Message> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let head = number(0)?;
        let (kind, flags) = (head as u8 & 0xf, head as u8 & 0xf0);
        let length = (head >> 8 & 0xff_ffff) as usize;
        let (serial, mut at) = match kind {
            EVENT | INTRODUCE => (0, 8),
            CALL_BY => (number(8)?, 24),
            _ => (number(8)?, 16),
        };
        // Until when the call is of use is of no interest here.
        let kind = if kind == CALL_BY { CALL } else { kind };
        let kinds = if flags & DESCRIBED == 0 {
            0
        } else {
            at += 8;
            number(at - 8)? as usize
        };
        let mut padded = |length: usize| {
            let bytes = bytes.get(at..at.checked_add(length)?)?;
            at = at.checked_add(length.checked_next_multiple_of(8)?)?;
            Some(bytes.to_vec())
        };
        let name =
            if flags & NUMBERED == 0 { padded(length)? } else { length.to_string().into_bytes() };
        padded(kinds)?;
        let value = bytes.get(at..)?.to_vec();
        Some(Message { kind, entry: (head >> 32) as u32, serial, name, value })
    }
}
