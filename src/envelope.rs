//! What a message says: the layout of a message.
//!
//! A message is a head of whole words, followed by the postcard-encoded arguments, value or result. The ring frames it, so a payload that
//! does not decode spoils that message only.
//!
//! ```text
//!            byte 0    1 .. 3          4 .. 7        8 .. 15      16 ..
//! event      1         | name's length | gauge, or 0 | name, filled up with zeros to whole words | value
//! call       2         | name's length | entry       | serial     | name, filled up likewise | arguments
//! answer     3         | 0             | entry       | serial     | result
//! not found  4         | 0             | entry       | serial     |
//! failed     5         | 0             | entry       | serial     | what the handler said, in UTF-8
//! cancel     6         | 0             | entry       | serial     |
//! call by    7         | name's length | entry       | serial     | nanoseconds | name, filled up likewise | arguments
//! receipt    8         | 0             | gauge       | 0          |
//! overloaded 9         | 0             | entry       | serial     |
//! withdraw   10        | 0             | entry       | serial     |
//! introduce  11        | name's length | number      | name, filled up likewise | kinds
//! mistyped   12        | 0             | entry       | serial     | sent, a line feed, wanted, in UTF-8
//! refuse     13        | turn          | number      | where types differ |
//! welcome    14        | turn          | number      | 0          |
//!
//! flags of byte 0, for an event, a call and a call by:
//! + 16       byte 1 .. 3 are the number that was introduced for the name, which does not follow
//! + 32       a call whose answer is to tell its kinds, if it can
//! + 64       before the name, a word says how many bytes of kinds follow it, filled up likewise
//! for an introduction:
//! + 32       it is for calls, and not for events
//! for a refuse and a welcome:
//! + 64       the second word is a hash of a name and kinds that have no number
//!            a refuse then says where types differ in place of the number
//! for an answer:
//! + 64       before the result, a word says how many bytes of kinds follow it, filled up likewise
//! ```
//!
//! A call that has a deadline says when that is, by the [clock of the host](crate::clock). Only such calls pay for it.
//! The receipt says that an event with the number of a gauge was handled.
//!
//! A refusal or welcome is looked at ahead of its turn in the ring, and again when it is received.
//! The `turn`, a number that grows, tells that it is the same.
//!
//! A name and the [kinds](crate::types) of a value are introduced under a number before the first
//! message that has it. A number is introduced once. [`types`](crate::types) says when a call asks for kinds.
//!
//! The head is not postcard's: numbers of variable length, a byte at a time, took as long as everything else about a small call.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::ops::BitOr;

use serde::Serialize;

use coprocess_ring::{ChannelError, Progress, Sender};

use crate::direct::{Delivery, Whole};
use crate::encode::{EncodeError, Gather, partial_word};
use crate::error::{Error, Step};
use crate::types::{MAX_INTRODUCED_NAME, MAX_KINDS, Refused};

/// Names a call that is in flight: an entry of the caller's table, and a number that no other call of that entry ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId {
    pub(crate) entry: u32,
    pub(crate) serial: u64,
}

/// Names a method or event, and says what is known of the value that follows. Names are looked up as they come; they are UTF-8 if they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    /// A name. Nothing is said of the value.
    Named(&'a [u8]),
    /// A name and kinds that were introduced under a number.
    Known(Number),
    /// A name, and the kinds of the value.
    Described { name: &'a [u8], kinds: &'a [u8], asks: bool },
}

impl Subject<'_> {
    /// Whether the answer is to tell its kinds.
    #[inline]
    pub(crate) fn asks(self) -> bool {
        match self {
            Subject::Known(number) => number.asks(),
            Subject::Described { asks, .. } => asks,
            Subject::Named(_) => false,
        }
    }
}

/// A number that stands for a name, and whether the answer to a call is to tell its kinds: as they are
/// in the first word of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(NonZeroU32);

impl Number {
    const FLAG: NonZeroU32 = NonZeroU32::new(KNOWN as u32).unwrap();

    #[inline]
    pub(crate) fn new(number: u32, asks: bool) -> Number {
        Number(Number::FLAG.bitor(if asks { ASKS as u32 } else { 0 } | number << NAME_SHIFT))
    }

    pub(crate) fn to_raw(self) -> u32 {
        self.0.get()
    }

    /// Takes what [`to_raw`](Self::to_raw) returns. Returns `None` for zero.
    #[inline]
    pub(crate) fn from_raw(raw: u32) -> Option<Number> {
        NonZeroU32::new(raw).map(Number)
    }

    #[inline]
    pub(crate) fn number(self) -> u32 {
        self.0.get() >> NAME_SHIFT
    }

    #[inline]
    pub(crate) fn asks(self) -> bool {
        u64::from(self.0.get()) & ASKS != 0
    }
}

/// Tells which of two refusals and welcomes is the later one, if they are not far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn(u32);

impl Turn {
    /// The next one after so many.
    pub(crate) fn new(before: u32) -> Turn {
        Turn(before & MAX_NAME as u32)
    }

    pub(crate) fn is_after(self, other: Turn) -> bool {
        let ahead = self.0.wrapping_sub(other.0) & MAX_NAME as u32;
        (1..=MAX_NAME as u32 / 2).contains(&ahead)
    }

    fn bits(self) -> u64 {
        u64::from(self.0) << NAME_SHIFT
    }
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head<'a> {
    /// An event; its value follows.
    Event(Subject<'a>),
    /// An event of the gauge with this number, which is not zero; its value follows.
    Gauge(u32, Subject<'a>),
    /// Such an event was handled. Nothing follows.
    Receipt(u32),
    /// A call; its arguments follow. If it is of use only until a moment, that one, in nanoseconds of the host's clock.
    Call(CallId, Option<u64>, Subject<'a>),
    /// The other end wants no answer to this call of its own any more. Nothing follows.
    Cancel(CallId),
    /// As a cancel; and if the call is not served yet, it need not be. Nothing follows.
    Withdraw(CallId),
    /// The answer to a call; the result follows.
    Answer(CallId),
    /// The same, with the kinds of the result.
    DescribedAnswer(CallId, &'a [u8]),
    /// The call failed. Nothing follows.
    Failure(CallId, Failure<'a>),
    /// What this number stands for from here on: a name, and the kinds of a value. Nothing follows.
    Introduce { number: u32, of_call: bool, name: &'a [u8], kinds: &'a [u8] },
    /// Such events are not what their handler takes, and are not handled: here they differ. Nothing follows.
    Refuse(Refused, Turn, u32),
    /// There is another handler for such events. Nothing follows.
    Welcome(Refused, Turn),
}

/// Why a call failed on the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure<'a> {
    /// No such method.
    NotFound,
    /// Too many others are not answered yet.
    Overloaded,
    /// What the handler said.
    Remote(&'a str),
    /// The arguments are not of the types that the handler takes: what was sent, a line feed, and what is wanted.
    Mistyped(&'a str),
}

const EVENT: u64 = 1;
const CALL: u64 = 2;
const ANSWER: u64 = 3;
const NOT_FOUND: u64 = 4;
const FAILED: u64 = 5;
const CANCEL: u64 = 6;
const CALL_BY: u64 = 7;
const RECEIPT: u64 = 8;
const OVERLOADED: u64 = 9;
const WITHDRAW: u64 = 10;
const INTRODUCE: u64 = 11;
const MISTYPED: u64 = 12;
const REFUSE: u64 = 13;
const WELCOME: u64 = 14;

/// A number in place of a name.
const KNOWN: u64 = 16;
/// The answer is to tell its kinds.
const ASKS: u64 = 32;
/// An introduction is for calls.
const OF_CALL: u64 = 32;
/// Kinds follow.
const DESCRIBED: u64 = 64;

/// Words of a cancel, of a withdrawal, and of a refusal.
pub(crate) const URGENT_WORDS: usize = 2;

/// What a message is, without its flags.
const KIND_MASK: u64 = 0x0f;
const FLAGS_MASK: u64 = 0xf0;
const NAME_SHIFT: u32 = 8;
/// The longest name of a method or event, in bytes.
pub(crate) const MAX_NAME: usize = 0xff_ffff;
/// The most bytes by which what is said of types makes a message longer.
pub(crate) const TYPES_ROOM: usize = MAX_KINDS + 2 * MAX_INTRODUCED_NAME;
const ENTRY_SHIFT: u32 = 32;

/// Payload words that fit into one slot of the ring: such a message is encoded without touching the heap.
pub(crate) const INLINE_WORDS: usize = 15;

/// A buffer larger than this is not kept for the next message.
pub(crate) const KEEP_WORDS: usize = 32 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// A buffer of words that this thread used before.
#[inline]
pub(crate) fn take_spare() -> Vec<u64> {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// Keeps a buffer for the next use on this thread.
#[inline]
pub(crate) fn keep_spare(buffer: Vec<u64>) {
    if buffer.capacity() <= KEEP_WORDS {
        // A thread that is ending has no next use.
        let _ = SPARE.try_with(|spare| spare.set(buffer));
    }
}

/// An encoded message.
///
/// Encoded in place and passed by reference: moving it would read words back as larger blocks than they were just written in, which the
/// processor cannot forward from its store buffer.
#[derive(Debug, Default)]
pub(crate) struct Message<'v> {
    pub(crate) inline: [u64; INLINE_WORDS],
    /// All words, once there are more than fit inline.
    pub(crate) spilled: Vec<u64>,
    /// How many bytes the words are.
    pub(crate) bytes: usize,
    /// What follows the words, and was not copied. Unless it is empty, no word is incomplete.
    pub(crate) rest: &'v [u8],
}

impl CallId {
    /// Stands in a call that has no number yet.
    pub(crate) const NONE: CallId = CallId { entry: 0, serial: 0 };
}

impl Message<'static> {
    /// One that is not encoded yet.
    #[inline]
    pub(crate) const fn new() -> Message<'static> {
        Message { inline: [0; INLINE_WORDS], spilled: Vec::new(), bytes: 0, rest: &[] }
    }

    /// Encodes a message of at most `max` bytes and has it sent. `what` names the method or event in errors.
    ///
    /// User code runs in here (`Serialize`), with no lock held: it may panic, fail, or use the pair itself. If the value is one large byte
    /// string, the message is sent from within that code: what it says afterwards does not matter any more.
    #[inline]
    pub(crate) fn deliver<R>(
        &mut self,
        head: Head<'_>,
        value: &(impl Serialize + ?Sized),
        max: usize,
        what: &str,
        send: impl FnOnce(&mut Message<'_>) -> R,
    ) -> Step<R> {
        debug_assert_eq!(self.bytes, 0, "a message is encoded once");
        let mut gather = Gather::new(self, max);
        gather.put_head(head)?;
        let mut delivery = Delivery::Pending(send);
        let outcome = value.serialize(Whole::new(&mut gather, &mut delivery));
        match delivery {
            Delivery::Pending(send) => {
                gather.finish();
                self.check(outcome, max, what)?;
                Ok(send(self))
            }
            Delivery::Done(sent) => Ok(sent),
            // Whoever caught the panic calls it an error.
            Delivery::Unwound => Err(Error::Encode { what: what.to_owned(), source: "the value panicked while it was sent".into() }.into()),
        }
    }

    /// Encodes a message of at most `max` bytes, into a new one. `what` names the method or event in errors.
    ///
    /// User code runs in here (`Serialize`), with no lock held: it may panic, fail, or use the pair itself.
    #[inline]
    pub(crate) fn encode(&mut self, head: Head<'_>, value: &(impl Serialize + ?Sized), max: usize, what: &str) -> Step<()> {
        debug_assert_eq!(self.bytes, 0, "a message is encoded once");
        let mut gather = Gather::new(self, max);
        gather.put_head(head)?;
        let outcome = match head {
            Head::Failure(_, Failure::Remote(text) | Failure::Mistyped(text)) => {
                // Text is sent as it is, to the end of the message.
                gather.extend(text.as_bytes());
                Ok(())
            }
            _ => value.serialize(&mut gather),
        };
        gather.finish();
        self.check(outcome, max, what)
    }

    /// Makes this a message that ends with a copy of `payload`.
    pub(crate) fn encode_bytes(&mut self, head: Head<'_>, payload: &[u8], max: usize) -> Step<()> {
        debug_assert_eq!(self.bytes, 0, "a message is encoded once");
        let mut gather = Gather::new(self, max);
        gather.put_head(head)?;
        gather.extend(payload);
        gather.finish();
        self.check_size(max)
    }

    #[inline]
    fn check(&self, outcome: std::result::Result<(), EncodeError>, max: usize, what: &str) -> Step<()> {
        if let Err(error) = outcome {
            return Err(Error::Encode { what: what.to_owned(), source: Box::new(error) }.into());
        }
        self.check_size(max)
    }

    #[inline]
    pub(crate) fn check_size(&self, max: usize) -> Step<()> {
        if self.bytes > max && self.bytes.saturating_sub(self.kinds_bytes()) > max {
            return Err(Error::TooLarge { size: self.bytes, max }.into());
        }
        Ok(())
    }
}

impl Message<'_> {
    /// Publishes as much of it as there is room for; see [`Sender::send`].
    #[inline]
    pub(crate) fn publish(&self, sender: &mut Sender) -> std::result::Result<Progress, ChannelError> {
        if self.rest.is_empty() { sender.send(self.words(), self.bytes) } else { sender.send_joined(self.words(), self.rest) }
    }

    /// Takes it away, with a copy of what it refers to.
    pub(crate) fn take(&mut self) -> Message<'static> {
        let mut spilled = std::mem::take(&mut self.spilled);
        if !self.rest.is_empty() {
            if spilled.is_empty() {
                spilled.extend_from_slice(self.inline.get(..self.bytes / 8).unwrap_or(&self.inline));
            }
            self.append_rest(&mut spilled);
        }
        Message { inline: self.inline, spilled, bytes: self.bytes(), rest: &[] }
    }

    /// Copies all words, the last one filled up with zeros, into a buffer.
    pub(crate) fn copy_to(&self, words: &mut Vec<u64>) {
        words.clear();
        words.extend_from_slice(self.words());
        if !self.rest.is_empty() {
            self.append_rest(words);
        }
    }

    fn append_rest(&self, to: &mut Vec<u64>) {
        let (words, last) = self.rest.as_chunks::<8>();
        to.reserve_exact(words.len().saturating_add(1));
        to.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        if !last.is_empty() {
            to.push(partial_word(last));
        }
    }

    /// Completes a call that was encoded before it had a number.
    #[inline]
    pub(crate) fn address(&mut self, id: CallId) {
        let words = if self.spilled.is_empty() { &mut self.inline[..] } else { &mut self.spilled };
        if let [first, second, ..] = words {
            debug_assert!(matches!(*first & KIND_MASK, CALL | CALL_BY));
            *first = *first & u64::from(u32::MAX) | u64::from(id.entry) << ENTRY_SHIFT;
            *second = id.serial;
        }
    }

    /// Which call it is, if it is one.
    pub(crate) fn call(&self) -> Option<CallId> {
        match *self.words() {
            [first, serial, ..] if matches!(first & KIND_MASK, CALL | CALL_BY) => {
                Some(CallId { entry: (first >> ENTRY_SHIFT) as u32, serial })
            }
            _ => None,
        }
    }

    /// Whether it is an event other than that of a gauge, or introduces one.
    pub(crate) fn is_event(&self) -> bool {
        self.words().first().is_some_and(|first| match first & KIND_MASK {
            EVENT => first >> ENTRY_SHIFT == 0,
            INTRODUCE => first & OF_CALL == 0,
            _ => false,
        })
    }

    /// How many of its bytes tell kinds: they do not count, where a message has a bound.
    #[cold]
    fn kinds_bytes(&self) -> usize {
        match split(self.words(), self.bytes) {
            Some((
                Head::Event(Subject::Described { kinds, .. })
                | Head::Gauge(_, Subject::Described { kinds, .. })
                | Head::Call(_, _, Subject::Described { kinds, .. })
                | Head::DescribedAnswer(_, kinds),
                _,
            )) => kinds_bytes(kinds.len()),
            _ => 0,
        }
    }

    /// Whether a thread looks for it that does not receive what is before it.
    pub(crate) fn is_urgent(&self) -> bool {
        self.words().first().is_some_and(|first| matches!(first & KIND_MASK, CANCEL | WITHDRAW | REFUSE | WELCOME))
    }

    /// Bytes of memory of one that is kept: many are smaller than what holds them, and the queue that they are in may be only half full.
    pub(crate) fn cost(&self) -> usize {
        const PLACE: usize = 2 * size_of::<Message<'_>>();
        self.spilled.capacity().saturating_mul(8).saturating_add(PLACE)
    }

    /// The words, the last one filled up with zeros.
    #[inline]
    pub(crate) fn words(&self) -> &[u64] {
        if self.spilled.is_empty() { self.inline.get(..self.bytes.div_ceil(8)).unwrap_or(&self.inline) } else { &self.spilled }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.wrapping_add(self.rest.len())
    }
}

impl Drop for Message<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.spilled.capacity() > 0 {
            keep_spare(std::mem::take(&mut self.spilled));
        }
    }
}

impl Gather<'_> {
    #[inline(always)] // the kind of message is known where it is called: what is left of this are a few stores
    pub(crate) fn put_head(&mut self, head: Head<'_>) -> Step<()> {
        let plain = |kind, id: CallId| (kind, id);
        let (kind, id) = match head {
            Head::Event(subject) => return self.put_subject(EVENT, 0, None, None, subject),
            Head::Gauge(gauge, subject) => return self.put_subject(EVENT, gauge, None, None, subject),
            Head::Call(id, at, subject) => {
                let kind = if at.is_some() { CALL_BY } else { CALL };
                return self.put_subject(kind, id.entry, Some(id.serial), at, subject);
            }
            Head::Introduce { number, of_call, name, kinds } => {
                self.put_first(INTRODUCE | if of_call { OF_CALL } else { 0 }, name.len(), number)?;
                self.put_padded(name);
                self.extend(kinds);
                return Ok(());
            }
            Head::DescribedAnswer(id, kinds) => {
                self.put_plain(ANSWER | DESCRIBED, id);
                self.make_room(kinds_bytes(kinds.len()));
                self.put(kinds.len() as u64);
                self.put_padded(kinds);
                return Ok(());
            }
            Head::Receipt(gauge) => plain(RECEIPT, CallId { entry: gauge, serial: 0 }),
            Head::Cancel(id) => plain(CANCEL, id),
            Head::Withdraw(id) => plain(WITHDRAW, id),
            Head::Answer(id) => plain(ANSWER, id),
            Head::Failure(id, Failure::NotFound) => plain(NOT_FOUND, id),
            Head::Failure(id, Failure::Overloaded) => plain(OVERLOADED, id),
            Head::Failure(id, Failure::Remote(_)) => plain(FAILED, id),
            Head::Failure(id, Failure::Mistyped(_)) => plain(MISTYPED, id),
            Head::Refuse(Refused::Number(number), turn, place) => {
                plain(REFUSE | turn.bits(), CallId { entry: number, serial: place.into() })
            }
            Head::Refuse(Refused::Unnumbered(hash), turn, place) => {
                plain(REFUSE | DESCRIBED | turn.bits(), CallId { entry: place, serial: hash })
            }
            Head::Welcome(Refused::Number(number), turn) => plain(WELCOME | turn.bits(), CallId { entry: number, serial: 0 }),
            Head::Welcome(Refused::Unnumbered(hash), turn) => plain(WELCOME | DESCRIBED | turn.bits(), CallId { entry: 0, serial: hash }),
        };
        self.put_plain(kind, id);
        Ok(())
    }

    #[inline(always)] // as `put_head`
    fn put_plain(&mut self, kind: u64, id: CallId) {
        self.put(kind | u64::from(id.entry) << ENTRY_SHIFT);
        self.put(id.serial);
    }

    #[inline(always)] // as `put_head`
    fn put_first(&mut self, kind: u64, name: usize, entry: u32) -> Step<()> {
        if name > MAX_NAME {
            return Err(Error::TooLarge { size: name, max: MAX_NAME }.into());
        }
        self.put(kind | (name as u64) << NAME_SHIFT | u64::from(entry) << ENTRY_SHIFT);
        Ok(())
    }

    #[inline(always)] // as `put_head`
    fn put_subject(&mut self, kind: u64, entry: u32, serial: Option<u64>, at: Option<u64>, subject: Subject<'_>) -> Step<()> {
        match subject {
            Subject::Known(Number(number)) => self.put(kind | u64::from(number.get()) | u64::from(entry) << ENTRY_SHIFT),
            _ => return self.put_name(kind, entry, serial, at, subject),
        }
        if let Some(serial) = serial {
            self.put(serial);
        }
        if let Some(at) = at {
            self.put(at);
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn put_name(&mut self, kind: u64, entry: u32, serial: Option<u64>, at: Option<u64>, subject: Subject<'_>) -> Step<()> {
        let (name, described) = match subject {
            Subject::Named(name) => (name, None),
            Subject::Described { name, kinds, asks } => (name, Some((kinds, if asks { ASKS } else { 0 }))),
            Subject::Known(_) => (&[][..], None),
        };
        self.put_first(kind | described.map_or(0, |(_, asks)| DESCRIBED | asks), name.len(), entry)?;
        serial.into_iter().for_each(|serial| self.put(serial));
        at.into_iter().for_each(|at| self.put(at));
        if let Some((kinds, _)) = described {
            self.make_room(kinds_bytes(kinds.len()));
            self.put(kinds.len() as u64);
        }
        self.put_padded(name);
        described.into_iter().for_each(|(kinds, _)| self.put_padded(kinds));
        Ok(())
    }

    /// Adds bytes, filled up with zeros to whole words.
    #[inline]
    fn put_padded(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.put(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.put(partial_word(rest));
        }
    }
}

/// The bytes of a received message: a private copy, so what is checked cannot change afterwards.
#[inline]
pub(crate) fn as_bytes(words: &[u64], bytes: usize) -> &[u8] {
    let all: &[u8] = bytemuck::cast_slice(words);
    all.get(..bytes).unwrap_or(all)
}

/// Splits a message of `bytes` bytes into its head and the encoded value behind it. `None` if no honest end sends such a message.
pub(crate) fn split(words: &[u64], bytes: usize) -> Option<(Head<'_>, &[u8])> {
    let message = as_bytes(words, bytes);
    let first = u64::from_le(*words.first()?);
    let length = (first >> NAME_SHIFT) as usize & MAX_NAME;
    let (kind, flags, entry) = (first & KIND_MASK, first & FLAGS_MASK, (first >> ENTRY_SHIFT) as u32);
    if kind == EVENT {
        if flags & ASKS != 0 {
            return None;
        }
        let (subject, value) = split_subject(flags, length, message.get(8..)?)?;
        return Some((if entry == 0 { Head::Event(subject) } else { Head::Gauge(entry, subject) }, value));
    }
    if kind == INTRODUCE && flags & !OF_CALL == 0 {
        let (name, kinds) = split_padded(message.get(8..)?, length)?;
        return Some((Head::Introduce { number: entry, of_call: flags != 0, name, kinds }, &[]));
    }
    let id = CallId { entry, serial: u64::from_le(*words.get(1)?) };
    let rest = message.get(16..)?;
    match kind {
        CALL => {
            let (subject, args) = split_subject(flags, length, rest)?;
            Some((Head::Call(id, None, subject), args))
        }
        CALL_BY => {
            let at = u64::from_le(*words.get(2)?);
            let (subject, args) = split_subject(flags, length, rest.get(8..)?)?;
            Some((Head::Call(id, Some(at), subject), args))
        }
        REFUSE | WELCOME if rest.is_empty() => Some((split_refusal(kind, flags, Turn(length as u32), id)?, rest)),
        _ if length != 0 => None,
        ANSWER if flags == DESCRIBED => {
            let (kinds, result) = split_kinds(rest)?;
            Some((Head::DescribedAnswer(id, kinds), result))
        }
        _ if flags != 0 => None,
        ANSWER => Some((Head::Answer(id), rest)),
        CANCEL if rest.is_empty() => Some((Head::Cancel(id), rest)),
        WITHDRAW if rest.is_empty() => Some((Head::Withdraw(id), rest)),
        RECEIPT if rest.is_empty() && id.serial == 0 => Some((Head::Receipt(entry), rest)),
        NOT_FOUND if rest.is_empty() => Some((Head::Failure(id, Failure::NotFound), rest)),
        OVERLOADED if rest.is_empty() => Some((Head::Failure(id, Failure::Overloaded), rest)),
        FAILED => Some((Head::Failure(id, Failure::Remote(std::str::from_utf8(rest).ok()?)), &[])),
        MISTYPED => Some((Head::Failure(id, Failure::Mistyped(std::str::from_utf8(rest).ok()?)), &[])),
        _ => None,
    }
}

fn split_refusal(kind: u64, flags: u64, turn: Turn, id: CallId) -> Option<Head<'static>> {
    let (refused, place) = match flags {
        0 => (Refused::Number(id.entry), u32::try_from(id.serial).ok()?),
        DESCRIBED => (Refused::Unnumbered(id.serial), id.entry),
        _ => return None,
    };
    match kind {
        REFUSE => Some(Head::Refuse(refused, turn, place)),
        _ => (place == 0).then_some(Head::Welcome(refused, turn)),
    }
}

/// As [`split`], for the most frequent messages: plain calls, their answers, and events. `None` for all others, and for what is none.
#[inline]
pub(crate) fn split_frequent(words: &[u64], bytes: usize) -> Option<(Head<'_>, &[u8])> {
    let message = as_bytes(words, bytes);
    let first = u64::from_le(*words.first()?);
    let length = (first >> NAME_SHIFT) as usize & MAX_NAME;
    let (kind, entry) = (first & (KIND_MASK | FLAGS_MASK), (first >> ENTRY_SHIFT) as u32);
    if kind & !KNOWN == EVENT {
        if entry != 0 {
            return None;
        }
        let (subject, value) = split_frequent_subject(kind, length, message.get(8..)?)?;
        return Some((Head::Event(subject), value));
    }
    let (head, rest) = message.split_first_chunk::<16>()?;
    let [_, serial]: [[u8; 8]; 2] = bytemuck::cast(*head);
    let id = CallId { entry, serial: u64::from_le_bytes(serial) };
    // All but the entry: an answer has no name.
    if first & u64::from(u32::MAX) == ANSWER {
        return Some((Head::Answer(id), rest));
    }
    if kind & !KNOWN != CALL {
        return None;
    }
    let (subject, args) = split_frequent_subject(kind, length, rest)?;
    Some((Head::Call(id, None, subject), args))
}

#[inline]
fn split_frequent_subject(kind: u64, length: usize, rest: &[u8]) -> Option<(Subject<'_>, &[u8])> {
    if kind & KNOWN != 0 {
        return Some((Subject::Known(Number::new(length as u32, false)), rest));
    }
    let (name, value) = split_padded(rest, length)?;
    Some((Subject::Named(name), value))
}

fn split_subject(flags: u64, length: usize, rest: &[u8]) -> Option<(Subject<'_>, &[u8])> {
    let asks = flags & ASKS != 0;
    match flags & !ASKS {
        0 if !asks => {
            let (name, value) = split_padded(rest, length)?;
            Some((Subject::Named(name), value))
        }
        KNOWN => Some((Subject::Known(Number::new(length as u32, asks)), rest)),
        DESCRIBED => {
            let (count, rest) = split_count(rest)?;
            let (name, rest) = split_padded(rest, length)?;
            let (kinds, value) = split_padded(rest, count)?;
            Some((Subject::Described { name, kinds, asks }, value))
        }
        _ => None,
    }
}

/// The kinds of a result, and the result.
fn split_kinds(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = split_count(rest)?;
    split_padded(rest, count)
}

/// How many bytes kinds take in a message.
fn kinds_bytes(kinds: usize) -> usize {
    kinds.next_multiple_of(8).saturating_add(8)
}

/// How many bytes of kinds follow.
fn split_count(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<8>()?;
    let count = usize::try_from(u64::from_le_bytes(*count)).ok().filter(|count| *count <= MAX_KINDS)?;
    Some((count, rest))
}

/// The kinds that an answer tells, if it tells them: its result starts at `from`.
#[inline]
pub(crate) fn kinds_of_answer(words: &[u64], from: usize) -> Option<&[u8]> {
    // Behind a plain head there is nothing else.
    if from <= 16 { None } else { split_kinds(as_bytes(words, usize::MAX).get(16..)?).map(|(kinds, _)| kinds) }
}

#[inline]
fn split_padded(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (padded, value) = bytes.split_at_checked(length.next_multiple_of(8))?;
    Some((padded.get(..length)?, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;

    fn encode(head: Head<'_>, value: &[u8], max: usize) -> crate::Result<Message<'static>> {
        let mut message = Message::new();
        message.encode(head, serde_bytes::Bytes::new(value), max, "x")?;
        Ok(message)
    }

    fn round_trip(head: Head<'_>, value: &[u8], max: usize) {
        let message = encode(head, value, max).expect("fits");
        let all: &[u8] = bytemuck::cast_slice(message.words());
        assert!(all[message.bytes()..].iter().all(|b| *b == 0), "what fills the last word must be zero");
        let (decoded, rest) = split(message.words(), message.bytes()).expect("splits");
        assert_eq!(decoded, head);
        assert_eq!(rest, postcard::to_stdvec(serde_bytes::Bytes::new(value)).expect("encodes"));
        assert_eq!(decode::<serde_bytes::ByteBuf>(rest).expect("decodes").as_slice(), value);
    }

    #[test]
    fn every_length_and_alignment_is_encoded_as_postcard_does() {
        let bytes: Vec<u8> = (0..2000u32).map(|i| i as u8 | 1).collect();
        for name in ["", "a", "abcdefg", "abcdefgh", "a rather long name of an event", &"n".repeat(200)] {
            for length in (0..300).chain([1000, 1999]) {
                round_trip(Head::Event(Subject::Named(name.as_bytes())), &bytes[..length], usize::MAX);
                round_trip(
                    Head::Call(CallId { entry: u32::MAX, serial: 1 << 40 }, None, Subject::Named(name.as_bytes())),
                    &bytes[..length],
                    4000,
                );
                round_trip(
                    Head::Call(CallId { entry: 1, serial: 2 }, Some(1 << 50), Subject::Named(name.as_bytes())),
                    &bytes[..length],
                    4000,
                );
            }
            for length in [0, 50, 500] {
                round_trip(Head::Gauge(u32::MAX, Subject::Named(name.as_bytes())), &bytes[..length], 4000);
                let id = CallId { entry: u32::MAX, serial: u64::MAX };
                let mut message =
                    encode(Head::Call(CallId::NONE, None, Subject::Named(name.as_bytes())), &bytes[..length], 4000).expect("fits");
                message.address(id);
                let addressed = encode(Head::Call(id, None, Subject::Named(name.as_bytes())), &bytes[..length], 4000).expect("fits");
                assert_eq!((message.words(), message.bytes()), (addressed.words(), addressed.bytes()));
                let mut message =
                    encode(Head::Call(CallId::NONE, Some(1 << 50), Subject::Named(name.as_bytes())), &bytes[..length], 4000).expect("fits");
                message.address(id);
                let addressed =
                    encode(Head::Call(id, Some(1 << 50), Subject::Named(name.as_bytes())), &bytes[..length], 4000).expect("fits");
                assert_eq!((message.words(), message.bytes()), (addressed.words(), addressed.bytes()));
            }
        }
        round_trip(Head::Answer(CallId { entry: 7, serial: u64::MAX }), &bytes[..100], 4000);
    }

    #[test]
    fn failures_carry_their_text_as_it_is() {
        let id = CallId { entry: 3, serial: 9 };
        for text in ["", "no", "fünf Bücher und mehr, als in einen Schlitz passen: ".repeat(9).as_str()] {
            let mut message = Message::new();
            message.encode(Head::Failure(id, Failure::Remote(text)), &(), 4000, "x").expect("fits");
            assert_eq!(split(message.words(), message.bytes()), Some((Head::Failure(id, Failure::Remote(text)), &[][..])));
        }
        for failure in [Failure::NotFound, Failure::Overloaded] {
            let mut message = Message::new();
            message.encode(Head::Failure(id, failure), &(), 4000, "x").expect("fits");
            assert_eq!(split(message.words(), message.bytes()), Some((Head::Failure(id, failure), &[][..])));
        }
        for head in [Head::Cancel(id), Head::Withdraw(id)] {
            let mut message = Message::new();
            message.encode(head, &(), 4000, "x").expect("fits");
            assert!(message.is_urgent());
            assert_eq!(split(message.words(), message.bytes()), Some((head, &[][..])));
        }
    }

    #[test]
    fn a_call_says_by_when_it_is_to_be_answered() {
        for length in [0, 10, 1000] {
            let mut message =
                encode(Head::Call(CallId::NONE, Some(u64::MAX), Subject::Named(b"name")), &vec![9; length], 4000).expect("fits");
            message.address(CallId { entry: 3, serial: 9 });
            let (head, args) = split(message.words(), message.bytes()).expect("splits");
            assert_eq!(head, Head::Call(CallId { entry: 3, serial: 9 }, Some(u64::MAX), Subject::Named(b"name")));
            assert_eq!(decode::<serde_bytes::ByteBuf>(args).expect("decodes").len(), length);
        }
    }

    #[test]
    fn a_receipt_names_its_gauge() {
        let mut message = Message::new();
        message.encode(Head::Receipt(u32::MAX), &(), 4000, "x").expect("fits");
        assert_eq!(split(message.words(), message.bytes()), Some((Head::Receipt(u32::MAX), &[][..])));
    }

    #[test]
    fn a_message_over_the_bound_is_counted_but_not_kept() {
        let value = vec![1u8; 10_000];
        // Head, name, length, value.
        let exact = 8 + 8 + 2 + value.len();
        assert!(encode(Head::Event(Subject::Named(b"ab")), &value, exact).is_ok());
        match encode(Head::Event(Subject::Named(b"ab")), &value, exact - 1) {
            Err(Error::TooLarge { size, max }) => assert_eq!((size, max), (exact, exact - 1)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_large_byte_string_is_sent_from_where_it_lies() {
        let value: Vec<u8> = (0..100_000u32).map(|i| i as u8 | 1).collect();
        for length in (40_000..40_020).chain([99_999]) {
            for name in ["", "n", &"long".repeat(50)] {
                let (head, value) = (Head::Event(Subject::Named(name.as_bytes())), &value[..length]);
                let encoded = encode(head, &vec![0; length], usize::MAX).expect("fits").bytes();
                let mut message = Message::new();
                let kept = message.deliver(head, serde_bytes::Bytes::new(value), encoded, "x", |message| {
                    assert_eq!((message.bytes(), message.bytes % 8), (encoded, 0));
                    let (words, rest) = (message.words().to_vec(), message.rest);
                    assert!(value.ends_with(rest) && rest.len() + 8 >= length);
                    let kept = message.take();
                    assert!(as_bytes(kept.words(), encoded) == [as_bytes(&words, usize::MAX), rest].concat());
                    kept
                });
                let kept = kept.expect("fits");
                assert_eq!(kept.bytes(), encoded);
                let (decoded, bytes) = split(kept.words(), kept.bytes()).expect("splits");
                assert!(decoded == head && decode::<serde_bytes::ByteBuf>(bytes).expect("decodes") == value);

                let mut message = Message::new();
                let refused = message.deliver(head, serde_bytes::Bytes::new(value), encoded - 1, "x", |_| panic!("too large to be sent"));
                assert!(matches!(refused.map_err(|e| *e), Err(Error::TooLarge { size, max }) if (size, max) == (encoded, encoded - 1)));
            }
        }
    }

    #[test]
    fn a_name_of_any_length_is_encoded_or_refused() {
        let longest = vec![b'n'; MAX_NAME];
        let message = encode(Head::Event(Subject::Named(&longest)), &[], usize::MAX).expect("fits");
        assert!(matches!(split(message.words(), message.bytes()), Some((Head::Event(Subject::Named(name)), [0])) if name == longest));
        match encode(Head::Event(Subject::Named(&vec![b'n'; MAX_NAME + 1])), &[], usize::MAX) {
            Err(Error::TooLarge { size, max }) => assert_eq!((size, max), (MAX_NAME + 1, MAX_NAME)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_no_honest_end_sends_is_not_split() {
        let head = |kind: u64, length: u64, entry: u64| kind | length << NAME_SHIFT | entry << ENTRY_SHIFT;
        for (words, bytes) in [
            (vec![], 0),
            (vec![head(0, 0, 0), 1], 16),
            (vec![head(15, 0, 0), 1], 16),
            (vec![head(INTRODUCE, 9, 0), 1], 16),
            (vec![head(INTRODUCE | KNOWN, 0, 0), 1], 16),
            (vec![head(INTRODUCE | DESCRIBED, 0, 0), 1], 16),
            (vec![head(REFUSE, 0, 0), 1, 1], 24),
            (vec![head(REFUSE, 0, 0), 1 << 32], 16),
            (vec![head(REFUSE | KNOWN, 0, 0), 0], 16),
            (vec![head(WELCOME | DESCRIBED, 0, 1), 1], 16),
            (vec![head(WELCOME, 0, 0), 1], 16),
            (vec![head(WELCOME | KNOWN, 0, 0), 0], 16),
            (vec![head(MISTYPED, 0, 1), 1, 0xff], 17),
            (vec![head(EVENT | ASKS | DESCRIBED, 1, 0), 0], 16),
            (vec![head(EVENT | ASKS | KNOWN, 1, 0)], 8),
            (vec![head(EVENT | KNOWN | DESCRIBED, 0, 0), 0], 16),
            (vec![head(EVENT | DESCRIBED, 0, 0)], 8),
            (vec![head(EVENT | DESCRIBED, 1, 0), 0, 0], 16),
            (vec![head(EVENT | DESCRIBED, 0, 0), 9, 0], 24),
            (vec![head(EVENT | DESCRIBED, 0, 0), MAX_KINDS as u64 + 1, 0], 24),
            (vec![head(CALL | ASKS, 0, 0), 0], 16),
            (vec![head(CALL | KNOWN | DESCRIBED, 0, 0), 0, 0], 24),
            (vec![head(CALL_BY | KNOWN, 0, 0), 0], 16),
            (vec![head(ANSWER | KNOWN, 0, 0), 0, 0], 24),
            (vec![head(ANSWER | DESCRIBED, 0, 0), 0], 16),
            (vec![head(ANSWER | DESCRIBED, 0, 0), 0, u64::MAX], 24),
            (vec![head(ANSWER | DESCRIBED, 0, 0), 0, 9, 0], 32),
            (vec![head(CANCEL | ASKS, 0, 1), 1], 16),
            (vec![head(WITHDRAW, 1, 1), 1, 0], 24),
            (vec![head(WITHDRAW, 0, 1), 1, 0], 17),
            (vec![head(CANCEL, 1, 1), 1, 0], 24),
            (vec![head(CANCEL, 0, 1)], 8),
            (vec![head(CANCEL, 0, 1), 1, 0], 17),
            (vec![head(CALL_BY, 0, 1), 1], 16),
            (vec![head(CALL_BY, 0, 1), 1, 5], 23),
            (vec![head(CALL_BY, 1, 1), 1, 5], 24),
            (vec![head(EVENT, 0, 0)], 7),
            (vec![head(EVENT, 1, 0)], 8),
            (vec![head(EVENT, 1, 1)], 8),
            (vec![head(RECEIPT, 0, 1)], 8),
            (vec![head(RECEIPT, 0, 1), 1], 16),
            (vec![head(RECEIPT, 0, 1), 0, 0], 24),
            (vec![head(RECEIPT, 1, 1), 0, 0], 24),
            (vec![head(EVENT, 9, 0), 0, 0], 23),
            (vec![head(EVENT, MAX_NAME as u64, 0), 0], 16),
            (vec![head(CALL, 0, 1)], 8),
            (vec![head(CALL, 0, 1), 1], 15),
            (vec![head(CALL, 1, 1), 1], 16),
            (vec![head(ANSWER, 1, 1), 1, 0], 24),
            (vec![head(ANSWER, 0, 1)], 8),
            (vec![head(NOT_FOUND, 0, 1), 1, 0], 17),
            (vec![head(OVERLOADED, 0, 1), 1, 0], 17),
            (vec![head(OVERLOADED, 1, 1), 1, 0], 24),
            (vec![head(FAILED, 0, 1), 1, 0xff], 17),
        ] {
            assert_eq!(split(&words, bytes), None, "{words:x?} {bytes}");
            assert_eq!(split_frequent(&words, bytes), None, "{words:x?} {bytes}");
        }
    }

    #[test]
    fn refusals_and_welcomes_come_in_turns() {
        for refused in [Refused::Number(0), Refused::Number(u32::MAX), Refused::Unnumbered(0), Refused::Unnumbered(u64::MAX)] {
            for turn in [0, 1, 1 << 23, u32::MAX].map(Turn::new) {
                for head in [Head::Refuse(refused, turn, u32::MAX), Head::Refuse(refused, turn, 0), Head::Welcome(refused, turn)] {
                    let mut message = Message::new();
                    message.encode_bytes(head, &[], 16).expect("fits");
                    assert!(message.is_urgent() && message.words().len() == URGENT_WORDS);
                    assert_eq!(split(message.words(), message.bytes()), Some((head, &[][..])));
                }
            }
        }
        let turns = |turns: [u32; 2]| turns.map(Turn::new);
        for [earlier, later] in [[0, 1], [5, 1000], [0xff_ffff, 0], [0xff_ff00, 0x100]].map(turns) {
            assert!(later.is_after(earlier) && !earlier.is_after(later) && !later.is_after(later));
        }
    }

    #[test]
    fn frequent_messages_are_what_they_are_among_all() {
        let mut found = [0_u32; 256];
        for (kind, length) in (0..256_u64).flat_map(|kind| [0, 1, 8, 9, 1000].map(|length| (kind, length))) {
            for (entry, bytes) in [0, 1].into_iter().flat_map(|entry| [8, 16, 17, 24, 32, 100].map(|bytes| (entry, bytes))) {
                let words =
                    [kind | length << NAME_SHIFT | entry << ENTRY_SHIFT, u64::from_le_bytes(*b"a name, "), 7, 8, 9, 0, 0, 0, 0, 0, 0, 0, 0];
                let (frequent, any) = (split_frequent(&words, bytes), split(&words, bytes));
                let is_frequent = match any {
                    Some((Head::Event(subject) | Head::Call(_, None, subject), _)) => {
                        !subject.asks() && !matches!(subject, Subject::Described { .. })
                    }
                    Some((head, _)) => matches!(head, Head::Answer(_)),
                    None => false,
                };
                assert_eq!(frequent, if is_frequent { any } else { None }, "{words:x?} {bytes}");
                found[kind as usize] += u32::from(frequent.is_some());
            }
        }
        let kinds: Vec<u64> = (0..256).filter(|kind| found[*kind as usize] > 0).collect();
        assert_eq!(kinds, [EVENT, CALL, ANSWER, EVENT | KNOWN, CALL | KNOWN]);
    }
}
