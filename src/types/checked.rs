//! Decodes a value beside the kinds that the sender described: a type must ask for what was sent.
//!
//! The type's own `Deserialize` reads the value. Each of its requests is compared with the kinds at
//! the same place. So the check goes as deep as the value, and the value is read exactly as without
//! the check. Where the kinds are silent (an option that was empty, another variant), the value is
//! read without a check.
//!
//! Kinds come from the peer. If a peer describes other kinds than it sends, the result is what it
//! would be without kinds: a value, or an error of decoding.

use std::cell::RefCell;
use std::fmt::{self, Display};

use rustc_hash::FxHashMap;
use serde::de::IntoDeserializer;
use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use crate::sync::{Mutex, lock};
use crate::text::clip;
use crate::types::aliases::{Asking, Listed, Question};
use crate::types::block::reads_block;
use crate::types::kinds;
use crate::types::kinds::Cursor;
use crate::types::show::{Named, Names, leaf, show_at, show_other};
use crate::wire::deserializer::{DecodeError, Decoder};
use crate::wire::mismatch::{Mismatch, Place};

type Result<T> = std::result::Result<T, DecodeError>;

/// Describes the elements of a byte string.
const BYTES: &[u8] = &[kinds::U8];

pub(super) struct Checked<'k, 'de> {
    pub(super) decoder: Decoder<'de>,
    kinds: &'k [u8],
    /// Locates the description of the next value in the kinds. `None` if the kinds do not describe
    /// it. After a value, this is the end of its description.
    at: Option<usize>,
    /// Caches where descriptions end: of values that were skipped before, and of enums. So another
    /// look costs nothing, whatever the kinds and the value are.
    ends: FxHashMap<usize, Option<usize>>,
    /// Caches where the descriptions of variants start, so that another look costs nothing.
    contents: FxHashMap<(usize, u32), Option<usize>>,
    pub(super) compared: Option<&'k Mutex<Vec<bool>>>,
    pub(super) mismatch: RefCell<Option<Mismatch>>,
    /// Lists where enums and structs are described whose names are known to be those of the type.
    has_names: Vec<usize>,
    /// Is `true` if a type may be asked for its names.
    pub(super) may_ask: bool,
    /// Locates the description of an enum or struct whose type was not asked for its names.
    pub(super) unasked: Option<usize>,
    /// Holds the question that an enum or struct is asked.
    pub(super) question: Option<Question<'k>>,
    /// Receives the names that the enum or struct lists.
    pub(super) listed: Option<Listed>,
    /// Receives the answer of the enum or struct.
    pub(super) answer: Option<u64>,
}

/// Describes the next value, as far as the kinds do.
#[derive(Clone, Copy)]
enum Said<'k> {
    Nothing,
    /// The kind at a place, and the kinds that follow it.
    Kind {
        kind: u8,
        at: usize,
        rest: Cursor<'k>,
    },
}

impl<'k, 'de> Checked<'k, 'de> {
    pub(super) fn new(bytes: &'de [u8], kinds: &'k [u8]) -> Checked<'k, 'de> {
        Checked {
            decoder: Decoder::new(bytes),
            kinds,
            at: Some(0),
            ends: FxHashMap::default(),
            contents: FxHashMap::default(),
            compared: None,
            mismatch: RefCell::default(),
            has_names: Vec::new(),
            may_ask: false,
            unasked: None,
            question: None,
            listed: None,
            answer: None,
        }
    }

    /// Takes the description of the next value. Newtypes around the value are skipped: they
    /// describe nothing.
    fn next(&mut self) -> Said<'k> {
        let Some(at) = self.at else { return Said::Nothing };
        let mut rest = Cursor::new(self.kinds, at);
        loop {
            let at = rest.at();
            match rest.byte() {
                // A newtype is read as its content.
                Some(kinds::NEWTYPE) if rest.name().is_some() => {}
                Some(kinds::UNKNOWN) => {
                    self.at = Some(rest.at());
                    return Said::Nothing;
                }
                Some(kind) => {
                    self.set_compared(at, true);
                    return Said::Kind { kind, at, rest };
                }
                None => {
                    self.at = None;
                    return Said::Nothing;
                }
            }
        }
    }

    fn set_compared(&self, at: usize, is_compared: bool) {
        if let Some(compared) = self.compared
            && let Some(place) = lock(compared).get_mut(at)
        {
            *place = is_compared;
        }
    }

    /// Skips the description of a value that is absent.
    fn skip(&mut self, at: usize) {
        self.at = self.end(at);
    }

    /// Returns the end of the description that starts here.
    fn end(&mut self, at: usize) -> Option<usize> {
        let kinds = self.kinds;
        *self.ends.entry(at).or_insert_with(|| {
            let mut cursor = Cursor::new(kinds, at);
            cursor.skip().map(|()| cursor.at())
        })
    }

    /// Decodes a value that the kinds do not describe.
    fn unsaid<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let behind = self.at.take();
        let value = inside(self);
        self.at = behind;
        value
    }

    #[cold]
    fn mismatch<T>(&self, at: usize, kind: u8, wanted: impl Display) -> Result<T> {
        let mismatch = Mismatch {
            sent: show_at(self.kinds, at),
            wanted: show_other(self.kinds, at, &wanted.to_string()),
            place: Place { at: at as u32, kind },
        };
        // Kept, since the type's `Deserialize` may replace the error.
        self.mismatch.replace(Some(mismatch.clone()));
        Err(DecodeError::of_types(mismatch))
    }

    /// Checks a value that holds no other values.
    fn check(&mut self, wanted: u8, fits: impl Fn(u8) -> bool) -> Result<()> {
        match self.next() {
            Said::Nothing => Ok(()),
            Said::Kind { kind, rest, .. } if fits(kind) => {
                self.at = Some(rest.at());
                Ok(())
            }
            Said::Kind { at, .. } => self.mismatch(at, wanted, leaf(wanted).unwrap_or_default()),
        }
    }

    /// Checks a value without content, such as a tuple or struct without fields.
    fn check_unit(&mut self) -> Result<()> {
        match self.next() {
            Said::Nothing => Ok(()),
            Said::Kind { kind, at, mut rest } => {
                let is_empty = match kind {
                    kinds::UNIT => true,
                    kinds::TUPLE => rest.number() == Some(0),
                    kinds::STRUCT => rest.name().is_some() && rest.number() == Some(0),
                    _ => false,
                };
                if !is_empty {
                    return self.mismatch(at, kinds::UNIT, "()");
                }
                self.at = Some(rest.at());
                Ok(())
            }
        }
    }

    /// Checks a byte string.
    fn check_bytes<V: Visitor<'de>>(&mut self, visitor: &V) -> Result<()> {
        let Said::Kind { kind, at, mut rest } = self.next() else { return Ok(()) };
        let is_block = reads_block::<V>();
        match kind {
            // Plain bytes do not describe the values that they hold.
            kinds::BYTES => self.at = Some(rest.at()),
            kinds::BLOCK => {
                let theirs = rest.name().unwrap_or_default();
                if is_block {
                    let ours = format!("{:#}", visitor as &dyn Expected);
                    let ours = ours.strip_prefix("block of ").unwrap_or(&ours);
                    if clip(ours, kinds::MAX_NAME) != theirs {
                        return self.mismatch(
                            at,
                            kinds::BLOCK,
                            format_args!("block of {}", Named(ours)),
                        );
                    }
                }
                self.at = Some(rest.at());
            }
            kinds::SEQUENCE if !is_block => {
                // Bytes that were sent one by one are encoded like a byte string.
                self.at = Some(rest.at());
                self.check(kinds::U8, |kind| kind == kinds::U8)?;
            }
            _ if is_block => {
                return self.mismatch(
                    at,
                    kinds::BLOCK,
                    format_args!("{:#}", visitor as &dyn Expected),
                );
            }
            _ => return self.mismatch(at, kinds::BYTES, "bytes"),
        }
        Ok(())
    }

    /// Decodes a value with a fixed number of parts.
    fn tuple<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value> {
        match self.next() {
            Said::Nothing => self.unsaid(|checked| {
                visitor.visit_seq(Parts { checked, left: length, are_named: false })
            }),
            Said::Kind { kind: kinds::TUPLE, at, mut rest } => {
                self.enter_tuple(length, at, &mut rest)?;
                visitor.visit_seq(Parts { checked: self, left: length, are_named: false })
            }
            Said::Kind { kind: kinds::STRUCT, at, mut rest } => {
                // The names of types are not compared.
                let _ = rest.name();
                self.enter_tuple(length, at, &mut rest)?;
                visitor.visit_seq(Parts { checked: self, left: length, are_named: true })
            }
            Said::Kind { kind: kinds::UNIT, rest, .. } if length == 0 => {
                self.at = Some(rest.at());
                visitor.visit_seq(Parts { checked: self, left: 0, are_named: false })
            }
            Said::Kind { at, .. } => self.mismatch(at, kinds::TUPLE, Tuple(length)),
        }
    }

    fn enter_tuple(&mut self, length: usize, at: usize, rest: &mut Cursor<'k>) -> Result<()> {
        if rest.number().map(|theirs| theirs as usize) != Some(length) {
            return self.mismatch(at, kinds::TUPLE, Tuple(length));
        }
        self.at = Some(rest.at());
        Ok(())
    }

    /// Decodes a struct, or a variant with fields.
    ///
    /// The names that serde lists may include aliases. So there may be more names than fields. The
    /// number of fields is known only once all of them are read.
    fn fields<V: Visitor<'de>>(
        &mut self,
        name: &str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let wanted = format_args!("{}{{{}}}", Named(name), Names(fields));
        let (at, mut rest, are_named) = match self.next() {
            Said::Kind { kind: kinds::STRUCT, at, mut rest } => {
                // The names of types are not compared.
                let _ = rest.name();
                (at, rest, true)
            }
            Said::Kind { kind: kinds::TUPLE, at, rest } => (at, rest, false),
            Said::Nothing => {
                return self.unsaid(|checked| {
                    visitor.visit_seq(Parts { checked, left: fields.len(), are_named: false })
                });
            }
            Said::Kind { kind: kinds::UNIT, rest, .. } if fields.is_empty() => {
                self.at = Some(rest.at());
                return visitor.visit_seq(Parts { checked: self, left: 0, are_named: false });
            }
            Said::Kind { at, .. } => return self.mismatch(at, kinds::STRUCT, wanted),
        };
        if let Some(question) = self.question
            && question.at == at
        {
            self.listed = Some(Listed::new::<V>(fields));
            return visitor.visit_map(Asking { question, answer: &mut self.answer });
        }
        let differ = |checked: &Self| {
            if are_named {
                checked.mismatch(at, kinds::STRUCT, wanted)
            } else {
                checked.mismatch(at, kinds::TUPLE, Tuple(fields.len()))
            }
        };
        let count = rest.number().unwrap_or(u32::MAX);
        let is_short = (count as usize) < fields.len();
        let names = Cursor::clone(&rest);
        if count as usize > fields.len()
            || are_named
                && !self.check_names(at, names, count, false, is_short, Listed::new::<V>(fields))
        {
            return differ(self);
        }
        self.at = Some(rest.at());
        let (mut left, mut wants_more) = (count as usize, false);
        let value = visitor.visit_seq(Fields {
            checked: self,
            left: &mut left,
            wants_more: &mut wants_more,
            are_named,
        });
        if wants_more || value.is_ok() && left > 0 {
            return differ(self);
        }
        value
    }

    /// Checks `count` names, with their indexes if they `have_indexes`. The names may be `aliases`.
    fn check_names(
        &mut self,
        at: usize,
        mut said: Cursor<'k>,
        count: u32,
        have_indexes: bool,
        aliases: bool,
        listed: Listed,
    ) -> bool {
        if self.question.is_some() || self.has_names.contains(&at) {
            return true;
        }
        for place in 0..count {
            let index = if have_indexes { said.number() } else { Some(place) };
            let (Some(index), Some(name)) = (index, said.name()) else { return false };
            let fits = match listed.answer(index, name) {
                Some(answer) if aliases => answer,
                None if aliases && self.may_ask => {
                    self.unasked = Some(at);
                    false
                }
                _ => listed.has(index, name),
            };
            if !fits || said.skip().is_none() {
                return false;
            }
        }
        self.has_names.push(at);
        true
    }

    /// Checks the names of variants, and returns the end of their description. Returns `None` if
    /// they differ.
    fn check_variants(&mut self, at: usize, said: Cursor<'k>, listed: Listed) -> Option<usize> {
        let mut variants = said;
        variants.name()?;
        let count = variants.number()?;
        if !self.check_names(at, variants, count, true, true, listed) {
            return None;
        }
        self.end(at)
    }

    /// Decodes a part that lies one level deeper.
    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.decoder.descend()?;
        let value = inside(self);
        self.decoder.ascend();
        value
    }

    /// Decodes the elements of a sequence, or the entries of a map. Each has so many `parts`.
    fn elements<T>(
        &mut self,
        parts: u8,
        visit: impl FnOnce(Elements<'_, 'k, 'de>) -> Result<T>,
    ) -> Result<T> {
        let left = self.decoder.length()?;
        let start = self.at;
        let value = self.deeper(|checked| visit(Elements { checked, left, start }))?;
        if left == 0 {
            // Skips the descriptions of the absent elements.
            (0..parts).for_each(|_| {
                if let Some(at) = self.at {
                    self.skip(at)
                }
            });
        }
        Ok(value)
    }

    /// Decodes the elements of a sequence that was sent as a byte string, which is described `at`
    /// this place.
    fn bytes<T>(
        &mut self,
        at: usize,
        visit: impl FnOnce(Bytes<'_, 'k, 'de>) -> Result<T>,
    ) -> Result<T> {
        let left = self.decoder.length()?;
        if left == 0 {
            // Without an element, nothing is compared.
            self.set_compared(at, false);
        }
        let behind = self.at.replace(0);
        let (around, compared) = (std::mem::replace(&mut self.kinds, BYTES), self.compared.take());
        let value = self.deeper(|checked| visit(Bytes { checked, left }));
        (self.at, self.kinds) = (behind, around);
        self.compared = compared;
        match value.as_ref().err().and_then(DecodeError::mismatch) {
            // Reported for the whole sequence: the kinds that contain the sequence are known here.
            Some(Mismatch { wanted, .. }) => {
                self.mismatch(at, kinds::SEQUENCE, format_args!("[{wanted}]"))
            }
            None => value,
        }
    }
}

/// Reads the elements of a sequence, or the entries of a map. One description is for all of them.
struct Elements<'c, 'k, 'de> {
    checked: &'c mut Checked<'k, 'de>,
    left: usize,
    /// Locates the start of that description.
    start: Option<usize>,
}

impl<'de> Elements<'_, '_, 'de> {
    /// Decodes an element, or the key of an entry.
    fn start<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        if self.checked.at.is_some() {
            self.checked.at = self.start;
        }
        seed.deserialize(&mut *self.checked).map(Some)
    }
}

/// Reads the elements of a sequence that was sent as a byte string.
struct Bytes<'c, 'k, 'de> {
    checked: &'c mut Checked<'k, 'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Bytes<'_, '_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.checked.at = Some(0);
        seed.deserialize(&mut *self.checked).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, '_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        self.start(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Elements<'_, '_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.start(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        seed.deserialize(&mut *self.checked)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// Reads the parts of a tuple or struct.
struct Parts<'c, 'k, 'de> {
    checked: &'c mut Checked<'k, 'de>,
    left: usize,
    /// Is `true` if each description starts with the name of a field.
    are_named: bool,
}

impl<'de> SeqAccess<'de> for Parts<'_, '_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        if let (true, Some(at)) = (self.are_named, self.checked.at) {
            let mut cursor = Cursor::new(self.checked.kinds, at);
            self.checked.at = cursor.name().map(|_| cursor.at());
        }
        seed.deserialize(&mut *self.checked).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// Reads the fields of a struct, as many as the kinds describe.
struct Fields<'c, 'k, 'de> {
    checked: &'c mut Checked<'k, 'de>,
    left: &'c mut usize,
    /// Becomes `true` if the type asks for more fields.
    wants_more: &'c mut bool,
    /// Is `true` if each description starts with the name of a field.
    are_named: bool,
}

impl<'de> SeqAccess<'de> for Fields<'_, '_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let mut parts =
            Parts { checked: self.checked, left: *self.left, are_named: self.are_named };
        let part = parts.next_element_seed(seed);
        *self.left = parts.left;
        *self.wants_more |= matches!(part, Ok(None));
        part
    }

    fn size_hint(&self) -> Option<usize> {
        Some(*self.left)
    }
}

/// Displays a tuple of so many elements.
struct Tuple(usize);

impl Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("()"),
            1 => f.write_str("(_,)"),
            length @ 2..=4 => write!(f, "({})", "_, ".repeat(length).trim_end_matches(", ")),
            length => write!(f, "a tuple of {length}"),
        }
    }
}

macro_rules! leaves {
    ($($method:ident $wanted:ident $($kind:ident)|+,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.check(kinds::$wanted, |kind| matches!(kind, $(kinds::$kind)|+))?;
            self.decoder.$method(visitor)
        }
    )*};
}

/// Generates the methods that refuse: no message can be read in these ways.
macro_rules! refuse {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.decoder.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Checked<'_, 'de> {
    type Error = DecodeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    leaves! {
        deserialize_bool BOOL BOOL,
        deserialize_i8 I8 I8,
        deserialize_i16 I16 I16 | I32 | I64 | I128,
        deserialize_i32 I32 I16 | I32 | I64 | I128,
        deserialize_i64 I64 I16 | I32 | I64 | I128,
        deserialize_i128 I128 I16 | I32 | I64 | I128,
        deserialize_u8 U8 U8,
        deserialize_u16 U16 U16 | U32 | U64 | U128,
        deserialize_u32 U32 U16 | U32 | U64 | U128,
        deserialize_u64 U64 U16 | U32 | U64 | U128,
        deserialize_u128 U128 U16 | U32 | U64 | U128,
        deserialize_f32 F32 F32,
        deserialize_f64 F64 F64,
        deserialize_char CHAR CHAR,
        deserialize_str STR STR,
        deserialize_string STR STR,
    }

    refuse! { deserialize_any deserialize_identifier deserialize_ignored_any }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.check_bytes(&visitor)?;
        self.decoder.deserialize_bytes(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.check_bytes(&visitor)?;
        self.decoder.deserialize_byte_buf(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.check_unit()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let said = self.next();
        match said {
            Said::Kind { kind, at, .. } if kind != kinds::OPTION => {
                return self.mismatch(at, kinds::OPTION, "Option<_>");
            }
            _ => {}
        }
        let is_some = self.decoder.is_some()?;
        match (said, is_some) {
            (Said::Nothing, false) => visitor.visit_none(),
            (Said::Nothing, true) => {
                self.unsaid(|checked| checked.deeper(|inside| visitor.visit_some(inside)))
            }
            (Said::Kind { rest, .. }, false) => {
                self.skip(rest.at());
                visitor.visit_none()
            }
            (Said::Kind { rest, .. }, true) => {
                self.at = Some(rest.at());
                self.deeper(|inside| visitor.visit_some(inside))
            }
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.next() {
            Said::Nothing => {
                self.unsaid(|checked| checked.elements(1, |elements| visitor.visit_seq(elements)))
            }
            Said::Kind { kind: kinds::SEQUENCE, rest, .. } => {
                self.at = Some(rest.at());
                self.elements(1, |elements| visitor.visit_seq(elements))
            }
            Said::Kind { kind: kinds::BYTES, at, rest } => {
                self.at = Some(rest.at());
                self.bytes(at, |bytes| visitor.visit_seq(bytes))
            }
            Said::Kind { at, .. } => self.mismatch(at, kinds::SEQUENCE, "[_]"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.next() {
            Said::Nothing => {
                self.unsaid(|checked| checked.elements(2, |entries| visitor.visit_map(entries)))
            }
            Said::Kind { kind: kinds::MAP, rest, .. } => {
                self.at = Some(rest.at());
                self.elements(2, |entries| visitor.visit_map(entries))
            }
            Said::Kind { at, .. } => self.mismatch(at, kinds::MAP, "{_: _}"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        self.tuple(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.tuple(length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.fields(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let said = self.next();
        if let (Said::Kind { kind: kinds::ENUM, at, .. }, Some(question)) = (said, self.question)
            && question.at == at
        {
            self.listed = Some(Listed::new::<V>(variants));
            return visitor.visit_enum(Asking { question, answer: &mut self.answer });
        }
        match said {
            Said::Kind { kind: kinds::ENUM, at, rest } => {
                let Some(end) = self.check_variants(at, rest, Listed::new::<V>(variants)) else {
                    return self.mismatch(
                        at,
                        kinds::ENUM,
                        format_args!("enum {}{{{}}}", Named(name), Names(variants)),
                    );
                };
                let value = self.deeper(|checked| {
                    visitor.visit_enum(Choice { checked, said: Some((at, rest)) })
                })?;
                self.at = Some(end);
                Ok(value)
            }
            Said::Nothing => self.unsaid(|checked| {
                checked.deeper(|checked| visitor.visit_enum(Choice { checked, said: None }))
            }),
            Said::Kind { at, .. } => self.mismatch(
                at,
                kinds::ENUM,
                format_args!("enum {}{{{}}}", Named(name), Names(variants)),
            ),
        }
    }
}

/// Reads a variant of an enum.
struct Choice<'c, 'k, 'de> {
    checked: &'c mut Checked<'k, 'de>,
    /// Holds the place and the content of the description of the variants.
    said: Option<(usize, Cursor<'k>)>,
}

/// Returns where the content of this variant is described, if it is.
fn content_of(mut said: Cursor<'_>, index: u32) -> Option<usize> {
    said.name()?;
    for _ in 0..said.number()? {
        let there = said.number()?;
        said.name()?;
        if there == index {
            return Some(said.at());
        }
        said.skip()?;
    }
    None
}

impl<'c, 'k, 'de> EnumAccess<'de> for Choice<'c, 'k, 'de> {
    type Error = DecodeError;
    type Variant = &'c mut Checked<'k, 'de>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant)> {
        let index = self.checked.decoder.variant()?;
        self.checked.at = self.said.and_then(|(at, said)| {
            *self.checked.contents.entry((at, index)).or_insert_with(|| content_of(said, index))
        });
        let index: U32Deserializer<DecodeError> = index.into_deserializer();
        Ok((seed.deserialize(index)?, self.checked))
    }
}

impl<'de> VariantAccess<'de> for &mut Checked<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        self.check_unit()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        self.tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.fields("", fields, visitor)
    }
}
