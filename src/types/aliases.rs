//! Finds out which variant or field of a type a name belongs to.
//!
//! serde gives all names of an enum or struct in one list, with those of `#[serde(alias)]` among
//! them. Nothing in the list tells which names belong to one variant. So the type itself is asked,
//! once for each name and index that a sender describes. The value is read anew up to the enum or
//! struct. There the type is given the name, and in another attempt the index. No value results:
//! the type tells which variant or field it expects next, and nothing follows. The answers are
//! kept.

use std::any::type_name;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;

use rustc_hash::FxHashMap;
use serde::de::IntoDeserializer;
use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, VariantAccess, Visitor};

use crate::sync::{Mutex, lock};
use crate::text::clip;
use crate::types::kinds;
use crate::wire::deserializer::DecodeError;

/// Bounds the answers that are kept.
const MAX_ANSWERS: usize = 64 * 1024;

static ANSWERS: Mutex<Option<FxHashMap<u64, bool>>> = Mutex::new(None);

/// Lists the names of a type's variants or fields, as serde passes them with a visitor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    visitor: &'static str,
    names: &'static [&'static str],
}

impl Listed {
    pub(super) fn new<V>(names: &'static [&'static str]) -> Listed {
        Listed { visitor: type_name::<V>(), names }
    }

    fn key(self, index: u32, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.visitor, self.names, index, name).hash(&mut hasher);
        hasher.finish()
    }

    /// Returns `true` if the name stands at this index of the list. With aliases, that says little.
    pub(super) fn has(self, index: u32, name: &str) -> bool {
        self.names.get(index as usize).is_some_and(|ours| clip(ours, kinds::MAX_NAME) == name)
    }

    /// Returns whether the name belongs to the variant or field with this index, if the type was
    /// asked.
    pub(super) fn answer(self, index: u32, name: &str) -> Option<bool> {
        lock(&ANSWERS).as_ref()?.get(&self.key(index, name)).copied()
    }

    pub(super) fn keep(self, index: u32, name: &str, answer: bool) {
        let mut answers = lock(&ANSWERS);
        let answers = answers.get_or_insert_default();
        if answers.len() < MAX_ANSWERS {
            answers.insert(self.key(index, name), answer);
        }
    }
}

/// Asks an enum or struct for one of its variants or fields.
#[derive(Clone, Copy)]
pub(super) struct Question<'k> {
    /// Locates the description of the enum or struct in the kinds.
    pub(super) at: usize,
    pub(super) by: By<'k>,
}

#[derive(Clone, Copy)]
pub(super) enum By<'k> {
    Index(u32),
    Name(&'k str),
}

/// Hands a type the index or name of a question, and takes the answer.
pub(super) struct Asking<'c, 'k> {
    pub(super) question: Question<'k>,
    /// Receives a hash that identifies the variant or field.
    pub(super) answer: &'c mut Option<u64>,
}

impl Asking<'_, '_> {
    fn ask<'de, T: DeserializeSeed<'de>, R>(self, seed: T) -> Result<R, DecodeError> {
        let found = match self.question.by {
            By::Index(index) => {
                let index: U32Deserializer<DecodeError> = index.into_deserializer();
                seed.deserialize(index)?
            }
            By::Name(name) => {
                let name: StrDeserializer<'_, DecodeError> = name.into_deserializer();
                seed.deserialize(name)?
            }
        };
        let mut hasher = DefaultHasher::new();
        discriminant(&found).hash(&mut hasher);
        *self.answer = Some(hasher.finish());
        Err(DecodeError::custom("only a variant or field was asked for"))
    }
}

impl<'de> EnumAccess<'de> for Asking<'_, '_> {
    type Error = DecodeError;
    type Variant = NoContent;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, NoContent), DecodeError> {
        self.ask(seed)
    }
}

impl<'de> MapAccess<'de> for Asking<'_, '_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        Asking { question: self.question, answer: self.answer }.ask(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, _: T) -> Result<T::Value, DecodeError> {
        Err(DecodeError::custom("nothing follows"))
    }
}

/// Stands for the content of a variant. It is never made: nothing follows.
pub(super) enum NoContent {}

impl<'de> VariantAccess<'de> for NoContent {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self {}
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, DecodeError> {
        match self {}
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeError> {
        match self {}
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, DecodeError> {
        match self {}
    }
}
