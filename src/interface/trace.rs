//! Finding the shape of a type: it is asked what it reads.
//!
//! It is deserialized from values that are made up, by a deserializer that writes down what it is asked for. A value has one variant of each enum, and perhaps
//! nothing in its options, so this is done until there is nothing left that could be seen.
//!
//! What the user's `Deserialize` makes of made-up values is its own affair: it may refuse them, then others are tried; it may panic, then this is over. What was
//! not seen has no node. Nothing here depends on anything but the type and the code that reads it: the same type has the same shape at both ends.

use std::any::type_name;
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::shape::{Kind, Labels, Node, Part, ROOT, SEQUENCE, Shape, Tried, escaped};
use crate::block::numbers_of;
use crate::contain::forget_panic;

/// How many values may be asked for in all, how many places a shape may have, and how deep they may be nested: far beyond any type that is written by hand.
const MAX_STEPS: usize = 200_000;
const MAX_NODES: usize = 10_000;
const MAX_DEPTH: usize = 64;

/// What is tried in turn for text that has to be something. Most types that are text say in their first word what they are.
const TEXTS: [&str; 16] = [
    "",
    "a",
    "1",
    "1.0.0",
    "2000-01-01",
    "2000-01-01T00:00:00",
    "2000-01-01T00:00:00Z",
    "2000-01-01T00:00:00+00:00[UTC]",
    "00:00:00",
    "PT1S",
    "UTC",
    "/a",
    "127.0.0.1",
    "127.0.0.1:1",
    "https://a.example/",
    "00000000-0000-0000-0000-000000000001",
];
/// And for bytes.
const BYTES: [&[u8]; 7] = [&[], &[0], &[0; 4], &[0; 8], &[0; 16], &[0; 32], &[0; 64]];

/// Traces a type.
#[doc(hidden)]
pub fn trace<T: DeserializeOwned>() -> Shape {
    let root = Node::new(String::new(), Kind::All, Labels::Numbers, 1);
    let mut tracer = Tracer { nodes: vec![root], ..Tracer::default() };
    loop {
        tracer.prepare();
        match catch_unwind(AssertUnwindSafe(|| T::deserialize(Recorder { tracer: &mut tracer, node: ROOT, part: 0 }).map(drop))) {
            Ok(read) => tracer.judge(read.is_ok()),
            Err(panic) => {
                // The panic hook has reported it. Once is enough.
                forget_panic(panic);
                break;
            }
        }
        if !tracer.news || tracer.steps >= MAX_STEPS {
            break;
        }
    }
    Shape { nodes: tracer.nodes }
}

/// A type that can contain itself is found again: by what reads it, of which there is one for each type, and by what that asks for.
#[derive(PartialEq, Eq, Hash)]
struct Named {
    visitor: &'static str,
    value: &'static str,
    what: String,
}

#[derive(Default)]
struct Tracer {
    nodes: Vec<Node>,
    named: HashMap<Named, usize>,
    /// What the value that is being made could do without, and what was known of it before.
    trying: Vec<(usize, usize, Tried)>,
    /// For each node: whether there is something below it that no value had yet.
    untried: Vec<bool>,
    /// What was given last: if the value is refused, that is to blame.
    last_given: Option<usize>,
    steps: usize,
    depth: usize,
    /// Whether anything was learned.
    news: bool,
}

/// This is no value of the type, or there is nothing more to be learned of it.
#[derive(Debug)]
struct Refused;

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that was made up is refused")
    }
}

impl std::error::Error for Refused {}

impl Error for Refused {
    fn custom<T: Display>(_: T) -> Refused {
        Refused
    }
}

type Result<T> = std::result::Result<T, Refused>;

impl Tracer {
    /// Before a value is made.
    fn prepare(&mut self) {
        self.news = false;
        self.depth = 0;
        self.last_given = None;
        self.untried = vec![false; self.nodes.len()];
        // From the parts up, most of which come later; again as long as a cycle has something to tell.
        loop {
            let mut changed = false;
            for (at, node) in self.nodes.iter().enumerate().rev() {
                let below = |part: &Part| part.node.is_some_and(|node| self.untried[node]);
                let here = match node.kind {
                    Kind::Given { .. } | Kind::All => false,
                    Kind::Optional => node.parts[0].tried == Tried::No,
                    Kind::OneOf => node.parts.iter().any(|part| part.tried == Tried::No),
                };
                let untried = here || node.parts.iter().any(below);
                changed |= untried && !self.untried[at];
                self.untried[at] |= untried;
            }
            if !changed {
                return;
            }
        }
    }

    /// After a value was made, or refused.
    fn judge(&mut self, made: bool) {
        let tried = std::mem::take(&mut self.trying);
        let mut again = false;
        if !made
            && let Some(node) = self.last_given
            && let Kind::Given { refused, left } = &mut self.nodes[node].kind
        {
            again = *left > 0;
            // None would do: the first is as good as any, and the others are not tried again.
            (*refused, *left) = if again { (*refused + 1, *left - 1) } else { (0, 0) };
        }
        // What was tried last, and never before, may be why.
        let innermost = tried.iter().rposition(|(_, _, before)| *before == Tried::No);
        for (nth, (node, part, before)) in tried.into_iter().enumerate() {
            let fails = !again && innermost == Some(nth);
            self.nodes[node].parts[part].tried = if fails { Tried::Fails } else { before };
            self.news |= fails;
        }
        self.news |= again;
    }

    /// There is nothing to give.
    fn refuse(&mut self) -> Refused {
        self.last_given = None;
        Refused
    }

    /// Writes down what is read at a place. If it was read before, it must be the same now.
    fn enter(&mut self, place: (usize, usize), made: Node, named: Option<(&'static str, &'static str)>) -> Result<usize> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(self.refuse());
        }
        let (node, part) = place;
        // There are fewer if values of the type are not alike.
        let Some(known) = self.nodes[node].parts.get(part) else { return Err(self.refuse()) };
        if let Some(at) = known.node {
            return if self.nodes[at].what == made.what { Ok(at) } else { Err(self.refuse()) };
        }
        let named = named.map(|(visitor, value)| Named { visitor, value, what: made.what.clone() });
        let at = match named.as_ref().and_then(|named| self.named.get(named)) {
            Some(at) => *at,
            None if self.nodes.len() >= MAX_NODES => return Err(self.refuse()),
            None => {
                let at = self.nodes.len();
                self.nodes.push(made);
                self.untried.push(false);
                self.named.extend(named.map(|named| (named, at)));
                at
            }
        };
        self.nodes[node].parts[part].node = Some(at);
        self.news = true;
        Ok(at)
    }

    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Tracer) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.refuse());
        }
        self.depth += 1;
        let value = inside(self);
        self.depth -= 1;
        value
    }

    fn begin(&mut self, node: usize, part: usize) {
        let tried = &mut self.nodes[node].parts[part].tried;
        self.trying.push((node, part, *tried));
        *tried = Tried::Now;
    }

    fn works(&mut self, node: usize, part: usize) {
        self.nodes[node].parts[part].tried = Tried::Works;
        if let Some(at) = self.trying.iter().rposition(|(tried, of, _)| (*tried, *of) == (node, part)) {
            self.news |= self.trying[at].2 != Tried::Works;
            for (node, part, _) in self.trying.drain(at..).skip(1) {
                // It was refused, and something else was made instead.
                self.nodes[node].parts[part].tried = Tried::Fails;
            }
        }
    }

    /// Whether a value is to have what it can do without.
    fn wants(&self, node: usize) -> bool {
        let Part { node: below, tried } = self.nodes[node].parts[0];
        match tried {
            Tried::No => true,
            // Several parts: a map's.
            Tried::Works => below.is_some() && self.nodes[node].parts.iter().any(|part| part.node.is_some_and(|node| self.untried[node])),
            Tried::Now | Tried::Fails => false,
        }
    }

    /// The variant that a value is to have: one that none had; or that has something which none had; or any.
    fn variant(&self, node: usize) -> Option<usize> {
        let parts = &self.nodes[node].parts;
        let untried = |part: &Part| part.tried == Tried::Works && part.node.is_some_and(|node| self.untried[node]);
        let find = |wanted: &dyn Fn(&Part) -> bool| parts.iter().position(wanted);
        find(&|part| part.tried == Tried::No).or_else(|| find(&untried)).or_else(|| find(&|part| part.tried == Tried::Works))
    }

    /// A value whose parts are all there.
    fn all<V: Visitor<'static>>(&mut self, node: usize, visitor: V) -> Result<V::Value> {
        self.deeper(|tracer| {
            let mut taken = 0;
            let end = tracer.nodes[node].parts.len();
            let value = visitor.visit_seq(Walk { tracer, node, next: &mut taken, end })?;
            // Names of fields can be more than there are fields.
            tracer.nodes[node].parts.truncate(taken);
            Ok(value)
        })
    }
}

/// Reads at one place.
struct Recorder<'t> {
    tracer: &'t mut Tracer,
    node: usize,
    part: usize,
}

impl<'t> Recorder<'t> {
    fn enter<V: Visitor<'static>>(self, what: String, kind: Kind, labels: Labels, parts: usize) -> Result<(&'t mut Tracer, usize)> {
        // Text, lists and tuples are of many types.
        let named = (what.starts_with("struct ") || what.starts_with("enum ")).then(|| (type_name::<V>(), type_name::<V::Value>()));
        let at = self.tracer.enter((self.node, self.part), Node::new(what, kind, labels, parts), named)?;
        Ok((self.tracer, at))
    }

    fn give<V: Visitor<'static>, T: Copy>(
        self,
        what: &str,
        values: &[T],
        give: impl FnOnce(V, T) -> Result<V::Value>,
        visitor: V,
    ) -> Result<V::Value> {
        let (tracer, at) = self.enter::<V>(what.to_owned(), Kind::Given { refused: 0, left: values.len() - 1 }, Labels::Numbers, 0)?;
        tracer.last_given = Some(at);
        let Kind::Given { refused, .. } = tracer.nodes[at].kind else { return Err(tracer.refuse()) };
        give(visitor, values.get(refused).copied().ok_or(Refused)?)
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(", ")
}

macro_rules! give {
    ($($deserialize:ident $visit:ident $what:literal $values:expr;)*) => {$(
        fn $deserialize<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
            self.give($what, &$values, |visitor, value| visitor.$visit(value), visitor)
        }
    )*};
}

/// What nobody can say in advance, postcard cannot read.
macro_rules! refuse {
    ($($deserialize:ident)*) => {$(
        fn $deserialize<V: Visitor<'static>>(self, _: V) -> Result<V::Value> {
            Err(self.tracer.refuse())
        }
    )*};
}

impl Deserializer<'static> for Recorder<'_> {
    type Error = Refused;

    fn is_human_readable(&self) -> bool {
        false
    }

    give! {
        deserialize_bool visit_bool "bool" [false, true];
        deserialize_i8 visit_i8 "i8" [1, 0];
        deserialize_i16 visit_i16 "i16" [1, 0];
        deserialize_i32 visit_i32 "i32" [1, 0];
        deserialize_i64 visit_i64 "i64" [1, 0];
        deserialize_i128 visit_i128 "i128" [1, 0];
        deserialize_u8 visit_u8 "u8" [1, 0];
        deserialize_u16 visit_u16 "u16" [1, 0];
        deserialize_u32 visit_u32 "u32" [1, 0];
        deserialize_u64 visit_u64 "u64" [1, 0];
        deserialize_u128 visit_u128 "u128" [1, 0];
        deserialize_f32 visit_f32 "f32" [1.0, 0.0];
        deserialize_f64 visit_f64 "f64" [1.0, 0.0];
        deserialize_char visit_char "char" ['a', '0'];
        deserialize_str visit_borrowed_str "string" TEXTS;
        deserialize_string visit_borrowed_str "string" TEXTS;
        deserialize_byte_buf visit_borrowed_bytes "bytes" BYTES;
    }

    refuse! { deserialize_any deserialize_identifier deserialize_ignored_any }

    fn deserialize_bytes<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
        // Blocks are all alike on the wire, and say nothing of the numbers in them.
        match numbers_of::<V>() {
            None | Some("u8") => self.deserialize_byte_buf(visitor),
            Some(number) => self.give(&format!("block of {number}"), &BYTES, |visitor, value| visitor.visit_borrowed_bytes(value), visitor),
        }
    }

    fn deserialize_unit<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
        self.give("()", &[()], |visitor, ()| visitor.visit_unit(), visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'static>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        self.give(&format!("struct {}", escaped(name)), &[()], |visitor, ()| visitor.visit_unit(), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'static>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        let (tracer, node) = self.enter::<V>(format!("struct {}(_)", escaped(name)), Kind::All, Labels::Numbers, 1)?;
        tracer.deeper(|tracer| visitor.visit_newtype_struct(Recorder { tracer, node, part: 0 }))
    }

    fn deserialize_option<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
        let (tracer, node) = self.enter::<V>("option".to_owned(), Kind::Optional, Labels::Fixed(&["::Some"]), 1)?;
        if !tracer.wants(node) {
            return visitor.visit_none();
        }
        tracer.begin(node, 0);
        let value = tracer.deeper(|tracer| visitor.visit_some(Recorder { tracer, node, part: 0 }))?;
        tracer.works(node, 0);
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
        let (tracer, node) = self.enter::<V>(SEQUENCE.to_owned(), Kind::Optional, Labels::Fixed(&["[]"]), 1)?;
        tracer.repeated(node, |walk| visitor.visit_seq(walk))
    }

    fn deserialize_tuple<V: Visitor<'static>>(self, length: usize, visitor: V) -> Result<V::Value> {
        let length = length.min(MAX_NODES);
        let (tracer, node) = self.enter::<V>(format!("tuple of {length}"), Kind::All, Labels::Numbers, length)?;
        tracer.all(node, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'static>>(self, name: &'static str, length: usize, visitor: V) -> Result<V::Value> {
        let parts = vec!["_"; length.min(MAX_NODES)].join(", ");
        let (tracer, node) =
            self.enter::<V>(format!("struct {}({parts})", escaped(name)), Kind::All, Labels::Numbers, length.min(MAX_NODES))?;
        tracer.all(node, visitor)
    }

    fn deserialize_map<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value> {
        let (tracer, node) = self.enter::<V>("map".to_owned(), Kind::Optional, Labels::Fixed(&["{key}", "{value}"]), 2)?;
        tracer.repeated(node, |walk| visitor.visit_map(walk))
    }

    fn deserialize_struct<V: Visitor<'static>>(self, name: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        let what = format!("struct {} {{{}}}", escaped(name), list(fields));
        let (tracer, node) = self.enter::<V>(what, Kind::All, Labels::Fields(fields), fields.len())?;
        tracer.all(node, visitor)
    }

    fn deserialize_enum<V: Visitor<'static>>(self, name: &'static str, variants: &'static [&'static str], visitor: V) -> Result<V::Value> {
        let what = format!("enum {} {{{}}}", escaped(name), list(variants));
        let (tracer, node) = self.enter::<V>(what, Kind::OneOf, Labels::Variants(variants), variants.len())?;
        let Some(part) = tracer.variant(node) else { return Err(tracer.refuse()) };
        tracer.begin(node, part);
        let value = tracer.deeper(|tracer| visitor.visit_enum(Recorder { tracer, node, part }))?;
        tracer.works(node, part);
        Ok(value)
    }
}

impl Tracer {
    /// A value that has any number of the same: one, or none.
    fn repeated<T>(&mut self, node: usize, visit: impl FnOnce(Walk<'_>) -> Result<T>) -> Result<T> {
        let wanted = self.wants(node);
        let end = if wanted { self.nodes[node].parts.len() } else { 0 };
        if wanted {
            self.begin(node, 0);
        }
        let value = self.deeper(|tracer| visit(Walk { tracer, node, next: &mut 0, end }))?;
        if wanted {
            self.works(node, 0);
        }
        Ok(value)
    }
}

/// The parts of a value, in turn.
struct Walk<'t> {
    tracer: &'t mut Tracer,
    node: usize,
    next: &'t mut usize,
    end: usize,
}

impl SeqAccess<'static> for Walk<'_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'static>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let part = *self.next;
        if part >= self.end {
            return Ok(None);
        }
        *self.next += 1;
        seed.deserialize(Recorder { tracer: self.tracer, node: self.node, part }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.end - *self.next)
    }
}

impl MapAccess<'static> for Walk<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'static>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'static>>(&mut self, seed: T) -> Result<T::Value> {
        self.next_element_seed(seed)?.ok_or(Refused)
    }

    fn size_hint(&self) -> Option<usize> {
        Some((self.end - *self.next) / 2)
    }
}

impl EnumAccess<'static> for Recorder<'_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'static>>(self, seed: T) -> Result<(T::Value, Self)> {
        self.tracer.last_given = None;
        let index = u32::try_from(self.part).map_err(|_| Refused)?;
        match seed.deserialize(IntoDeserializer::<Refused>::into_deserializer(index)) {
            Ok(value) => Ok((value, self)),
            Err(refused) => {
                // Names of variants can be more than there are variants, too.
                let none = Node::new("nothing".to_owned(), Kind::All, Labels::Numbers, 0);
                self.tracer.enter((self.node, self.part), none, None)?;
                Err(refused)
            }
        }
    }
}

impl VariantAccess<'static> for Recorder<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<()> {
        let unit = Node::new("variant".to_owned(), Kind::All, Labels::Numbers, 0);
        self.tracer.enter((self.node, self.part), unit, None).map(drop)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'static>>(self, seed: T) -> Result<T::Value> {
        let around = Node::new("variant(_)".to_owned(), Kind::All, Labels::Numbers, 1);
        let node = self.tracer.enter((self.node, self.part), around, None)?;
        seed.deserialize(Recorder { node, part: 0, ..self })
    }

    fn tuple_variant<V: Visitor<'static>>(self, length: usize, visitor: V) -> Result<V::Value> {
        let length = length.min(MAX_NODES);
        let parts = vec!["_"; length].join(", ");
        let (tracer, node) = self.enter::<V>(format!("variant({parts})"), Kind::All, Labels::Numbers, length)?;
        tracer.all(node, visitor)
    }

    fn struct_variant<V: Visitor<'static>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        let what = format!("variant {{{}}}", list(fields));
        let (tracer, node) = self.enter::<V>(what, Kind::All, Labels::Fields(fields), fields.len())?;
        tracer.all(node, visitor)
    }
}

#[cfg(test)]
mod tests;
