//! Defines the layout of a message, and reads the header.
//!
//! A message is a header of whole words. The arguments, the value or the result follows, encoded by
//! postcard. The ring frames each message, so a payload that does not decode spoils that message
//! only.
//!
//! ```text
//!            byte 0    1 .. 3          4 .. 7        8 .. 15  16 ..
//! event      1         | name's length | gauge, or 0 | name   | value
//! call       2         | name's length | entry       | serial | name        | arguments
//! answer     3         | 0             | entry       | serial | result
//! not found  4         | 0             | entry       | serial |
//! failed     5         | 0             | entry       | serial | text of the handler's error
//! cancel     6         | 0             | entry       | serial |
//! call by    7         | name's length | entry       | serial | nanoseconds | name | arguments
//! receipt    8         | 0             | gauge       | 0      |
//! overloaded 9         | 0             | entry       | serial |
//! withdraw   10        | 0             | entry       | serial |
//! introduce  11        | name's length | number      | name   | kinds
//! mistyped   12        | 0             | entry       | serial | sent, a line feed, wanted
//! refuse     13        | turn          | number      | where types differ |
//! welcome    14        | turn          | number      | 0      |
//!
//! A name is filled up with zeros to whole words. Texts are UTF-8.
//!
//! flags of byte 0, for an event, a call and a call by:
//! + 16       bytes 1 .. 3 are the number that was introduced for the name, which does not follow
//! + 32       a call whose answer must describe its kinds, if it can
//! + 64       before the name, a word counts the bytes of kinds that follow it, filled up likewise
//! for an introduction:
//! + 32       it is for calls, and not for events
//! for a refuse and a welcome:
//! + 64       the second word is a hash of a name and kinds that have no number
//!            a refuse then says where types differ in place of the number
//! for an answer:
//! + 64       a word counts the bytes of kinds that follow it, filled up likewise; then the result
//! ```
//!
//! A call with a deadline carries the deadline, by the clock of the host:
//! [`host_clock`](crate::time::host_clock). Other calls do not pay for that. A receipt tells that
//! an event with the number of a gauge was handled.
//!
//! A refusal or welcome is read twice: ahead of its turn in the ring, and again when it is
//! received. The `turn`, a number that grows, tells that both are one message.
//!
//! A name and the [kinds](crate::types) of a value are introduced under a number, before the first
//! message that uses the number. A number is introduced once. The module [`types`](crate::types)
//! says when a call asks for kinds.
//!
//! The header is not encoded by postcard. Its numbers of variable length, read a byte at a time,
//! took as long as the rest of a small call.

use std::num::NonZeroU32;
use std::ops::BitOr;

use crate::limits::{MAX_KINDS, MAX_NAME};

/// Identifies a call in flight: an entry of the caller's table, and a serial number that no other
/// call of that entry ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId {
    pub(crate) entry: u32,
    pub(crate) serial: u64,
}

/// Names a method or event, and tells what is known of the value that follows.
///
/// A name is looked up as the bytes that arrived. If a handler has that name, the bytes are UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    /// A name alone: nothing is known of the value.
    Named(&'a [u8]),
    /// A number, under which a name and kinds were introduced.
    Known(Number),
    /// A name and the kinds of the value.
    Described { name: &'a [u8], kinds: &'a [u8], asks: bool },
}

impl Subject<'_> {
    /// Returns `true` if the answer must describe its kinds.
    #[inline]
    pub(crate) fn asks(self) -> bool {
        match self {
            Subject::Known(number) => number.asks(),
            Subject::Described { asks, .. } => asks,
            Subject::Named(_) => false,
        }
    }
}

/// Packs a number that stands for a name, and whether the answer to a call must describe its kinds.
/// The bits are those of the first word of a message.
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

    /// Unpacks what [`to_raw`](Self::to_raw) returns. Returns `None` for zero.
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

/// Orders refusals and welcomes: tells which of two is the later one, if they are not far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefusalTurn(u32);

impl RefusalTurn {
    /// Makes the turn that follows `before` earlier turns.
    pub(crate) fn new(before: u32) -> RefusalTurn {
        RefusalTurn(before & MAX_NAME as u32)
    }

    pub(crate) fn is_after(self, other: RefusalTurn) -> bool {
        let ahead = self.0.wrapping_sub(other.0) & MAX_NAME as u32;
        (1..=MAX_NAME as u32 / 2).contains(&ahead)
    }

    pub(super) fn bits(self) -> u64 {
        u64::from(self.0) << NAME_SHIFT
    }
}

/// Identifies values that an end refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refused {
    /// The values with this number.
    Number(u32),
    /// Values without a number, by a hash of their name and kinds: see
    /// [`unnumbered`](crate::types::mismatch::unnumbered).
    Unnumbered(u64),
}

/// Tells what a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header<'a> {
    /// An event. The value follows.
    Event(Subject<'a>),
    /// An event of the gauge with this number, which is not zero. The value follows.
    Gauge(u32, Subject<'a>),
    /// A receipt: an event of the gauge with this number was handled. Nothing follows.
    Receipt(u32),
    /// A call. The arguments follow. A call with a deadline carries it, in nanoseconds of the
    /// host's clock.
    Call(CallId, Option<u64>, Subject<'a>),
    /// The peer no longer wants the answer to this call of its own. Nothing follows.
    Cancel(CallId),
    /// A cancel of a call that need not be served if no handler has started it. Nothing follows.
    Withdraw(CallId),
    /// The answer to a call. The result follows.
    Answer(CallId),
    /// The answer to a call, with the kinds of the result. The result follows.
    DescribedAnswer(CallId, &'a [u8]),
    /// The call failed. Nothing follows.
    Failure(CallId, Failure<'a>),
    /// An introduction: from here on, the number stands for a name and the kinds of a value.
    /// Nothing follows.
    Introduce { number: u32, of_call: bool, name: &'a [u8], kinds: &'a [u8] },
    /// A refusal: the handler does not take such events, and they are not handled. The last field
    /// tells where the types differ. Nothing follows.
    Refuse(Refused, RefusalTurn, u32),
    /// A welcome: the handler that refused such events was replaced. Nothing follows.
    Welcome(Refused, RefusalTurn),
}

/// Tells why a call failed at the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure<'a> {
    /// The peer has no such method.
    NotFound,
    /// Too many other calls are not answered yet.
    Overloaded,
    /// The text of the handler's error.
    Remote(&'a str),
    /// The handler takes arguments of other types. The text is what was sent, a line feed, and what
    /// is wanted.
    Mistyped(&'a str),
}

pub(super) const EVENT: u64 = 1;

pub(super) const CALL: u64 = 2;

pub(super) const ANSWER: u64 = 3;

pub(super) const NOT_FOUND: u64 = 4;

pub(super) const FAILED: u64 = 5;

pub(super) const CANCEL: u64 = 6;

pub(super) const CALL_BY: u64 = 7;

pub(super) const RECEIPT: u64 = 8;

pub(super) const OVERLOADED: u64 = 9;

pub(super) const WITHDRAW: u64 = 10;

pub(super) const INTRODUCE: u64 = 11;

pub(super) const MISTYPED: u64 = 12;

pub(super) const REFUSE: u64 = 13;

pub(super) const WELCOME: u64 = 14;

/// Flags a message that has a number in place of a name.
pub(super) const KNOWN: u64 = 16;

/// Flags a call whose answer must describe its kinds.
pub(super) const ASKS: u64 = 32;

/// Flags an introduction that is for calls.
pub(super) const OF_CALL: u64 = 32;

/// Flags a message that contains kinds. In a refusal or welcome: a hash in place of a number.
pub(super) const DESCRIBED: u64 = 64;

/// Counts the words of a cancel, a withdrawal, a refusal or a welcome.
pub(crate) const URGENT_WORDS: usize = 2;

/// Masks the kind of a message, without its flags.
pub(super) const KIND_MASK: u64 = 0x0f;

pub(super) const FLAGS_MASK: u64 = 0xf0;

pub(super) const NAME_SHIFT: u32 = 8;

pub(super) const ENTRY_SHIFT: u32 = 32;

impl CallId {
    /// Stands in the header of a call that has no id yet.
    pub(crate) const NONE: CallId = CallId { entry: 0, serial: 0 };
}

/// Returns the bytes of a received message. They are a private copy, so what was checked cannot
/// change afterwards.
#[inline]
pub(crate) fn as_bytes(words: &[u64], bytes: usize) -> &[u8] {
    let all: &[u8] = bytemuck::cast_slice(words);
    all.get(..bytes).unwrap_or(all)
}

/// Splits a message of `bytes` bytes into its header and the encoded value behind the header.
/// Returns `None` if no honest end sends such a message.
pub(crate) fn split(words: &[u64], bytes: usize) -> Option<(Header<'_>, &[u8])> {
    let message = as_bytes(words, bytes);
    let first = u64::from_le(*words.first()?);
    let length = (first >> NAME_SHIFT) as usize & MAX_NAME;
    let (kind, flags, entry) =
        (first & KIND_MASK, first & FLAGS_MASK, (first >> ENTRY_SHIFT) as u32);
    if kind == EVENT {
        if flags & ASKS != 0 {
            return None;
        }
        let (subject, value) = split_subject(flags, length, message.get(8..)?)?;
        return Some((
            if entry == 0 { Header::Event(subject) } else { Header::Gauge(entry, subject) },
            value,
        ));
    }
    if kind == INTRODUCE && flags & !OF_CALL == 0 {
        let (name, kinds) = split_padded(message.get(8..)?, length)?;
        return Some((Header::Introduce { number: entry, of_call: flags != 0, name, kinds }, &[]));
    }
    let id = CallId { entry, serial: u64::from_le(*words.get(1)?) };
    let rest = message.get(16..)?;
    match kind {
        CALL => {
            let (subject, args) = split_subject(flags, length, rest)?;
            Some((Header::Call(id, None, subject), args))
        }
        CALL_BY => {
            let at = u64::from_le(*words.get(2)?);
            let (subject, args) = split_subject(flags, length, rest.get(8..)?)?;
            Some((Header::Call(id, Some(at), subject), args))
        }
        REFUSE | WELCOME if rest.is_empty() => {
            Some((split_refusal(kind, flags, RefusalTurn(length as u32), id)?, rest))
        }
        _ if length != 0 => None,
        ANSWER if flags == DESCRIBED => {
            let (kinds, result) = split_kinds(rest)?;
            Some((Header::DescribedAnswer(id, kinds), result))
        }
        _ if flags != 0 => None,
        ANSWER => Some((Header::Answer(id), rest)),
        CANCEL if rest.is_empty() => Some((Header::Cancel(id), rest)),
        WITHDRAW if rest.is_empty() => Some((Header::Withdraw(id), rest)),
        RECEIPT if rest.is_empty() && id.serial == 0 => Some((Header::Receipt(entry), rest)),
        NOT_FOUND if rest.is_empty() => Some((Header::Failure(id, Failure::NotFound), rest)),
        OVERLOADED if rest.is_empty() => Some((Header::Failure(id, Failure::Overloaded), rest)),
        FAILED => {
            Some((Header::Failure(id, Failure::Remote(std::str::from_utf8(rest).ok()?)), &[]))
        }
        MISTYPED => {
            Some((Header::Failure(id, Failure::Mistyped(std::str::from_utf8(rest).ok()?)), &[]))
        }
        _ => None,
    }
}

fn split_refusal(kind: u64, flags: u64, turn: RefusalTurn, id: CallId) -> Option<Header<'static>> {
    let (refused, place) = match flags {
        0 => (Refused::Number(id.entry), u32::try_from(id.serial).ok()?),
        DESCRIBED => (Refused::Unnumbered(id.serial), id.entry),
        _ => return None,
    };
    match kind {
        REFUSE => Some(Header::Refuse(refused, turn, place)),
        _ => (place == 0).then_some(Header::Welcome(refused, turn)),
    }
}

/// Splits the most frequent messages, as [`split`] does: plain calls, their answers, and events.
/// Returns `None` for all other messages, and for bytes that are no message.
#[inline]
pub(crate) fn split_frequent(words: &[u64], bytes: usize) -> Option<(Header<'_>, &[u8])> {
    let message = as_bytes(words, bytes);
    let first = u64::from_le(*words.first()?);
    let length = (first >> NAME_SHIFT) as usize & MAX_NAME;
    let (kind, entry) = (first & (KIND_MASK | FLAGS_MASK), (first >> ENTRY_SHIFT) as u32);
    if kind & !KNOWN == EVENT {
        if entry != 0 {
            return None;
        }
        let (subject, value) = split_frequent_subject(kind, length, message.get(8..)?)?;
        return Some((Header::Event(subject), value));
    }
    let (header, rest) = message.split_first_chunk::<16>()?;
    let [_, serial]: [[u8; 8]; 2] = bytemuck::cast(*header);
    let id = CallId { entry, serial: u64::from_le_bytes(serial) };
    // The lower half has everything but the entry. It equals the kind alone, since an answer has no
    // name.
    if first & u64::from(u32::MAX) == ANSWER {
        return Some((Header::Answer(id), rest));
    }
    if kind & !KNOWN != CALL {
        return None;
    }
    let (subject, args) = split_frequent_subject(kind, length, rest)?;
    Some((Header::Call(id, None, subject), args))
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

/// Splits the kinds of a result from the result.
fn split_kinds(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = split_count(rest)?;
    split_padded(rest, count)
}

/// Returns how many bytes `kinds` bytes of kinds take in a message.
pub(super) fn kinds_bytes(kinds: usize) -> usize {
    kinds.next_multiple_of(8).saturating_add(8)
}

/// Reads how many bytes of kinds follow.
fn split_count(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<8>()?;
    let count =
        usize::try_from(u64::from_le_bytes(*count)).ok().filter(|count| *count <= MAX_KINDS)?;
    Some((count, rest))
}

/// Returns the kinds that an answer describes, if it describes them. The result of the answer
/// starts at `from`.
#[inline]
pub(crate) fn kinds_of_answer(words: &[u64], from: usize) -> Option<&[u8]> {
    // A plain header is immediately followed by the result.
    if from <= 16 {
        None
    } else {
        split_kinds(as_bytes(words, usize::MAX).get(16..)?).map(|(kinds, _)| kinds)
    }
}

#[inline]
fn split_padded(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (padded, value) = bytes.split_at_checked(length.next_multiple_of(8))?;
    Some((padded.get(..length)?, value))
}
