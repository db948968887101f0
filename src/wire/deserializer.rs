//! Decodes values within bounds. Whatever the peer has sent, decoding costs no more than the
//! receiver's types and the size of the message allow.
//!
//! postcard reads numbers, text and byte strings, and never beyond the message. Values that hold
//! other values are decoded here, because a message can ask for two things that grow without it:
//!
//! - A type that contains itself takes a stack frame for each level, and a message needs one byte
//!   for each level. A stack that overflows is the end of the process.
//! - Elements that take no bytes can be announced by the quintillion.

use std::fmt::Display;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::U32Deserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use crate::error::Error;
use crate::text::one_line;
use crate::wire::mismatch::Mismatch;

type Result<T> = std::result::Result<T, DecodeError>;

/// Bounds how deeply options, enums, sequences and maps may be nested in a value. A cycle of types
/// without any of these has no values.
const MAX_NESTING: u32 = 128;

/// Bounds how many more elements than the message has bytes the sequences and maps may have in all.
/// An element takes at least one byte, besides the bytes of its own elements, unless its type takes
/// none.
const SPARE_ELEMENTS: usize = 64 * 1024;

/// Decodes a value. It must take all of `bytes`.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut decoder = Decoder::new(bytes);
    let value = T::deserialize(&mut decoder)?;
    decoder.finish()?;
    Ok(value)
}

/// Tells why a value did not decode. It is boxed, so that it costs the results of single steps
/// nothing.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct DecodeError(Box<Cause>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Cause {
    /// The message of an implementation of `Deserialize`, or of serde itself.
    #[error("{0}")]
    Custom(Box<str>),
    #[error("{0} bytes are left over: the peer sent more than this type has")]
    Trailing(usize),
    #[error("values are nested in it more than {MAX_NESTING} deep")]
    TooDeep,
    #[error("it announces more elements than it can have")]
    TooMany,
    #[error(
        "its type must be told what comes next, which messages do not say: \
         avoid serde's `untagged`, `flatten` and internal `tag`"
    )]
    NotSelfDescribing,
    #[error("{}", words(.0))]
    Malformed(postcard::Error),
    /// The peer sent a value of another type.
    #[error("it takes {}, but was sent {}", .0.wanted, .0.sent)]
    Types(Mismatch),
}

/// Describes an error to a reader who knows the types of the message, but not postcard.
fn words(error: &postcard::Error) -> String {
    use postcard::Error::*;
    let words = match error {
        DeserializeUnexpectedEnd => "it ends early: the peer sent less than this type has",
        DeserializeBadVarint => "a number is too large for its type",
        DeserializeBadBool => "a bool is neither 0 nor 1",
        DeserializeBadChar => "a char is no character",
        DeserializeBadUtf8 => "a text is not UTF-8",
        DeserializeBadOption => "an option is neither none nor some",
        other => return other.to_string(),
    };
    words.to_owned()
}

impl From<Cause> for DecodeError {
    #[cold]
    fn from(cause: Cause) -> DecodeError {
        DecodeError(Box::new(cause))
    }
}

impl de::Error for DecodeError {
    #[cold]
    fn custom<T: Display>(text: T) -> DecodeError {
        Cause::Custom(one_line(text)).into()
    }
}

impl DecodeError {
    #[cold]
    fn malformed(error: postcard::Error) -> DecodeError {
        Cause::Malformed(error).into()
    }

    /// Makes the error of two types that differ.
    #[cold]
    pub(crate) fn of_types(mismatch: Mismatch) -> DecodeError {
        Cause::Types(mismatch).into()
    }

    /// Returns what was sent and what was wanted, if the types differ.
    pub(crate) fn mismatch(&self) -> Option<&Mismatch> {
        match &*self.0 {
            Cause::Types(mismatch) => Some(mismatch),
            _ => None,
        }
    }

    pub(crate) fn into_error(self, what: &str) -> Error {
        if let Some(Mismatch { sent, wanted, .. }) = self.mismatch() {
            return Error::Types {
                name: what.to_owned(),
                sent: sent.clone(),
                wanted: format!("{wanted} as its result"),
            };
        }
        Error::Decode { what: what.to_owned(), source: Box::new(self) }
    }
}

pub(crate) struct Decoder<'de> {
    input: postcard::Deserializer<'de, postcard::de_flavors::Slice<'de>>,
    /// Counts the levels that may still be entered.
    levels: u32,
    /// Counts the elements that may still be announced.
    elements: usize,
}

impl<'de> Decoder<'de> {
    #[inline]
    pub(crate) fn new(bytes: &'de [u8]) -> Decoder<'de> {
        Decoder {
            input: postcard::Deserializer::from_bytes(bytes),
            levels: MAX_NESTING,
            elements: bytes.len().saturating_add(SPARE_ELEMENTS),
        }
    }

    /// Fails if bytes are left over.
    #[inline]
    pub(crate) fn finish(self) -> Result<()> {
        match self.input.finalize().map_err(DecodeError::malformed)? {
            [] => Ok(()),
            rest => Err(Cause::Trailing(rest.len()).into()),
        }
    }

    /// Takes a value that holds no other values, and whose `Deserialize` reports no error of its
    /// own.
    #[inline]
    fn take<T: Deserialize<'de>>(&mut self) -> Result<T> {
        T::deserialize(&mut self.input).map_err(DecodeError::malformed)
    }

    /// Decodes a part that lies one level deeper.
    #[inline]
    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.descend()?;
        let value = inside(self);
        self.ascend();
        value
    }

    /// Enters the next level, or fails at the deepest one.
    #[inline]
    pub(crate) fn descend(&mut self) -> Result<()> {
        let Some(levels) = self.levels.checked_sub(1) else { return Err(Cause::TooDeep.into()) };
        self.levels = levels;
        Ok(())
    }

    /// Leaves a level that [`descend`](Self::descend) has entered.
    #[inline]
    pub(crate) fn ascend(&mut self) {
        self.levels = self.levels.wrapping_add(1);
    }

    /// Decodes the byte that tells whether an option has content.
    #[inline]
    pub(crate) fn is_some(&mut self) -> Result<bool> {
        match self.take::<u8>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::malformed(postcard::Error::DeserializeBadOption)),
        }
    }

    /// Decodes the index of a variant.
    #[inline]
    pub(crate) fn variant(&mut self) -> Result<u32> {
        self.take::<u32>()
    }

    /// Decodes the length of a sequence or map.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize> {
        let length = self.take::<usize>()?;
        let Some(elements) = self.elements.checked_sub(length) else {
            return Err(Cause::TooMany.into());
        };
        self.elements = elements;
        Ok(length)
    }
}

/// Generates the methods that read a value without other values, as postcard does. The visitor is
/// called here: its error would be lost in an error of postcard's.
macro_rules! read_by_postcard {
    ($($method:ident $type:ty => $visit:ident),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            visitor.$visit(self.take::<$type>()?)
        }
    )*};
}

/// Generates the methods that refuse. They need a format that describes each value.
macro_rules! refuse {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
            Err(Cause::NotSelfDescribing.into())
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = DecodeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    read_by_postcard! {
        deserialize_bool bool => visit_bool,
        deserialize_i8 i8 => visit_i8,
        deserialize_i16 i16 => visit_i16,
        deserialize_i32 i32 => visit_i32,
        deserialize_i64 i64 => visit_i64,
        deserialize_i128 i128 => visit_i128,
        deserialize_u8 u8 => visit_u8,
        deserialize_u16 u16 => visit_u16,
        deserialize_u32 u32 => visit_u32,
        deserialize_u64 u64 => visit_u64,
        deserialize_u128 u128 => visit_u128,
        deserialize_f32 f32 => visit_f32,
        deserialize_f64 f64 => visit_f64,
        deserialize_char char => visit_char,
        deserialize_str &'de str => visit_borrowed_str,
        deserialize_string &'de str => visit_str,
        deserialize_bytes &'de [u8] => visit_borrowed_bytes,
        deserialize_byte_buf &'de [u8] => visit_bytes,
    }

    refuse! { deserialize_any deserialize_identifier deserialize_ignored_any }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.is_some()? {
            self.deeper(|inside| visitor.visit_some(inside))
        } else {
            visitor.visit_none()
        }
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let left = self.length()?;
        self.deeper(|decoder| visitor.visit_seq(Parts { decoder, left }))
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Parts { decoder: self, left: length })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let left = self.length()?;
        self.deeper(|decoder| visitor.visit_map(Parts { decoder, left }))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deeper(|inside| visitor.visit_enum(inside))
    }
}

/// Reads the parts of a compound value.
struct Parts<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.next_element_seed(seed)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        seed.deserialize(&mut *self.decoder)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> EnumAccess<'de> for &mut Decoder<'de> {
    type Error = DecodeError;
    type Variant = Self;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self)> {
        let index: U32Deserializer<DecodeError> = self.variant()?.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Decoder<'de> {
    type Error = DecodeError;

    #[inline]
    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}

#[cfg(test)]
mod tests;
