//! Encodes serde's data model in the wire format of
//! [postcard](https://postcard.jamesmunns.com/wire-format), a word at a time.
//!
//! postcard's own serializer hands over numbers as bytes that it has just written one by one. Bytes
//! that are read back at once as words cannot be forwarded from the processor's store buffer. That
//! wait took longer than encoding a small message. Here a number goes from one register to another.
//!
//! A test compares every type of serde's data model with postcard.

use std::fmt::{self, Display, Write};

use serde::ser::{self, Serialize};

use crate::wire::writer::{EncodeCause, EncodeError, Writer};

pub(crate) type Result = std::result::Result<(), EncodeError>;

/// Maps a signed number to an unsigned one, which is small if the signed one was near zero.
#[inline]
fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

impl ser::Serializer for &mut Writer<'_> {
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
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result {
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
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self, EncodeError> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self, EncodeError> {
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
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self, EncodeError> {
        self.varint(index.into());
        Ok(self)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result {
        // The length goes first. The text is formatted twice rather than kept.
        let mut length = Length(0);
        write!(length, "{value}").map_err(|_| EncodeCause::Unsteady)?;
        self.varint(length.0 as u64);
        let mut rest = Exactly { writer: self, left: length.0 };
        write!(rest, "{value}").map_err(|_| EncodeCause::Unsteady)?;
        if rest.left == 0 { Ok(()) } else { Err(EncodeCause::Unsteady.into()) }
    }
}

/// Counts the bytes of a text.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Takes as many bytes as were announced. A `Display` that differs from one time to the next must
/// not spoil the message.
struct Exactly<'a, 'm> {
    writer: &'a mut Writer<'m>,
    left: usize,
}

impl Write for Exactly<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.writer.extend(text.as_bytes());
        Ok(())
    }
}

/// Generates the encoding of compound values: their parts follow each other.
macro_rules! compound {
    ($($kind:ident $method:ident ($($key:ty)?) $($skip:ident)?),* $(,)?) => {$(
        impl ser::$kind for &mut Writer<'_> {
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

impl ser::SerializeMap for &mut Writer<'_> {
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
    use crate::wire::header::as_bytes;
    use crate::wire::message::Message;

    fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
        let mut message = Message::new();
        let mut writer = Writer::new(&mut message, usize::MAX);
        value.serialize(&mut writer).expect("encodes");
        writer.finish();
        as_bytes(message.words(), message.bytes()).to_vec()
    }

    fn as_postcard<T: Serialize + ?Sized>(value: &T) {
        assert_eq!(encoded(value), postcard::to_stdvec(value).expect("encodes"));
    }

    #[test]
    fn numbers_of_every_width_at_every_alignment_are_as_postcard_has_them() {
        for shift in 0..64 {
            for value in
                [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift, 0x5555_5555_5555_5555 >> shift]
            {
                for before in 0..8usize {
                    let behind = (
                        value as i64,
                        value as u16,
                        value as i32,
                        -(value as i128),
                        u128::from(value) << shift,
                    );
                    as_postcard(&(
                        &[7u8; 8][..before],
                        value,
                        value as u32,
                        value as i16,
                        value as u8,
                        value as i8,
                        behind,
                    ));
                }
            }
        }
        as_postcard(&(
            u64::MAX,
            i64::MIN,
            i64::MAX,
            i32::MIN,
            i16::MIN,
            u128::MAX,
            i128::MIN,
            i128::MAX,
        ));
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
    struct SentType(char, bool);

    #[test]
    fn every_kind_of_value_is_as_postcard_has_it() {
        as_postcard(
            &[
                Shape::Unit,
                Shape::Newtype(300),
                Shape::Tuple(-1, 1.5),
                Shape::Struct { name: "x", size: Some(-0.0) },
            ][..],
        );
        as_postcard(&(
            Nothing,
            (),
            SentType('ß', true),
            Some(()),
            None::<u8>,
            std::num::Wrapping(-5i64),
        ));
        as_postcard(&BTreeMap::from([
            ("one", vec![1u64; 3]),
            ("two", vec![]),
            ("three", vec![u64::MAX; 40]),
        ]));
        as_postcard(&std::net::IpAddr::from([127, 0, 0, 1]));
        as_postcard(&(
            String::from("text that takes more than one slot: ").repeat(20),
            [f64::NAN; 30],
            serde_bytes::Bytes::new(&[9; 777]),
        ));
        // Covers text whose length is known only once it is formatted.
        as_postcard(&format_args!("{}-{:>200}", 1, 2));
    }

    #[test]
    fn what_postcard_refuses_is_refused() {
        struct Endless;
        impl Serialize for Endless {
            fn serialize<S: ser::Serializer>(
                &self,
                serializer: S,
            ) -> std::result::Result<S::Ok, S::Error> {
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
        let mut writer = Writer::new(&mut message, usize::MAX);
        let cause = |result: Result| *result.expect_err("refused").0;
        assert_eq!(cause(Endless.serialize(&mut writer)), EncodeCause::UnknownLength);
        let fickle = Fickle(std::cell::Cell::new(1));
        assert_eq!(
            cause(ser::Serializer::collect_str(&mut writer, &fickle)),
            EncodeCause::Unsteady
        );
    }
}
