//! Decoding, within bounds: whatever the other end has sent, it costs no more than the receiver's types and the size of the message allow.
//!
//! postcard reads numbers, text and byte strings, and never beyond the message. What holds other values goes through here, since two things
//! that a message can ask for grow without it. A type that contains itself asks for a stack frame per level, and for each level a message needs
//! one byte: a stack that overflows is the end of the process. And elements that take no bytes can be announced by the quintillion.

use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::error::Error;

type Result<T> = std::result::Result<T, postcard::Error>;

/// How deeply options, enums, sequences and maps may be nested in a value. A cycle of types without any of them has no values.
const MAX_NESTING: u32 = 128;

/// How many elements sequences and maps may have in all, beyond as many as the message has bytes. An element takes at least one byte, besides
/// those that its own elements take, unless it is of a type that takes none.
const SPARE_ELEMENTS: usize = 64 * 1024;

/// Decodes a value that must take all of `bytes`.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, DecodeError> {
    let mut decoder = Decoder {
        input: postcard::Deserializer::from_bytes(bytes),
        levels: MAX_NESTING,
        elements: bytes.len().saturating_add(SPARE_ELEMENTS),
        exceeded: None,
    };
    let value = T::deserialize(&mut decoder);
    match (value, decoder.exceeded) {
        (Ok(value), _) => match decoder.input.finalize().map_err(DecodeError::Postcard)? {
            [] => Ok(value),
            rest => Err(DecodeError::Trailing(rest.len())),
        },
        (Err(_), Some(exceeded)) => Err(exceeded),
        (Err(error), None) => Err(DecodeError::Postcard(error)),
    }
}

/// Why a value did not decode.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("{0} bytes are left over: the other end sent more than this type has")]
    Trailing(usize),
    #[error("values are nested in it more than {MAX_NESTING} deep")]
    TooDeep,
    #[error("it announces more elements than it can have")]
    TooMany,
    #[error(transparent)]
    Postcard(postcard::Error),
}

impl DecodeError {
    pub(crate) fn into_error(self, what: &str) -> Error {
        Error::Decode { what: what.to_owned(), source: Box::new(self) }
    }
}

struct Decoder<'de> {
    input: postcard::Deserializer<'de, postcard::de_flavors::Slice<'de>>,
    /// How much deeper it may go.
    levels: u32,
    /// How many elements may still be announced.
    elements: usize,
    /// Why it was given up: postcard's errors have no place for that.
    exceeded: Option<DecodeError>,
}

impl<'de> Decoder<'de> {
    /// Decodes what lies one level deeper.
    #[inline]
    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = self.levels;
        let Some(levels) = before.checked_sub(1) else { return Err(self.refuse(DecodeError::TooDeep)) };
        self.levels = levels;
        let value = inside(self);
        self.levels = before;
        value
    }

    /// Decodes the length of a sequence or map.
    #[inline]
    fn length(&mut self) -> Result<usize> {
        let length = usize::deserialize(&mut self.input)?;
        let Some(elements) = self.elements.checked_sub(length) else { return Err(self.refuse(DecodeError::TooMany)) };
        self.elements = elements;
        Ok(length)
    }

    #[cold]
    fn refuse(&mut self, exceeded: DecodeError) -> postcard::Error {
        self.exceeded = Some(exceeded);
        postcard::Error::DeserializeBadEncoding
    }
}

/// What holds no other values is postcard's.
macro_rules! leave_to_postcard {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.input.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = postcard::Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    leave_to_postcard! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_any deserialize_identifier deserialize_ignored_any
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match u8::deserialize(&mut self.input)? {
            0 => visitor.visit_none(),
            1 => self.deeper(|inside| visitor.visit_some(inside)),
            _ => Err(postcard::Error::DeserializeBadOption),
        }
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
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
    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, length: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let left = self.length()?;
        self.deeper(|decoder| visitor.visit_map(Parts { decoder, left }))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.deeper(|inside| visitor.visit_enum(inside))
    }
}

/// The parts of a compound value.
struct Parts<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = postcard::Error;

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
    type Error = postcard::Error;

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
    type Error = postcard::Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self)> {
        let index = u32::deserialize(&mut self.input)?;
        Ok((seed.deserialize(index.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Decoder<'de> {
    type Error = postcard::Error;

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
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}

#[cfg(test)]
mod tests;
