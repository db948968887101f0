//! Composes and parses messages, by the description in the library's `wire::header` and in
//! `docs/wire.md`.

use crate::kinds::MAX_KINDS;

pub const EVENT: u8 = 1;
pub const CALL: u8 = 2;
pub const ANSWER: u8 = 3;
pub const NOT_FOUND: u8 = 4;
pub const FAILED: u8 = 5;
pub const CANCEL: u8 = 6;
pub const WITHDRAW: u8 = 10;
pub const CALL_BY: u8 = 7;
pub const RECEIPT: u8 = 8;
pub const OVERLOADED: u8 = 9;
pub const INTRODUCE: u8 = 11;
pub const MISTYPED: u8 = 12;
pub const REFUSE: u8 = 13;
pub const WELCOME: u8 = 14;

/// Flags a message that has a number in place of a name. The flags below stand beside a kind, too.
pub const NUMBERED: u8 = 16;
pub const ASKS: u8 = 32;
pub const OF_CALL: u8 = 32;
pub const DESCRIBED: u8 = 64;

/// Identifies a call: its entry and its serial number.
pub type Id = (u32, u64);

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

fn header(kind: u8, length: u32, id: Id) -> Vec<u8> {
    let mut bytes =
        (u64::from(kind) | u64::from(length) << 8 | u64::from(id.0) << 32).to_le_bytes().to_vec();
    if !matches!(kind & 0xf, EVENT | INTRODUCE) {
        bytes.extend(id.1.to_le_bytes());
    }
    bytes
}

/// Composes a message.
pub fn message(kind: u8, id: Id, name: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name.len() as u32, id);
    bytes.extend(name);
    pad(&mut bytes);
    bytes.extend(payload);
    bytes
}

/// Composes an event or call that has a number in place of its name.
pub fn numbered(kind: u8, id: Id, number: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind | NUMBERED, number & 0xff_ffff, id);
    bytes.extend(payload);
    bytes
}

/// Composes a message that describes kinds.
pub fn described(kind: u8, id: Id, name: &[u8], kinds: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind | DESCRIBED, name.len() as u32, id);
    bytes.extend((kinds.len() as u64).to_le_bytes());
    bytes.extend(name);
    pad(&mut bytes);
    bytes.extend(kinds);
    pad(&mut bytes);
    bytes.extend(payload);
    bytes
}

/// Gives a call a deadline.
pub fn by(nanos: u64, mut call: Vec<u8>) -> Vec<u8> {
    call[0] = call[0] & 0xf0 | CALL_BY;
    call.splice(16..16, nanos.to_le_bytes());
    call
}

/// Converts bytes to whole words, as the ring takes them. Zeros fill up the last word.
pub fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    };
    bytes.chunks(8).map(word).collect()
}

/// Holds the parts of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Tells the kind of the message, without flags.
    pub kind: u8,
    pub flags: u8,
    /// Identifies the call. In a message with a number of its own, that number is in place of the
    /// entry.
    pub id: Id,
    /// Holds the number in place of the name.
    pub number: Option<u32>,
    pub name: &'a [u8],
    /// Describes the value. The kinds of an introduction are its payload instead.
    pub kinds: Option<&'a [u8]>,
    pub payload: &'a [u8],
}

/// Parses a message. Returns `None` if the bytes are not a message.
pub fn parse(bytes: &[u8]) -> Option<Parsed<'_>> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let first = number(0)?;
    let (kind, flags, length, entry) = (
        first as u8 & 0xf,
        first as u8 & 0xf0,
        (first >> 8 & 0xff_ffff) as usize,
        (first >> 32) as u32,
    );
    let allowed: &[u8] = match kind {
        EVENT => &[0, NUMBERED, DESCRIBED],
        CALL | CALL_BY => &[0, NUMBERED, NUMBERED | ASKS, DESCRIBED, DESCRIBED | ASKS],
        ANSWER => &[0, DESCRIBED],
        INTRODUCE => &[0, OF_CALL],
        REFUSE | WELCOME => &[0, DESCRIBED],
        _ => &[0],
    };
    if !allowed.contains(&flags) {
        return None;
    }
    if matches!(kind, REFUSE | WELCOME) {
        // A turn is in place of the length. With the flag, the serial is a hash of what has no
        // number.
        let serial = number(8)?;
        let place = if flags == DESCRIBED { entry.into() } else { serial };
        let good =
            bytes.len() == 16 && u32::try_from(place).is_ok() && (kind == REFUSE || place == 0);
        return good.then_some(Parsed {
            kind,
            flags,
            id: (entry, serial),
            number: None,
            name: &[],
            kinds: None,
            payload: &[],
        });
    }
    let (serial, at) = match kind {
        EVENT | INTRODUCE => (0, 8),
        CALL_BY => (number(8)?, 24),
        _ => (number(8)?, 16),
    };
    let mut rest = bytes.get(at..)?;
    let mut take_padded = |length: usize| {
        let taken = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(8)..)?;
        Some(taken)
    };
    let has_number = flags & NUMBERED != 0;
    let kinds_length = if flags & DESCRIBED != 0 {
        Some(u64::from_le_bytes(take_padded(8)?.try_into().ok()?))
    } else {
        None
    };
    if kinds_length.is_some_and(|length| length > MAX_KINDS as u64) {
        return None;
    }
    let name = if has_number { &[] } else { take_padded(length)? };
    let kinds = match kinds_length {
        Some(length) => Some(take_padded(length as usize)?),
        None => None,
    };
    let payload = rest;
    let good = match kind {
        EVENT | CALL | CALL_BY | INTRODUCE => true,
        ANSWER => length == 0,
        NOT_FOUND | OVERLOADED | CANCEL | WITHDRAW => length == 0 && payload.is_empty(),
        RECEIPT => length == 0 && payload.is_empty() && serial == 0,
        FAILED | MISTYPED => length == 0 && std::str::from_utf8(payload).is_ok(),
        _ => false,
    };
    let number = has_number.then_some(length as u32);
    good.then_some(Parsed { kind, flags, id: (entry, serial), number, name, kinds, payload })
}
