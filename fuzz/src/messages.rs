//! Messages, by the description in the library's `envelope`.

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

/// Names a call.
pub type Id = (u32, u64);

/// Puts a message together.
pub fn message(kind: u8, id: Id, name: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = name.len() as u64;
    bytes.extend((u64::from(kind) | length << 8 | u64::from(id.0) << 32).to_le_bytes());
    if kind != EVENT {
        bytes.extend(id.1.to_le_bytes());
    }
    bytes.extend(name);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(payload);
    bytes
}

/// Puts a call together that is to be answered by then.
pub fn call_by(nanos: u64, id: Id, name: &[u8], args: &[u8]) -> Vec<u8> {
    let mut bytes = message(CALL_BY, id, name, args);
    bytes.splice(16..16, nanos.to_le_bytes());
    bytes
}

/// Bytes as the ring takes them: whole words, the last one filled up with zeros.
pub fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    };
    bytes.chunks(8).map(word).collect()
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub kind: u8,
    pub id: Id,
    pub name: &'a [u8],
    pub payload: &'a [u8],
}

/// Takes a message apart. `None` if it is none.
pub fn parse(bytes: &[u8]) -> Option<Parsed<'_>> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let first = number(0)?;
    let (kind, length, entry) = (first as u8, (first >> 8 & 0xff_ffff) as usize, (first >> 32) as u32);
    let (serial, rest) = match kind {
        EVENT => (0, &bytes[8..]),
        CALL_BY => (number(8)?, bytes.get(24..)?),
        _ => (number(8)?, &bytes[16..]),
    };
    let name = rest.get(..length)?;
    let payload = rest.get(length.next_multiple_of(8)..)?;
    let good = match kind {
        EVENT | CALL | CALL_BY => true,
        ANSWER => length == 0,
        NOT_FOUND | OVERLOADED | CANCEL | WITHDRAW => length == 0 && payload.is_empty(),
        RECEIPT => length == 0 && payload.is_empty() && serial == 0,
        FAILED => length == 0 && std::str::from_utf8(payload).is_ok(),
        _ => false,
    };
    good.then_some(Parsed { kind, id: (entry, serial), name, payload })
}
