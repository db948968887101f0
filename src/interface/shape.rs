//! The shape of a type, as text: what of it both ends compare, besides how it is written.
//!
//! postcard sends neither names nor types, so two structs of one name with their fields in another order read each other without complaint. A shape has those names,
//! as far as they are to be had for nothing: `Deserialize` is run on a deserializer that writes down what it is asked for, and gives nothing. It goes inward where
//! nobody has to be given anything before, and it ends in an error always. So no value of the user's comes into being, none is converted, checked or dropped: how
//! two programs read a type is compared, not what they do with it, which may be different each time.
//!
//! For the same reason the fields of tuple structs are not looked at: one that is skipped would be made by its `Default`.

use std::cell::Cell;
use std::fmt::{self, Display, Write};
use std::marker::PhantomData;

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use crate::block::reads_block;
use crate::contain::contain;

/// How deep types may be nested: one can contain itself.
const MAX_DEPTH: usize = 32;
/// The variants of `Result`.
const OK: u32 = 0;
const ERR: u32 = 1;
/// How much of a name is taken, in characters.
const MAX_NAME: usize = 200;

/// A type that an interface names. One that cannot be read has no shape, and the compiler says so where it is used, once.
#[doc(hidden)]
#[derive(Debug)]
pub struct Named<T>(PhantomData<T>);

impl<T: DeserializeOwned> Named<T> {
    /// `None` if it is not known. An associated function goes before one of a trait.
    pub fn shape() -> Option<String> {
        let (text, of_a_result) = Self::path(OK)?;
        Some(if of_a_result { format!("{text} or {}", Self::path(ERR)?.0) } else { text })
    }

    /// What is on one of two paths, and whether they part: `Result` is gone into one way or the other.
    fn path(variant: u32) -> Option<(String, bool)> {
        let (mut text, parted) = (String::new(), Cell::new(false));
        let recorder = Recorder { text: &mut text, left: MAX_DEPTH, variant, parted: &parted };
        let panicked = contain(|| drop(T::deserialize(recorder)));
        // Nothing was asked for by a type that is made of nothing, or by some computation.
        let known = !panicked && !text.is_empty();
        // Bytes one by one are the same on the wire. No name has spaces.
        known.then(|| (text.replace("[u8, ..]", "bytes"), parted.get()))
    }
}

#[doc(hidden)]
pub trait Unreadable {
    fn shape() -> Option<String> {
        None
    }
}

impl<T> Unreadable for Named<T> {}

/// Enough has been seen.
#[derive(Debug)]
struct Seen;

impl Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no value, only its type is looked at")
    }
}

impl std::error::Error for Seen {}

impl Error for Seen {
    fn custom<T: Display>(_: T) -> Seen {
        Seen
    }
}

type Result<T> = std::result::Result<T, Seen>;

/// Writes down what is asked for.
struct Recorder<'t> {
    text: &'t mut String,
    /// How much deeper it may go.
    left: usize,
    /// The variant of `Result` that is gone into, and whether there was one.
    variant: u32,
    parted: &'t Cell<bool>,
}

impl Recorder<'_> {
    fn write<T>(self, what: impl Display) -> Result<T> {
        // A string has room for everything.
        let _ = write!(self.text, "{what}");
        Err(Seen)
    }

    /// Writes what is around something, and has that written.
    fn around<T>(self, open: impl Display, close: impl Display, inside: impl FnOnce(Recorder<'_>) -> Result<T>) -> Result<T> {
        let Some(left) = self.left.checked_sub(1) else { return self.write("..") };
        let _ = write!(self.text, "{open}");
        let read = inside(Recorder { text: self.text, left, ..self });
        let _ = write!(self.text, "{close}");
        read
    }
}

/// A name, which serde lets be any text, as one word of a line.
fn word(name: &str) -> String {
    let start: String = name.chars().take(MAX_NAME).collect();
    start.escape_default().to_string().replace(' ', "\\u{20}")
}

fn words(names: &[&str]) -> String {
    names.iter().map(|name| word(name)).collect::<Vec<_>>().join(", ")
}

macro_rules! written {
    ($($deserialize:ident $what:literal)*) => {$(
        fn $deserialize<V: Visitor<'static>>(self, _: V) -> Result<V::Value> {
            self.write($what)
        }
    )*};
}

impl Deserializer<'static> for Recorder<'_> {
    type Error = Seen;

    fn is_human_readable(&self) -> bool {
        false
    }

    written! {
        deserialize_bool "bool"
        deserialize_i8 "i8"
        deserialize_i16 "i16"
        deserialize_i32 "i32"
        deserialize_i64 "i64"
        deserialize_i128 "i128"
        deserialize_u8 "u8"
        deserialize_u16 "u16"
        deserialize_u32 "u32"
        deserialize_u64 "u64"
        deserialize_u128 "u128"
        deserialize_f32 "f32"
        deserialize_f64 "f64"
        deserialize_char "char"
        deserialize_str "string"
        deserialize_string "string"
        deserialize_byte_buf "bytes"
        deserialize_unit "()"
        deserialize_any "any"
        deserialize_identifier "identifier"
        deserialize_ignored_any "ignored"
    }

    fn deserialize_bytes<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
        // Blocks are all alike on the wire, and say of themselves what they are of.
        if reads_block::<V>() { self.write(format_args!("{:#}", &visitor as &dyn Expected)) } else { self.write("bytes") }
    }

    fn deserialize_unit_struct<V: Visitor<'static>>(self, name: &'static str, _: V) -> Result<V::Value> {
        self.write(format_args!("struct {}", word(name)))
    }

    fn deserialize_newtype_struct<V: Visitor<'static>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        self.around(format_args!("struct {}(", word(name)), ")", |recorder| visitor.visit_newtype_struct(recorder))
    }

    fn deserialize_tuple_struct<V: Visitor<'static>>(self, name: &'static str, length: usize, _: V) -> Result<V::Value> {
        self.write(format_args!("struct {}(..; {length})", word(name)))
    }

    fn deserialize_struct<V: Visitor<'static>>(self, name: &'static str, fields: &'static [&'static str], _: V) -> Result<V::Value> {
        self.write(format_args!("struct {} {{{}}}", word(name), words(fields)))
    }

    fn deserialize_enum<V: Visitor<'static>>(self, name: &'static str, variants: &'static [&'static str], visitor: V) -> Result<V::Value> {
        if (name, variants) != ("Result", &["Ok", "Err"]) {
            return self.write(format_args!("enum {} {{{}}}", word(name), words(variants)));
        }
        // What a call returns that can fail, and the one enum of which it is known that to choose a variant makes nothing of the user's.
        self.parted.set(true);
        let chosen = if self.variant == OK { "Ok" } else { "Err" };
        self.around(format_args!("Result::{chosen}("), ")", |recorder| visitor.visit_enum(Chosen(recorder)))
    }

    fn deserialize_option<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
        self.around("Option<", ">", |recorder| visitor.visit_some(recorder))
    }

    fn deserialize_seq<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
        self.around("[", ", ..]", |recorder| visitor.visit_seq(First(Some(recorder))))
    }

    fn deserialize_tuple<V: Visitor<'static>>(self, length: usize, visitor: V) -> Result<V::Value> {
        // One of nothing would be made.
        if length == 0 {
            return self.write("(..; 0)");
        }
        self.around("(", format_args!(", ..; {length})"), |recorder| visitor.visit_seq(First(Some(recorder))))
    }

    fn deserialize_map<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
        self.around("{", ": ..}", |recorder| visitor.visit_map(First(Some(recorder))))
    }
}

/// A variant of `Result`.
struct Chosen<'t>(Recorder<'t>);

impl<'t> EnumAccess<'static> for Chosen<'t> {
    type Error = Seen;
    type Variant = Chosen<'t>;

    fn variant_seed<V: DeserializeSeed<'static>>(self, seed: V) -> Result<(V::Value, Chosen<'t>)> {
        let index: U32Deserializer<Seen> = self.0.variant.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl VariantAccess<'static> for Chosen<'_> {
    type Error = Seen;

    fn unit_variant(self) -> Result<()> {
        Err(Seen)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'static>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'static>>(self, _: usize, _: V) -> Result<V::Value> {
        Err(Seen)
    }

    fn struct_variant<V: Visitor<'static>>(self, _: &'static [&'static str], _: V) -> Result<V::Value> {
        Err(Seen)
    }
}

/// What comes first in something: nothing comes after it.
struct First<'t>(Option<Recorder<'t>>);

impl SeqAccess<'static> for First<'_> {
    type Error = Seen;

    fn next_element_seed<T: DeserializeSeed<'static>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        seed.deserialize(self.0.take().ok_or(Seen)?).map(Some)
    }
}

impl MapAccess<'static> for First<'_> {
    type Error = Seen;

    fn next_key_seed<K: DeserializeSeed<'static>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'static>>(&mut self, _: T) -> Result<T::Value> {
        Err(Seen)
    }
}

#[cfg(test)]
mod tests;
