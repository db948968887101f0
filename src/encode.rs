//! Encoding: serde's data model in the wire format of [postcard](https://postcard.jamesmunns.com/wire-format), a word at a time.
//!
//! postcard's own serializer hands over numbers as bytes that it has just written one by one. Bytes that are read back at once as words
//! cannot be forwarded from the processor's store buffer; that wait took longer than encoding a small message. Here a number goes from
//! one register to another. A test holds every type of serde's data model against postcard.

use std::fmt::{self, Display, Write};

use serde::ser::{self, Serialize};

use crate::envelope::{INLINE_WORDS, Message, take_spare};
use crate::one_line::one_line;

type Result = std::result::Result<(), EncodeError>;

/// Why a value could not be encoded. Boxed, so that the result of each step takes one register.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct EncodeError(Box<EncodeCause>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum EncodeCause {
    /// What an implementation of `Serialize` says, or serde itself.
    #[error("{0}")]
    Custom(Box<str>),
    #[error("the length of a sequence or map must be known before its elements; collect them first")]
    UnknownLength,
    #[error("the `Display` of a value fails, or is another one each time")]
    Unsteady,
    #[error("its field `{0}` is left out, by serde's `skip_serializing_if`, which messages cannot tell from the next one")]
    Skipped(&'static str),
}

impl From<EncodeCause> for EncodeError {
    #[cold]
    fn from(cause: EncodeCause) -> EncodeError {
        EncodeError(Box::new(cause))
    }
}

impl ser::Error for EncodeError {
    #[cold]
    fn custom<T: Display>(text: T) -> EncodeError {
        EncodeCause::Custom(one_line(text)).into()
    }
}

/// Collects encoded bytes in a register and stores whole words.
pub(crate) struct Gather<'a> {
    message: &'a mut Message<'static>,
    /// Whole words stored.
    full: usize,
    /// The bytes of the word under way, from the low end.
    pending: u64,
    pending_bytes: u32,
    max: usize,
}

impl<'a> Gather<'a> {
    #[inline]
    pub(crate) fn new(message: &'a mut Message<'static>, max: usize) -> Gather<'a> {
        Gather { message, full: 0, pending: 0, pending_bytes: 0, max }
    }

    /// Lets the message be longer.
    pub(crate) fn make_room(&mut self, bytes: usize) {
        self.max = self.max.saturating_add(bytes);
    }

    /// Adds a word. Only while no bytes are pending.
    #[inline]
    pub(crate) fn put(&mut self, word: u64) {
        if let Some(place) = self.message.inline.get_mut(self.full) {
            *place = word;
        } else {
            self.spill(word);
        }
        self.full += 1;
    }

    #[cold]
    #[inline(never)]
    fn spill(&mut self, word: u64) {
        if self.may_spill(1) {
            self.message.spilled.push(word);
        }
    }

    /// Makes sure that what is there is spilled, unless `more` words exceed the maximum: then bytes are counted, for the error, but not kept.
    fn may_spill(&mut self, more: usize) -> bool {
        if (self.full + more).saturating_sub(1) * 8 > self.max {
            return false;
        }
        if self.full == INLINE_WORDS {
            self.message.spilled = take_spare();
            self.message.spilled.clear();
            self.message.spilled.reserve(INLINE_WORDS + more + 1);
            self.message.spilled.extend_from_slice(&self.message.inline);
        }
        true
    }

    /// Adds bytes as they are.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        if bytes.len() / 8 > INLINE_WORDS.saturating_sub(self.full) {
            self.extend_beyond(bytes);
        } else {
            self.extend_by_words(bytes);
        }
    }

    #[inline]
    fn extend_by_words(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.extend_by_word(u64::from_le_bytes(*word), 8);
        }
        for byte in rest {
            self.push(*byte);
        }
    }

    /// Adds more bytes than fit inline.
    #[cold]
    fn extend_beyond(&mut self, bytes: &[u8]) {
        let (inline, block) = bytes.split_at(8 * INLINE_WORDS.saturating_sub(self.full));
        self.extend_by_words(inline);
        if block.len() < 8 {
            return self.extend_by_words(block);
        }
        // The words of the message lie across those of the block: the first one completes what is pending.
        let (first, aligned) = block.split_at(8 - self.pending_bytes as usize);
        let (words, rest) = aligned.as_chunks::<8>();
        if self.may_spill(1 + words.len()) {
            self.message.spilled.push(self.pending | partial_word(first) << (8 * self.pending_bytes));
            // An ordinary copy, once compiled.
            self.message.spilled.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        }
        self.full += 1 + words.len();
        self.pending = partial_word(rest);
        self.pending_bytes = rest.len() as u32;
    }

    /// Adds the lower `length` bytes of a word, one to eight. Those above are zero.
    #[inline]
    fn extend_by_word(&mut self, word: u64, length: u32) {
        let (whole, rest) = join(self.pending, word, 8 * self.pending_bytes);
        self.pending_bytes += length;
        if self.pending_bytes < 8 {
            self.pending = whole;
        } else {
            self.put(whole);
            self.pending = rest;
            self.pending_bytes -= 8;
        }
    }

    /// Adds a number in groups of seven bits, the lowest first, each but the last with its high bit set.
    #[inline(always)] // a call costs as much as a third of it
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            return self.push(value as u8);
        }
        // The lower 56 bits, spread so that each group has a byte: halves, quarters, eighths.
        let mut groups = value & 0x00ff_ffff_ffff_ffff;
        groups = groups & 0x0000_0000_0fff_ffff | (groups & 0x00ff_ffff_f000_0000) << 4;
        groups = groups & 0x0000_3fff_0000_3fff | (groups & 0x0fff_c000_0fff_c000) << 2;
        groups = groups & 0x007f_007f_007f_007f | (groups & 0x3f80_3f80_3f80_3f80) << 1;
        const MORE: u64 = 0x8080_8080_8080_8080;
        let length = (value.ilog2() + 7) / 7;
        if length <= 8 {
            self.extend_by_word(groups | MORE & ((1 << (8 * (length - 1))) - 1), length);
        } else {
            self.extend_by_word(groups | MORE, 8);
            // The ninth byte, and if the number has all 64 bits, a tenth.
            self.varint_end(value >> 56);
        }
    }

    #[inline]
    fn varint_end(&mut self, rest: u64) {
        if rest < 0x80 {
            self.push(rest as u8);
        } else {
            self.push(rest as u8);
            self.push(1);
        }
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.pending |= u64::from(byte) << (8 * self.pending_bytes);
        self.pending_bytes += 1;
        if self.pending_bytes == 8 {
            self.put(self.pending);
            self.pending = 0;
            self.pending_bytes = 0;
        }
    }

    /// Adds the length of a byte string that goes on in another place.
    pub(crate) fn announce(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
    }

    /// Makes these bytes the end of a message that refers to them, without a copy. If that were too long, they are only counted.
    pub(crate) fn complete_with<'v>(&mut self, value: &'v [u8]) -> Option<Message<'v>> {
        if self.full * 8 + self.pending_bytes as usize + value.len() > self.max {
            self.extend(value);
            return None;
        }
        // Whole words go before what is sent from elsewhere.
        let (first, rest) = value.split_at(8 - self.pending_bytes as usize);
        self.put(self.pending | partial_word(first) << (8 * self.pending_bytes));
        (self.pending, self.pending_bytes) = (0, 0);
        let spilled = std::mem::take(&mut self.message.spilled);
        Some(Message { inline: self.message.inline, spilled, bytes: self.full * 8, rest })
    }

    /// Completes the message.
    #[inline]
    pub(crate) fn finish(mut self) {
        self.message.bytes = self.full * 8 + self.pending_bytes as usize;
        if self.pending_bytes > 0 {
            self.put(self.pending);
        }
    }
}

/// Puts a word behind the `shift` bits that are pending: the whole word, and what is pending then.
#[inline]
fn join(pending: u64, word: u64, shift: u32) -> (u64, u64) {
    // In two steps, since a shift by 64 is none.
    (pending | word << shift, (word >> 1) >> (63 - shift))
}

/// At most eight bytes as a word, from the low end.
#[inline]
pub(crate) fn partial_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The two overlap where they are the same.
        (Some(low), Some(high)) => u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << (8 * (bytes.len() - 4)),
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// A signed number as an unsigned one, small if it was near zero.
#[inline]
fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

impl ser::Serializer for &mut Gather<'_> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result {
        self.push(u8::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result {
        self.push(value as u8);
        Ok(())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result {
        self.varint(zigzag(value));
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result {
        self.serialize_u128((value << 1 ^ value >> 127) as u128)
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result {
        self.push(value);
        Ok(())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result {
        self.varint(value);
        Ok(())
    }

    fn serialize_u128(self, mut value: u128) -> Result {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result {
        self.extend_by_word(value.to_bits().into(), 4);
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result {
        self.extend_by_word(value.to_bits(), 8);
        Ok(())
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result {
        self.varint(value.len() as u64);
        self.extend(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result {
        self.push(0);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        self.push(1);
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result {
        self.serialize_u32(index)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, index: u32, _: &'static str, value: &T) -> Result {
        self.varint(index.into());
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> std::result::Result<Self, EncodeError> {
        let Some(length) = length else { return Err(EncodeCause::UnknownLength.into()) };
        self.varint(length as u64);
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> std::result::Result<Self, EncodeError> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> std::result::Result<Self, EncodeError> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(self, _: &'static str, index: u32, _: &'static str, _: usize) -> std::result::Result<Self, EncodeError> {
        self.varint(index.into());
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> std::result::Result<Self, EncodeError> {
        self.serialize_seq(length)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> std::result::Result<Self, EncodeError> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(self, _: &'static str, index: u32, _: &'static str, _: usize) -> std::result::Result<Self, EncodeError> {
        self.varint(index.into());
        Ok(self)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result {
        // The length goes first: formatted twice, rather than kept.
        let mut length = Length(0);
        write!(length, "{value}").map_err(|_| EncodeCause::Unsteady)?;
        self.varint(length.0 as u64);
        let mut rest = Exactly { gather: self, left: length.0 };
        write!(rest, "{value}").map_err(|_| EncodeCause::Unsteady)?;
        if rest.left == 0 { Ok(()) } else { Err(EncodeCause::Unsteady.into()) }
    }
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Takes as many bytes as were announced: text that is not twice the same must not spoil the message.
struct Exactly<'a, 'm> {
    gather: &'a mut Gather<'m>,
    left: usize,
}

impl Write for Exactly<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.gather.extend(text.as_bytes());
        Ok(())
    }
}

/// The parts of a compound value follow each other.
macro_rules! compound {
    ($($kind:ident $method:ident ($($key:ty)?) $($skip:ident)?),* $(,)?) => {$(
        impl ser::$kind for &mut Gather<'_> {
            type Ok = ();
            type Error = EncodeError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Result {
                value.serialize(&mut **self)
            }

            $(
                #[cold]
                fn $skip(&mut self, name: &'static str) -> Result {
                    Err(EncodeCause::Skipped(name).into())
                }
            )?

            #[inline]
            fn end(self) -> Result {
                Ok(())
            }
        }
    )*};
}

compound! {
    SerializeSeq serialize_element (),
    SerializeTuple serialize_element (),
    SerializeTupleStruct serialize_field (),
    SerializeTupleVariant serialize_field (),
    SerializeStruct serialize_field (&'static str) skip_field,
    SerializeStructVariant serialize_field (&'static str) skip_field,
}

impl ser::SerializeMap for &mut Gather<'_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        key.serialize(&mut **self)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(&mut **self)
    }

    #[inline]
    fn end(self) -> Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::envelope::as_bytes;

    fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
        let mut message = Message::new();
        let mut gather = Gather::new(&mut message, usize::MAX);
        value.serialize(&mut gather).expect("encodes");
        gather.finish();
        as_bytes(message.words(), message.bytes()).to_vec()
    }

    fn as_postcard<T: Serialize + ?Sized>(value: &T) {
        assert_eq!(encoded(value), postcard::to_stdvec(value).expect("encodes"));
    }

    #[test]
    fn numbers_of_every_width_at_every_alignment_are_as_postcard_has_them() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift, 0x5555_5555_5555_5555 >> shift] {
                for before in 0..8usize {
                    let behind = (value as i64, value as u16, value as i32, -(value as i128), u128::from(value) << shift);
                    as_postcard(&(&[7u8; 8][..before], value, value as u32, value as i16, value as u8, value as i8, behind));
                }
            }
        }
        as_postcard(&(u64::MAX, i64::MIN, i64::MAX, i32::MIN, i16::MIN, u128::MAX, i128::MIN, i128::MAX));
    }

    #[derive(serde::Serialize)]
    enum Shape {
        Unit,
        Newtype(u32),
        Tuple(i8, f32),
        Struct { name: &'static str, size: Option<f64> },
    }

    #[derive(serde::Serialize)]
    struct Nothing;

    #[derive(serde::Serialize)]
    struct Pair(char, bool);

    #[test]
    fn every_kind_of_value_is_as_postcard_has_it() {
        as_postcard(&[Shape::Unit, Shape::Newtype(300), Shape::Tuple(-1, 1.5), Shape::Struct { name: "x", size: Some(-0.0) }][..]);
        as_postcard(&(Nothing, (), Pair('ß', true), Some(()), None::<u8>, std::num::Wrapping(-5i64)));
        as_postcard(&BTreeMap::from([("one", vec![1u64; 3]), ("two", vec![]), ("three", vec![u64::MAX; 40])]));
        as_postcard(&std::net::IpAddr::from([127, 0, 0, 1]));
        as_postcard(&(String::from("text that takes more than one slot: ").repeat(20), [f64::NAN; 30], serde_bytes::Bytes::new(&[9; 777])));
        // Formatted, since its length is not known before.
        as_postcard(&format_args!("{}-{:>200}", 1, 2));
    }

    #[test]
    fn what_postcard_refuses_is_refused() {
        struct Endless;
        impl Serialize for Endless {
            fn serialize<S: ser::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_seq(std::iter::from_fn(|| Some(1)).take_while(|_| true))
            }
        }
        struct Fickle(std::cell::Cell<usize>);
        impl Display for Fickle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.set(self.0.get() * 2);
                write!(f, "{:>1$}", "", self.0.get())
            }
        }
        let mut message = Message::new();
        let mut gather = Gather::new(&mut message, usize::MAX);
        let cause = |result: Result| *result.expect_err("refused").0;
        assert_eq!(cause(Endless.serialize(&mut gather)), EncodeCause::UnknownLength);
        let fickle = Fickle(std::cell::Cell::new(1));
        assert_eq!(cause(ser::Serializer::collect_str(&mut gather, &fickle)), EncodeCause::Unsteady);
    }
}
