//! Defines kinds: the byte string that describes what a value is made of, in serde's data model.
//!
//! ```text
//! b bool      h i j k l   i8 i16 i32 i64 i128     c char    u unit, unit struct
//! f f32       H I J K L   u8 u16 u32 u64 u128     s str     ? not known
//! d f64                                           y bytes
//!
//! o                        option, then its content
//! [                        sequence, then its elements
//! {                        map, then its keys, then its values
//! ( length                 tuple or tuple struct, then so many elements
//! S name length            struct, then so many fields: each a name, then its content
//! N name                   newtype struct, then its content
//! E name count             enum, then so many variants by their indexes: index name content
//! B text                   block: the type of its values
//! ```
//!
//! `length`, `count` and `index` are numbers in groups of seven bits, the lowest group first. A
//! name or text is such a number, then so many bytes of UTF-8.
//!
//! Elements, keys and values are described once for all of them: by everything that any of them
//! shows. What none of them shows is `?`: the content of an empty option, or of the elements of an
//! empty list. An enum has only the variants that a value shows.
//!
//! Kinds can be read from the start only, and each node tells where it ends. A reader must not
//! trust kinds: [`is_valid`] checks them once, and all other readers here end where the kinds end.

use crate::limits::MAX_KINDS;
use crate::text::clip;

pub(crate) const BOOL: u8 = b'b';

pub(crate) const I8: u8 = b'h';

pub(crate) const I16: u8 = b'i';

pub(crate) const I32: u8 = b'j';

pub(crate) const I64: u8 = b'k';

pub(crate) const I128: u8 = b'l';

pub(crate) const U8: u8 = b'H';

pub(crate) const U16: u8 = b'I';

pub(crate) const U32: u8 = b'J';

pub(crate) const U64: u8 = b'K';

pub(crate) const U128: u8 = b'L';

pub(crate) const F32: u8 = b'f';

pub(crate) const F64: u8 = b'd';

pub(crate) const CHAR: u8 = b'c';

pub(crate) const STR: u8 = b's';

pub(crate) const BYTES: u8 = b'y';

pub(crate) const UNIT: u8 = b'u';

pub(crate) const UNKNOWN: u8 = b'?';

pub(crate) const OPTION: u8 = b'o';

pub(crate) const SEQUENCE: u8 = b'[';

pub(crate) const MAP: u8 = b'{';
pub(crate) const TUPLE: u8 = b'(';
pub(crate) const STRUCT: u8 = b'S';
pub(crate) const NEWTYPE: u8 = b'N';
pub(crate) const ENUM: u8 = b'E';
pub(crate) const BLOCK: u8 = b'B';

/// Bounds how deeply kinds may be nested. A deeper value is unknown.
pub(crate) const MAX_NESTING: u32 = 128;
/// Bounds how much of a name is kept, in bytes. Names that differ only behind it are taken for
/// equal.
pub(crate) const MAX_NAME: usize = 200;

/// Reads kinds, from its position to their end.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'k> {
    kinds: &'k [u8],
    at: usize,
}

impl<'k> Cursor<'k> {
    pub(crate) fn new(kinds: &'k [u8], at: usize) -> Cursor<'k> {
        Cursor { kinds, at }
    }

    /// Returns how many bytes lie before the cursor.
    pub(crate) fn at(self) -> usize {
        self.at
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let byte = *self.kinds.get(self.at)?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    pub(crate) fn number(&mut self) -> Option<u32> {
        let mut number = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            let group = u32::from(byte & 0x7f);
            number |= group.checked_shl(shift).filter(|shifted| shifted >> shift == group)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn name(&mut self) -> Option<&'k str> {
        let length = self.number()? as usize;
        let rest = self.kinds.get(self.at..)?;
        self.at = self.at.saturating_add(length);
        std::str::from_utf8(rest.get(..length)?).ok()
    }

    /// Skips one value as [`skip`](Self::skip) does, and calls `see` with the place and kind of
    /// each node.
    pub(crate) fn nodes(&mut self, see: &mut impl FnMut(usize, u8)) -> Option<()> {
        self.walk(MAX_NESTING, see)
    }

    /// Skips one value that starts at another place.
    pub(crate) fn skip_from(&mut self, at: usize) -> Option<()> {
        self.at = at;
        self.skip()
    }

    /// Skips one value. Returns `None` if these are no kinds, or are nested too deeply.
    pub(crate) fn skip(&mut self) -> Option<()> {
        self.walk(MAX_NESTING, &mut |_, _| {})
    }

    fn walk(&mut self, left: u32, see: &mut impl FnMut(usize, u8)) -> Option<()> {
        let left = left.checked_sub(1)?;
        let at = self.at;
        let kind = self.byte()?;
        see(at, kind);
        match kind {
            BOOL | I8 | I16 | I32 | I64 | I128 | U8 | U16 | U32 | U64 | U128 | F32 | F64 | CHAR
            | STR | BYTES | UNIT | UNKNOWN => Some(()),
            OPTION | SEQUENCE => self.walk(left, see),
            MAP => {
                self.walk(left, see)?;
                self.walk(left, see)
            }
            TUPLE => {
                for _ in 0..self.number()? {
                    self.walk(left, see)?;
                }
                Some(())
            }
            STRUCT => {
                self.name()?;
                for _ in 0..self.number()? {
                    self.name()?;
                    self.walk(left, see)?;
                }
                Some(())
            }
            NEWTYPE => {
                self.name()?;
                self.walk(left, see)
            }
            ENUM => {
                self.name()?;
                for _ in 0..self.number()? {
                    self.number()?;
                    self.name()?;
                    self.walk(left, see)?;
                }
                Some(())
            }
            BLOCK => self.name().map(drop),
            _ => None,
        }
    }
}

/// Returns `true` if the bytes are the kinds of exactly one value.
pub(crate) fn is_valid(kinds: &[u8]) -> bool {
    let mut cursor = Cursor::new(kinds, 0);
    kinds.len() <= MAX_KINDS && cursor.skip().is_some() && cursor.at() == kinds.len()
}

/// Appends a number.
pub(crate) fn put_number(kinds: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        kinds.push(number as u8 | 0x80);
        number >>= 7;
    }
    kinds.push(number as u8);
}

/// Appends a name, or as much of it as is kept.
pub(crate) fn put_name(kinds: &mut Vec<u8>, name: &str) {
    let name = clip(name, MAX_NAME);
    put_number(kinds, name.len() as u32);
    kinds.extend_from_slice(name.as_bytes());
}
