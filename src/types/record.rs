//! Records the kinds of a value, by a serializer that runs over the value once, in addition to the
//! one that encodes it.
//!
//! The recorder looks at each element of a sequence or map, up to a bound. Each element may show
//! another variant of an enum, or the content of an option, or be of another type.

use std::fmt::{self, Display, Write};

use serde::ser::{self, Serialize, Serializer};

use crate::text::clip;
use crate::types::block_description::is_description;
use crate::types::kinds;
use crate::types::kinds::{MAX_NAME, MAX_NESTING, is_valid};
use crate::types::merge::merge;

/// Bounds the bytes of kinds. Beyond it, further parts of a value are unknown.
const ENOUGH: usize = 12 * 1024;

/// Bounds the parts of a tuple, or elements of an array, that are described. More of them would
/// take the space of all else, so a longer tuple is unknown.
const MAX_PARTS: usize = 2048;

/// Bounds the elements, keys and values of a value that are looked at. The first of each list is
/// looked at in any case.
const MAX_LOOKS: usize = 64 * 1024;

/// Bounds how deep the recorder goes. Three levels are spare: one around the last part, one for a
/// variant with several parts, and one for the mark of a part.
const MAX_RECORDED: u32 = MAX_NESTING - 3;

/// Replaces `kinds` by the kinds of a value. Returns `false` if the value cannot be serialized.
/// Then the serializer that encodes the value reports why.
///
/// Runs user code.
pub(crate) fn record<T: Serialize + ?Sized>(value: &T, kinds: &mut Vec<u8>) -> bool {
    kinds.clear();
    let mut recorder = Recorder { kinds, left: MAX_RECORDED, looks: MAX_LOOKS, is_muted: false };
    if value.serialize(&mut recorder).is_err() {
        return false;
    }
    // There are too many kinds, or the type has announced another number of parts than it has.
    // postcard accepts that. The peer would take such kinds for misbehaviour.
    if !is_valid(kinds) {
        kinds.clear();
        kinds.push(kinds::UNKNOWN);
    }
    true
}

/// Returns `true` if this is the serializer that records kinds.
pub(crate) fn is_recorder<S>() -> bool {
    std::any::type_name::<S>() == std::any::type_name::<&mut Recorder<'_>>()
}

/// Reports that a value cannot be serialized, so it has no kinds.
#[derive(Debug)]
struct Unrecorded;

impl Display for Unrecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value cannot be serialized")
    }
}

impl std::error::Error for Unrecorded {}

impl ser::Error for Unrecorded {
    fn custom<T: Display>(_: T) -> Unrecorded {
        Unrecorded
    }
}

type Result<T = ()> = std::result::Result<T, Unrecorded>;

struct Recorder<'k> {
    kinds: &'k mut Vec<u8>,
    /// Counts the levels that may still be entered.
    left: u32,
    /// Counts the elements, keys and values that may still be looked at.
    looks: usize,
    /// Is `true` inside a tuple that is not described.
    is_muted: bool,
}

impl Recorder<'_> {
    fn put(&mut self, kind: u8) -> Result {
        self.kinds.push(kind);
        Ok(())
    }

    fn put_unknown(&mut self) -> Result {
        self.put(kinds::UNKNOWN)
    }

    fn put_tuple(&mut self, length: usize) {
        self.kinds.push(kinds::TUPLE);
        kinds::put_number(self.kinds, u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn put_struct(&mut self, name: &str, length: usize) {
        self.kinds.push(kinds::STRUCT);
        kinds::put_name(self.kinds, name);
        kinds::put_number(self.kinds, u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn put_variant(&mut self, name: &str, index: u32, variant: &str) {
        self.kinds.push(kinds::ENUM);
        kinds::put_name(self.kinds, name);
        kinds::put_number(self.kinds, 1);
        kinds::put_number(self.kinds, index);
        kinds::put_name(self.kinds, variant);
    }

    /// Records a part of a value, or that the part is unknown.
    fn part(&mut self, value: &(impl Serialize + ?Sized)) -> Result {
        if self.is_muted {
            return Ok(());
        }
        if self.kinds.len() > ENOUGH {
            return self.put_unknown();
        }
        let Some(left) = self.left.checked_sub(1) else { return self.put_unknown() };
        let before = std::mem::replace(&mut self.left, left);
        let recorded = value.serialize(&mut *self);
        self.left = before;
        recorded
    }
}

macro_rules! leaves {
    ($($method:ident $type:ty => $kind:ident),* $(,)?) => {$(
        fn $method(self, _: $type) -> Result {
            self.put(kinds::$kind)
        }
    )*};
}

impl<'r, 'k> Serializer for &'r mut Recorder<'k> {
    type Ok = ();
    type Error = Unrecorded;
    type SerializeSeq = Elements<'r, 'k>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Entries<'r, 'k>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    leaves! {
        serialize_bool bool => BOOL,
        serialize_i8 i8 => I8,
        serialize_i16 i16 => I16,
        serialize_i32 i32 => I32,
        serialize_i64 i64 => I64,
        serialize_i128 i128 => I128,
        serialize_u8 u8 => U8,
        serialize_u16 u16 => U16,
        serialize_u32 u32 => U32,
        serialize_u64 u64 => U64,
        serialize_u128 u128 => U128,
        serialize_f32 f32 => F32,
        serialize_f64 f64 => F64,
        serialize_char char => CHAR,
        serialize_str &str => STR,
        serialize_bytes &[u8] => BYTES,
        serialize_unit_struct &'static str => UNIT,
    }

    fn serialize_unit(self) -> Result {
        self.put(kinds::UNIT)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result {
        if !is_description::<T>() {
            return self.put(kinds::STR);
        }
        self.put(kinds::BLOCK)?;
        let at = self.kinds.len();
        let mut text = Text { kinds: self.kinds, left: MAX_NAME };
        write!(text, "{value}").map_err(|_| Unrecorded)?;
        let length = u32::try_from(self.kinds.len().saturating_sub(at)).unwrap_or(u32::MAX);
        // Moves the length in front of the text: it was not known before.
        kinds::put_number(self.kinds, length);
        let behind = self.kinds.get_mut(at..).unwrap_or_default();
        behind.rotate_left(length as usize);
        Ok(())
    }

    fn serialize_none(self) -> Result {
        self.put(kinds::OPTION)?;
        self.put_unknown()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        self.put(kinds::OPTION)?;
        self.part(value)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result {
        self.put_variant(name, index, variant);
        self.put(kinds::UNIT)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result {
        self.put(kinds::NEWTYPE)?;
        kinds::put_name(self.kinds, name);
        self.part(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result {
        self.put_variant(name, index, variant);
        self.part(value)
    }

    /// Fails for a sequence of unknown length, before any code runs that makes its elements. Such a
    /// sequence cannot be encoded.
    fn serialize_seq(self, length: Option<usize>) -> Result<Elements<'r, 'k>> {
        length.ok_or(Unrecorded)?;
        self.put(kinds::SEQUENCE)?;
        Ok(Elements { recorder: self, elements: Alike::default() })
    }

    /// Fails for a map of unknown length, as for a sequence.
    fn serialize_map(self, length: Option<usize>) -> Result<Entries<'r, 'k>> {
        length.ok_or(Unrecorded)?;
        self.put(kinds::MAP)?;
        Ok(Entries {
            recorder: self,
            keys: Alike::default(),
            values: Alike::default(),
            recorded: Vec::new(),
        })
    }

    fn serialize_tuple(self, length: usize) -> Result<Self> {
        if length > MAX_PARTS {
            self.put_unknown()?;
            self.is_muted = true;
        } else {
            self.put_tuple(length);
        }
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Self> {
        self.put_tuple(length);
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self> {
        self.put_variant(name, index, variant);
        // There are two levels: the variant, and the tuple in it.
        self.left = self.left.saturating_sub(1);
        self.put_tuple(length);
        Ok(self)
    }

    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Self> {
        self.put_struct(name, length);
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self> {
        self.put_variant(name, index, variant);
        // There are two levels, as for a tuple.
        self.left = self.left.saturating_sub(1);
        self.put_struct("", length);
        Ok(self)
    }
}

macro_rules! elements {
    ($($of:ident $method:ident),* $(,)?) => {$(
        impl ser::$of for &mut Recorder<'_> {
            type Ok = ();
            type Error = Unrecorded;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
                self.part(value)
            }

            fn end(self) -> Result {
                self.is_muted = false;
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! fields {
    ($($of:ident),* $(,)?) => {$(
        impl ser::$of for &mut Recorder<'_> {
            type Ok = ();
            type Error = Unrecorded;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result {
                kinds::put_name(self.kinds, name);
                self.part(value)
            }

            fn skip_field(&mut self, _: &'static str) -> Result {
                Err(Unrecorded)
            }

            fn end(self) -> Result {
                Ok(())
            }
        }
    )*};
}

fields! { SerializeStruct, SerializeStructVariant }

/// Records the elements of a sequence, the keys of a map, or its values: described once for all.
#[derive(Default)]
struct Alike {
    /// Locates their description, once one of them is described.
    at: Option<usize>,
    /// Is `true` if they are of several types. Then nothing is known of any.
    is_mixed: bool,
}

impl Alike {
    /// Records one more of them.
    fn add(&mut self, recorder: &mut Recorder<'_>, value: &(impl Serialize + ?Sized)) -> Result {
        if self.is_mixed || self.at.is_some() && recorder.looks == 0 {
            return Ok(());
        }
        recorder.looks = recorder.looks.saturating_sub(1);
        let start = recorder.kinds.len();
        recorder.part(value)?;
        match self.at {
            Some(at) => self.is_mixed = !merge(recorder.kinds, at, start),
            None => self.at = Some(start),
        }
        Ok(())
    }

    fn finish(&self, recorder: &mut Recorder<'_>) -> Result {
        if self.at.is_some() { Ok(()) } else { recorder.put_unknown() }
    }
}

/// Records the elements of a sequence.
struct Elements<'r, 'k> {
    recorder: &'r mut Recorder<'k>,
    elements: Alike,
}

impl ser::SerializeSeq for Elements<'_, '_> {
    type Ok = ();
    type Error = Unrecorded;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.elements.add(self.recorder, value)
    }

    fn end(self) -> Result {
        self.elements.finish(self.recorder)
    }
}

/// Records the entries of a map. The values are described behind the keys, so they are recorded
/// apart.
struct Entries<'r, 'k> {
    recorder: &'r mut Recorder<'k>,
    keys: Alike,
    values: Alike,
    /// Holds the kinds of the values so far.
    recorded: Vec<u8>,
}

impl ser::SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Unrecorded;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        self.keys.add(self.recorder, key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        std::mem::swap(self.recorder.kinds, &mut self.recorded);
        let added = self.values.add(self.recorder, value);
        std::mem::swap(self.recorder.kinds, &mut self.recorded);
        added
    }

    fn end(self) -> Result {
        self.keys.finish(self.recorder)?;
        self.recorder.kinds.extend_from_slice(&self.recorded);
        self.values.finish(self.recorder)
    }
}

/// Appends text, up to the length that is kept.
struct Text<'k> {
    kinds: &'k mut Vec<u8>,
    left: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = clip(text, self.left);
        self.kinds.extend_from_slice(kept.as_bytes());
        self.left = if kept.len() < text.len() { 0 } else { self.left.saturating_sub(kept.len()) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::ser::{SerializeStruct, Serializer};

    use super::*;

    fn kinds_of(value: &impl Serialize) -> Vec<u8> {
        let mut kinds = Vec::new();
        assert!(record(value, &mut kinds));
        assert!(is_valid(&kinds), "{kinds:?}");
        kinds
    }

    #[test]
    fn variants_are_nested_no_deeper_than_a_reader_takes() {
        #[derive(Serialize)]
        enum Tree {
            Leaf,
            Tuple(u8, Box<Tree>),
            Struct { left: Box<Tree>, right: u8 },
            Newtype(Box<Tree>),
        }
        for depth in 0..300 {
            let tree = |wrap: fn(Tree) -> Tree| (0..depth).fold(Tree::Leaf, |tree, _| wrap(tree));
            for tree in [
                tree(|tree| Tree::Tuple(1, Box::new(tree))),
                tree(|tree| Tree::Struct { left: Box::new(tree), right: 1 }),
                tree(|tree| Tree::Newtype(Box::new(tree))),
            ] {
                assert_ne!(kinds_of(&tree), [kinds::UNKNOWN]);
                assert_ne!(kinds_of(&Some(Some(tree))), [kinds::UNKNOWN]);
            }
        }
    }

    #[test]
    fn a_type_that_announces_another_number_of_parts_is_unknown() {
        struct Announced(usize);
        impl Serialize for Announced {
            fn serialize<S: Serializer>(
                &self,
                serializer: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                let mut fields = serializer.serialize_struct("Announced", self.0)?;
                fields.serialize_field("a", &1_u8)?;
                fields.serialize_field("b", &2_u8)?;
                fields.end()
            }
        }
        assert_ne!(kinds_of(&Announced(2)), [kinds::UNKNOWN]);
        for length in [0, 1, 3, 1000, usize::MAX] {
            assert_eq!(kinds_of(&Announced(length)), [kinds::UNKNOWN]);
        }
    }
}
