//! Checks kinds, by the description in `docs/wire.md`.

/// Bounds the bytes of kinds.
pub const MAX_KINDS: usize = 16 * 1024;
/// Bounds how deeply kinds are nested.
const MAX_NESTING: u32 = 128;

/// Returns `true` if the bytes are the kinds of exactly one value.
pub fn are_kinds(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_KINDS && value(bytes, MAX_NESTING) == Some(&[])
}

/// Returns what follows one value.
fn value(bytes: &[u8], left: u32) -> Option<&[u8]> {
    if left == 0 {
        return None;
    }
    let (kind, rest) = bytes.split_first()?;
    let left = left - 1;
    match kind {
        b'b' | b'h'..=b'l' | b'H'..=b'L' | b'f' | b'd' | b'c' | b's' | b'y' | b'u' | b'?' => {
            Some(rest)
        }
        b'o' | b'[' => value(rest, left),
        b'{' => value(value(rest, left)?, left),
        b'(' => {
            let (length, mut rest) = number(rest)?;
            for _ in 0..length {
                rest = value(rest, left)?;
            }
            Some(rest)
        }
        b'S' => {
            let (length, mut rest) = number(text(rest)?)?;
            for _ in 0..length {
                rest = value(text(rest)?, left)?;
            }
            Some(rest)
        }
        b'N' => value(text(rest)?, left),
        b'E' => {
            let (count, mut rest) = number(text(rest)?)?;
            for _ in 0..count {
                rest = value(text(number(rest)?.1)?, left)?;
            }
            Some(rest)
        }
        b'B' => text(rest),
        _ => None,
    }
}

/// Returns a number of 32 bits, and what follows it.
fn number(mut bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some((u32::try_from(number).ok()?, bytes));
        }
    }
    None
}

/// Returns what follows a text.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = number(bytes)?;
    std::str::from_utf8(rest.get(..length as usize)?).ok()?;
    rest.get(length as usize..)
}
