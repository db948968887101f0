//! Sends large byte strings from where they lie, without an encoded copy.
//!
//! If the whole value is one long byte string (or text), the message is sent at the moment at which
//! serde hands the bytes over. Then the whole message is known, and the bytes stay in place until
//! they are sent. No user code runs between the first byte and the last.
//!
//! A byte string within a larger value is encoded like everything else. What follows it may fail,
//! take its time, or use the pair itself.

use std::fmt::Display;

use serde::ser::{Error as _, Serialize, Serializer};

use crate::wire::message::Message;
use crate::wire::writer::{EncodeError, Writer};

/// Bounds from below the byte strings that are sent in place, in bytes. Copying a shorter one costs
/// less than the separate frame that the header needs otherwise.
pub(crate) const MIN_BYTES: usize = 32 * 1024;

/// Holds the closure that sends a message, and then its outcome.
pub(crate) enum Delivery<S, R> {
    /// The message is not complete.
    Pending(S),
    /// `send` has returned: the message was sent, or was not.
    Done(R),
    /// `send` did not return.
    Unwound,
}

/// Serializes a whole value, and notices a value that is one long byte string.
pub(crate) struct Whole<'w, 'm, S, R> {
    writer: &'w mut Writer<'m>,
    delivery: &'w mut Delivery<S, R>,
}

impl<'w, 'm, S: FnOnce(&mut Message<'_>) -> R, R> Whole<'w, 'm, S, R> {
    #[inline]
    pub(crate) fn new(writer: &'w mut Writer<'m>, delivery: &'w mut Delivery<S, R>) -> Self {
        Whole { writer, delivery }
    }

    #[cold]
    fn deliver(self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.writer.announce(bytes);
        let Some(mut message) = self.writer.complete_with(bytes) else { return Ok(()) };
        match std::mem::replace(self.delivery, Delivery::Unwound) {
            Delivery::Pending(send) => *self.delivery = Delivery::Done(send(&mut message)),
            // Not reached: the first value consumes a serializer.
            Delivery::Done(_) | Delivery::Unwound => {
                return Err(EncodeError::custom("one value is one value"));
            }
        }
        Ok(())
    }
}

/// Generates the methods that encode: those for everything but byte strings.
macro_rules! encode {
    ($($method:ident($($argument:ident: $type:ty),*) -> $ok:ty;)*) => {$(
        #[inline]
        fn $method(self, $($argument: $type),*) -> Result<$ok, EncodeError> {
            self.writer.$method($($argument),*)
        }
    )*};
}

impl<'w, 'm, S: FnOnce(&mut Message<'_>) -> R, R> Serializer for Whole<'w, 'm, S, R> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = &'w mut Writer<'m>;
    type SerializeTuple = &'w mut Writer<'m>;
    type SerializeTupleStruct = &'w mut Writer<'m>;
    type SerializeTupleVariant = &'w mut Writer<'m>;
    type SerializeMap = &'w mut Writer<'m>;
    type SerializeStruct = &'w mut Writer<'m>;
    type SerializeStructVariant = &'w mut Writer<'m>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        if value.len() < MIN_BYTES {
            self.writer.serialize_bytes(value)
        } else {
            self.deliver(value)
        }
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.writer.serialize_some(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.writer.serialize_newtype_variant(name, index, variant, value)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.writer.collect_str(value)
    }

    encode! {
        serialize_bool(value: bool) -> ();
        serialize_i8(value: i8) -> ();
        serialize_i16(value: i16) -> ();
        serialize_i32(value: i32) -> ();
        serialize_i64(value: i64) -> ();
        serialize_i128(value: i128) -> ();
        serialize_u8(value: u8) -> ();
        serialize_u16(value: u16) -> ();
        serialize_u32(value: u32) -> ();
        serialize_u64(value: u64) -> ();
        serialize_u128(value: u128) -> ();
        serialize_f32(value: f32) -> ();
        serialize_f64(value: f64) -> ();
        serialize_char(value: char) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(name: &'static str) -> ();
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> ();
        serialize_seq(length: Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(length: usize) -> Self::SerializeTuple;
        serialize_tuple_struct(name: &'static str, length: usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, length: usize
        ) -> Self::SerializeTupleVariant;
        serialize_map(length: Option<usize>) -> Self::SerializeMap;
        serialize_struct(name: &'static str, length: usize) -> Self::SerializeStruct;
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, length: usize
        ) -> Self::SerializeStructVariant;
    }
}
