//! Types drawn at random: what arrives is the value that was sent, or it is an error of types.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use crate::common::{self, LIMIT, Random, rounds, within};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error, TypeCheck};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleVariant, Serializer,
};
use serde::{Deserialize, Serialize};

// ---- types as values ---------------------------------------------------------------------------

/// A type. Names are numbers, for [`NAMES`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Schema {
    Bool,
    Signed(u8),
    Unsigned(u8),
    F32,
    F64,
    Char,
    Text,
    Bytes,
    Unit,
    Option(Box<Schema>),
    Seq(Box<Schema>),
    Map(Box<(Schema, Schema)>),
    Tuple(Vec<Schema>),
    Struct(u8, Vec<(u8, Schema)>),
    Newtype(u8, Box<Schema>),
    Enum(u8, Vec<(u8, Variant)>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Variant {
    Unit,
    Newtype(Schema),
    Tuple(Vec<Schema>),
    Struct(Vec<(u8, Schema)>),
}

/// A value, which says itself what it means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Value {
    Bool(bool),
    /// With its width in bytes.
    Signed(u8, i128),
    Unsigned(u8, u128),
    F32(u32),
    F64(u64),
    Char(char),
    Text(String),
    Bytes(ByteBuf),
    Unit,
    Option(Option<Box<Value>>),
    Seq(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Tuple(Vec<Value>),
    Struct(Vec<(u8, Value)>),
    Enum(u8, Box<Value>),
}

const NAMES: [&str; 16] = [
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "alpha",
    "beta",
    "Ab",
    "",
    "ä",
    "x y",
    "a1",
    "B",
    "longer name",
    "none",
];

fn name(number: u8) -> &'static str {
    NAMES[usize::from(number) % NAMES.len()]
}

/// Names that live as long as the program, as serde wants them.
fn names(numbers: impl Iterator<Item = u8>) -> &'static [&'static str] {
    numbers.map(name).collect::<Vec<_>>().leak()
}

// ---- what is drawn -----------------------------------------------------------------------------

fn boxed(random: &Random, depth: u32) -> Box<Schema> {
    Box::new(schema(random, depth))
}

fn several(random: &Random, depth: u32) -> Vec<Schema> {
    (0..random.below(4)).map(|_| schema(random, depth)).collect()
}

/// Names that differ, with something to each.
fn named<T>(random: &Random, count: u64, of: impl Fn() -> T) -> Vec<(u8, T)> {
    let first = random.below(16) as u8;
    (0..count as u8).map(|number| ((first + 3 * number) % 16, of())).collect()
}

fn schema(random: &Random, depth: u32) -> Schema {
    let leaves = 9;
    match random.below(if depth == 0 { leaves } else { 18 }) {
        0 => Schema::Bool,
        1 => Schema::Signed(random.one_of(&[1, 2, 4, 8, 16])),
        2 => Schema::Unsigned(random.one_of(&[1, 2, 4, 8, 16])),
        3 => Schema::F32,
        4 => Schema::F64,
        5 => Schema::Char,
        6 => Schema::Text,
        7 => Schema::Bytes,
        8 => Schema::Unit,
        9 | 10 => Schema::Option(boxed(random, depth - 1)),
        11 => Schema::Seq(boxed(random, depth - 1)),
        12 => Schema::Map(Box::new((schema(random, depth - 1), schema(random, depth - 1)))),
        13 => Schema::Tuple(several(random, depth - 1)),
        14 | 15 => Schema::Struct(
            random.below(16) as u8,
            named(random, random.below(4), || schema(random, depth - 1)),
        ),
        16 => Schema::Newtype(random.below(16) as u8, boxed(random, depth - 1)),
        _ => Schema::Enum(
            random.below(16) as u8,
            named(random, random.below(4) + 1, || variant(random, depth - 1)),
        ),
    }
}

fn variant(random: &Random, depth: u32) -> Variant {
    match random.below(4) {
        0 => Variant::Unit,
        1 => Variant::Newtype(schema(random, depth)),
        2 => Variant::Tuple(several(random, depth)),
        _ => Variant::Struct(named(random, random.below(3), || schema(random, depth))),
    }
}

/// Makes another type: one place in it differs, or is read as the same.
fn mutated(random: &Random, of: &Schema) -> Schema {
    let inside = random.below(3) > 0;
    match of {
        Schema::Option(some) if inside => Schema::Option(mutated(random, some).into()),
        Schema::Seq(element) if inside => Schema::Seq(mutated(random, element).into()),
        Schema::Map(pair) if inside && random.below(2) == 0 => {
            Schema::Map((mutated(random, &pair.0), pair.1.clone()).into())
        }
        Schema::Map(pair) if inside => {
            Schema::Map((pair.0.clone(), mutated(random, &pair.1)).into())
        }
        Schema::Newtype(name, content) if inside => {
            Schema::Newtype(*name, mutated(random, content).into())
        }
        Schema::Tuple(parts) if inside && !parts.is_empty() => {
            let mut parts = parts.clone();
            let place = random.below(parts.len() as u64) as usize;
            parts[place] = mutated(random, &parts[place]);
            Schema::Tuple(parts)
        }
        Schema::Struct(name, fields) if inside && !fields.is_empty() => {
            let mut fields = fields.clone();
            let place = random.below(fields.len() as u64) as usize;
            fields[place].1 = mutated(random, &fields[place].1);
            Schema::Struct(*name, fields)
        }
        Schema::Enum(name, variants) if inside => {
            let mut variants = variants.clone();
            let place = random.below(variants.len() as u64) as usize;
            variants[place].1 = match &variants[place].1 {
                Variant::Newtype(content) => Variant::Newtype(mutated(random, content)),
                _ => variant(random, 1),
            };
            Schema::Enum(*name, variants)
        }
        _ => mutated_here(random, of),
    }
}

fn mutated_here(random: &Random, of: &Schema) -> Schema {
    let swap = |from: usize, to: usize| {
        (random.below(from as u64) as usize, random.below(to as u64) as usize)
    };
    match (of, random.below(8)) {
        (_, 0) => Schema::Option(of.clone().into()),
        (_, 1) => Schema::Newtype(3, of.clone().into()),
        (Schema::Option(content) | Schema::Newtype(_, content) | Schema::Seq(content), 2) => {
            Schema::clone(content)
        }
        (Schema::Struct(_, fields), 3) => {
            Schema::Tuple(fields.iter().map(|(_, schema)| schema.clone()).collect())
        }
        (Schema::Tuple(parts), 3) => Schema::Struct(1, (0..).zip(parts.iter().cloned()).collect()),
        (Schema::Struct(name, fields), 4..) if !fields.is_empty() => {
            let mut fields = fields.clone();
            let (a, b) = swap(fields.len(), fields.len());
            match random.below(5) {
                0 => drop(fields.remove(a)),
                1 => fields.insert(a, (15, schema(random, 1))),
                2 => fields.swap(a, b),
                3 => fields[a].0 = 14,
                _ => return Schema::Struct(name.wrapping_add(1), fields),
            }
            Schema::Struct(*name, fields)
        }
        (Schema::Enum(name, variants), 2..) => {
            let mut variants = variants.clone();
            let (a, b) = swap(variants.len(), variants.len());
            match random.below(6) {
                0 if variants.len() > 1 => drop(variants.remove(a)),
                1 => variants.insert(a, (15, Variant::Unit)),
                2 => variants.push((15, variant(random, 1))),
                3 => variants.swap(a, b),
                4 => variants[a].0 = 14,
                _ => return Schema::Enum(name.wrapping_add(1), variants),
            }
            Schema::Enum(*name, variants)
        }
        (Schema::Tuple(parts), 4..) => {
            let mut parts = parts.clone();
            match random.below(2) {
                0 => parts.push(schema(random, 1)),
                _ => drop(parts.pop()),
            }
            Schema::Tuple(parts)
        }
        (Schema::Bytes, 4..) => Schema::Seq(Schema::Unsigned(1).into()),
        (Schema::Signed(_) | Schema::Unsigned(_), 3..6) => {
            Schema::Signed(random.one_of(&[1, 2, 4, 8, 16]))
        }
        (Schema::Signed(_) | Schema::Unsigned(_), _) => {
            Schema::Unsigned(random.one_of(&[1, 2, 4, 8, 16]))
        }
        _ => schema(random, 1),
    }
}

/// Makes a type that reads the same values, if they are in its range.
fn compatible(random: &Random, of: &Schema) -> Schema {
    let each = |schemas: &[Schema]| {
        schemas.iter().map(|schema| compatible(random, schema)).collect::<Vec<_>>()
    };
    let fields = |fields: &[(u8, Schema)]| {
        fields.iter().map(|(name, schema)| (*name, compatible(random, schema))).collect::<Vec<_>>()
    };
    let same = match of {
        Schema::Signed(2..) => Schema::Signed(random.one_of(&[2, 4, 8, 16])),
        Schema::Unsigned(2..) => Schema::Unsigned(random.one_of(&[2, 4, 8, 16])),
        Schema::Bytes => {
            random.one_of(&[&Schema::Bytes, &Schema::Seq(Box::new(Schema::Unsigned(1)))]).clone()
        }
        Schema::Seq(element) if **element == Schema::Unsigned(1) && random.below(2) == 0 => {
            Schema::Bytes
        }
        Schema::Option(content) => Schema::Option(compatible(random, content).into()),
        Schema::Seq(element) => Schema::Seq(compatible(random, element).into()),
        Schema::Map(pair) => {
            Schema::Map((compatible(random, &pair.0), compatible(random, &pair.1)).into())
        }
        Schema::Tuple(parts) if parts.is_empty() && random.below(2) == 0 => Schema::Unit,
        Schema::Tuple(parts) if random.below(2) == 0 => {
            Schema::Struct(7, (0..).zip(each(parts)).collect())
        }
        Schema::Tuple(parts) => Schema::Tuple(each(parts)),
        Schema::Struct(_, parts) if random.below(2) == 0 => {
            Schema::Tuple(parts.iter().map(|(_, schema)| compatible(random, schema)).collect())
        }
        Schema::Struct(name, parts) => Schema::Struct(name.wrapping_add(1), fields(parts)),
        Schema::Newtype(_, content) if random.below(2) == 0 => compatible(random, content),
        Schema::Newtype(name, content) => {
            Schema::Newtype(name.wrapping_add(1), compatible(random, content).into())
        }
        Schema::Enum(name, variants) => {
            let mut variants: Vec<_> = variants
                .iter()
                .map(|(name, variant)| {
                    let variant = match variant {
                        Variant::Unit => Variant::Unit,
                        Variant::Newtype(content) => Variant::Newtype(compatible(random, content)),
                        Variant::Tuple(parts) => Variant::Tuple(each(parts)),
                        Variant::Struct(parts) => Variant::Struct(fields(parts)),
                    };
                    (*name, variant)
                })
                .collect();
            if random.below(2) == 0 {
                variants.push((15, variant(random, 1)));
            }
            Schema::Enum(name.wrapping_add(1), variants)
        }
        leaf => leaf.clone(),
    };
    if random.below(8) == 0 { Schema::Newtype(5, same.into()) } else { same }
}

/// Draws the bits of a number that has `width` bytes: small ones more often.
fn bits(random: &Random, width: u8) -> u128 {
    let bits = u128::from(random.next()) << 64 | u128::from(random.next());
    bits >> (128 - 8 * u32::from(width)) >> random.below(u64::from(width) * 8)
}

fn value(random: &Random, of: &Schema) -> Value {
    let count = || random.below(random.one_of(&[1, 2, 4, 9]));
    let each =
        |parts: &[Schema]| Value::Tuple(parts.iter().map(|part| value(random, part)).collect());
    let fields = |fields: &[(u8, Schema)]| {
        Value::Struct(fields.iter().map(|(name, part)| (*name, value(random, part))).collect())
    };
    match of {
        Schema::Bool => Value::Bool(random.below(2) == 0),
        Schema::Signed(width) => {
            let shift = 128 - 8 * u32::from(*width);
            let wide = (bits(random, *width) << shift).cast_signed() >> shift;
            Value::Signed(*width, if random.below(2) == 0 { wide } else { !wide })
        }
        Schema::Unsigned(width) => Value::Unsigned(*width, bits(random, *width)),
        Schema::F32 => Value::F32((random.below(1000) as f32 / 8.0).to_bits()),
        Schema::F64 => Value::F64((random.below(1000) as f64 / 8.0).to_bits()),
        Schema::Char => Value::Char(random.one_of(&['a', '\0', 'ä', '\u{1f600}'])),
        Schema::Text => Value::Text((0..count()).map(|_| random.one_of(&['x', 'ö'])).collect()),
        Schema::Bytes => {
            Value::Bytes((0..count()).map(|_| random.next() as u8).collect::<Vec<_>>().into())
        }
        Schema::Unit => Value::Unit,
        Schema::Option(content) => {
            Value::Option((random.below(3) > 0).then(|| value(random, content).into()))
        }
        Schema::Seq(element) => Value::Seq((0..count()).map(|_| value(random, element)).collect()),
        Schema::Map(pair) => Value::Map(
            (0..count()).map(|_| (value(random, &pair.0), value(random, &pair.1))).collect(),
        ),
        Schema::Tuple(parts) => each(parts),
        Schema::Struct(_, parts) => fields(parts),
        Schema::Newtype(_, content) => value(random, content),
        Schema::Enum(_, variants) => {
            let place = random.below(variants.len() as u64) as usize;
            let content = match &variants[place].1 {
                Variant::Unit => Value::Unit,
                Variant::Newtype(content) => value(random, content),
                Variant::Tuple(parts) => each(parts),
                Variant::Struct(parts) => fields(parts),
            };
            Value::Enum(place as u8, content.into())
        }
    }
}

// ---- what is sent ------------------------------------------------------------------------------

/// A value, serialized as one of its type.
struct Typed<'v>(&'v Schema, &'v Value);

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0, self.1) {
            (Schema::Bool, Value::Bool(value)) => serializer.serialize_bool(*value),
            (Schema::Signed(1), Value::Signed(_, value)) => serializer.serialize_i8(*value as i8),
            (Schema::Signed(2), Value::Signed(_, value)) => serializer.serialize_i16(*value as i16),
            (Schema::Signed(4), Value::Signed(_, value)) => serializer.serialize_i32(*value as i32),
            (Schema::Signed(8), Value::Signed(_, value)) => serializer.serialize_i64(*value as i64),
            (Schema::Signed(_), Value::Signed(_, value)) => serializer.serialize_i128(*value),
            (Schema::Unsigned(1), Value::Unsigned(_, value)) => {
                serializer.serialize_u8(*value as u8)
            }
            (Schema::Unsigned(2), Value::Unsigned(_, value)) => {
                serializer.serialize_u16(*value as u16)
            }
            (Schema::Unsigned(4), Value::Unsigned(_, value)) => {
                serializer.serialize_u32(*value as u32)
            }
            (Schema::Unsigned(8), Value::Unsigned(_, value)) => {
                serializer.serialize_u64(*value as u64)
            }
            (Schema::Unsigned(_), Value::Unsigned(_, value)) => serializer.serialize_u128(*value),
            (Schema::F32, Value::F32(bits)) => serializer.serialize_f32(f32::from_bits(*bits)),
            (Schema::F64, Value::F64(bits)) => serializer.serialize_f64(f64::from_bits(*bits)),
            (Schema::Char, Value::Char(value)) => serializer.serialize_char(*value),
            (Schema::Text, Value::Text(value)) => serializer.serialize_str(value),
            (Schema::Bytes, Value::Bytes(value)) => serializer.serialize_bytes(value),
            (Schema::Unit, Value::Unit) => serializer.serialize_unit(),
            (Schema::Option(_), Value::Option(None)) => serializer.serialize_none(),
            (Schema::Option(schema), Value::Option(Some(value))) => {
                serializer.serialize_some(&Typed(schema, value))
            }
            (Schema::Seq(schema), Value::Seq(values)) => {
                let mut elements = serializer.serialize_seq(Some(values.len()))?;
                values
                    .iter()
                    .try_for_each(|value| elements.serialize_element(&Typed(schema, value)))?;
                elements.end()
            }
            (Schema::Map(schemas), Value::Map(pairs)) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                pairs.iter().try_for_each(|(key, value)| {
                    map.serialize_entry(&Typed(&schemas.0, key), &Typed(&schemas.1, value))
                })?;
                map.end()
            }
            (Schema::Tuple(schemas), Value::Tuple(values)) => {
                let mut tuple = serializer.serialize_tuple(values.len())?;
                schemas.iter().zip(values).try_for_each(|(schema, value)| {
                    tuple.serialize_element(&Typed(schema, value))
                })?;
                tuple.end()
            }
            (Schema::Struct(of, schemas), Value::Struct(values)) => {
                let mut fields = serializer.serialize_struct(name(*of), values.len())?;
                for ((field, schema), (_, value)) in schemas.iter().zip(values) {
                    fields.serialize_field(name(*field), &Typed(schema, value))?;
                }
                fields.end()
            }
            (Schema::Newtype(of, schema), value) => {
                serializer.serialize_newtype_struct(name(*of), &Typed(schema, value))
            }
            (Schema::Enum(of, variants), Value::Enum(place, value)) => {
                let (called, variant) = &variants[usize::from(*place)];
                let (of, place, called) = (name(*of), u32::from(*place), name(*called));
                match (variant, &**value) {
                    (Variant::Unit, _) => serializer.serialize_unit_variant(of, place, called),
                    (Variant::Newtype(schema), value) => serializer.serialize_newtype_variant(
                        of,
                        place,
                        called,
                        &Typed(schema, value),
                    ),
                    (Variant::Tuple(schemas), Value::Tuple(values)) => {
                        let mut tuple =
                            serializer.serialize_tuple_variant(of, place, called, values.len())?;
                        schemas.iter().zip(values).try_for_each(|(schema, value)| {
                            tuple.serialize_field(&Typed(schema, value))
                        })?;
                        tuple.end()
                    }
                    (Variant::Struct(schemas), Value::Struct(values)) => {
                        let mut fields =
                            serializer.serialize_struct_variant(of, place, called, values.len())?;
                        for ((field, schema), (_, value)) in schemas.iter().zip(values) {
                            fields.serialize_field(name(*field), &Typed(schema, value))?;
                        }
                        fields.end()
                    }
                    other => unreachable!("{other:?}"),
                }
            }
            other => unreachable!("{other:?}"),
        }
    }
}

// ---- what is wanted ----------------------------------------------------------------------------

thread_local! {
    /// The type that [`Any`] is on this thread.
    static WANTED: RefCell<Schema> = const { RefCell::new(Schema::Unit) };
}

fn want(schema: &Schema) {
    WANTED.set(schema.clone());
}

/// A value of the type that is wanted.
#[derive(Debug)]
struct Any(Value);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Any, D::Error> {
        let wanted = WANTED.with_borrow(Schema::clone);
        Wanted(&wanted).deserialize(deserializer).map(Any)
    }
}

#[derive(Clone, Copy)]
struct Wanted<'s>(&'s Schema);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.0 {
            Schema::Bool => bool::deserialize(deserializer).map(Value::Bool),
            Schema::Signed(1) => {
                i8::deserialize(deserializer).map(|value| Value::Signed(1, value.into()))
            }
            Schema::Signed(2) => {
                i16::deserialize(deserializer).map(|value| Value::Signed(2, value.into()))
            }
            Schema::Signed(4) => {
                i32::deserialize(deserializer).map(|value| Value::Signed(4, value.into()))
            }
            Schema::Signed(8) => {
                i64::deserialize(deserializer).map(|value| Value::Signed(8, value.into()))
            }
            Schema::Signed(_) => {
                i128::deserialize(deserializer).map(|value| Value::Signed(16, value))
            }
            Schema::Unsigned(1) => {
                u8::deserialize(deserializer).map(|value| Value::Unsigned(1, value.into()))
            }
            Schema::Unsigned(2) => {
                u16::deserialize(deserializer).map(|value| Value::Unsigned(2, value.into()))
            }
            Schema::Unsigned(4) => {
                u32::deserialize(deserializer).map(|value| Value::Unsigned(4, value.into()))
            }
            Schema::Unsigned(8) => {
                u64::deserialize(deserializer).map(|value| Value::Unsigned(8, value.into()))
            }
            Schema::Unsigned(_) => {
                u128::deserialize(deserializer).map(|value| Value::Unsigned(16, value))
            }
            Schema::F32 => f32::deserialize(deserializer).map(|value| Value::F32(value.to_bits())),
            Schema::F64 => f64::deserialize(deserializer).map(|value| Value::F64(value.to_bits())),
            Schema::Char => char::deserialize(deserializer).map(Value::Char),
            Schema::Text => String::deserialize(deserializer).map(Value::Text),
            Schema::Bytes => ByteBuf::deserialize(deserializer).map(Value::Bytes),
            Schema::Unit => <()>::deserialize(deserializer).map(|()| Value::Unit),
            Schema::Option(_) => deserializer.deserialize_option(self),
            Schema::Seq(_) => deserializer.deserialize_seq(self),
            Schema::Map(_) => deserializer.deserialize_map(self),
            Schema::Tuple(parts) => deserializer.deserialize_tuple(parts.len(), Parts(parts)),
            Schema::Struct(of, fields) => deserializer.deserialize_struct(
                name(*of),
                names(fields.iter().map(|(name, _)| *name)),
                Fields(fields),
            ),
            Schema::Newtype(of, _) => deserializer.deserialize_newtype_struct(name(*of), self),
            Schema::Enum(of, variants) => deserializer.deserialize_enum(
                name(*of),
                names(variants.iter().map(|(name, _)| *name)),
                self,
            ),
        }
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {:?}", self.0)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Option(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Schema::Option(content) = self.0 else { unreachable!() };
        Ok(Value::Option(Some(Wanted(content).deserialize(deserializer)?.into())))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Value, D::Error> {
        let Schema::Newtype(_, content) = self.0 else { unreachable!() };
        Wanted(content).deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let Schema::Seq(element) = self.0 else { unreachable!() };
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Wanted(element))? {
            values.push(value);
        }
        Ok(Value::Seq(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Schema::Map(schemas) = self.0 else { unreachable!() };
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry_seed(Wanted(&schemas.0), Wanted(&schemas.1))? {
            pairs.push(pair);
        }
        Ok(Value::Map(pairs))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let Schema::Enum(_, variants) = self.0 else { unreachable!() };
        let (place, content) = data.variant::<u32>()?;
        let Some((_, variant)) = variants.get(place as usize) else {
            return Err(de::Error::custom("no such variant"));
        };
        let value = match variant {
            Variant::Unit => content.unit_variant().map(|()| Value::Unit)?,
            Variant::Newtype(schema) => content.newtype_variant_seed(Wanted(schema))?,
            Variant::Tuple(parts) => content.tuple_variant(parts.len(), Parts(parts))?,
            Variant::Struct(fields) => content
                .struct_variant(names(fields.iter().map(|(name, _)| *name)), Fields(fields))?,
        };
        Ok(Value::Enum(place as u8, value.into()))
    }
}

struct Parts<'s>(&'s [Schema]);

impl<'de> Visitor<'de> for Parts<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let missing = || de::Error::custom("a part is missing");
        let parts =
            self.0.iter().map(|part| seq.next_element_seed(Wanted(part))?.ok_or_else(missing));
        Ok(Value::Tuple(parts.collect::<Result<_, _>>()?))
    }
}

struct Fields<'s>(&'s [(u8, Schema)]);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let missing = || de::Error::custom("a field is missing");
        let fields = self.0.iter().map(|(name, part)| {
            Ok((*name, seq.next_element_seed(Wanted(part))?.ok_or_else(missing)?))
        });
        Ok(Value::Struct(fields.collect::<Result<_, _>>()?))
    }
}

// ---- what is to come of it ---------------------------------------------------------------------

/// Returns `true` if two values mean the same: numbers of other widths do, and tuples for structs.
fn is_same(a: &Value, b: &Value) -> bool {
    let each = |a: &[&Value], b: &[&Value]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
    };
    match (a, b) {
        (Value::Signed(_, a), Value::Signed(_, b)) => a == b,
        (Value::Unsigned(_, a), Value::Unsigned(_, b)) => a == b,
        (Value::Bytes(bytes), Value::Seq(values)) | (Value::Seq(values), Value::Bytes(bytes)) => {
            let bytes: Vec<_> =
                bytes.iter().map(|byte| Value::Unsigned(1, (*byte).into())).collect();
            *values == bytes
        }
        (Value::Option(Some(a)), Value::Option(Some(b))) => is_same(a, b),
        (Value::Seq(a), Value::Seq(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            each(&a.iter().collect::<Vec<_>>(), &b.iter().collect::<Vec<_>>())
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| is_same(&a.0, &b.0) && is_same(&a.1, &b.1))
        }
        (Value::Struct(a), Value::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| name(a.0) == name(b.0) && is_same(&a.1, &b.1))
        }
        (Value::Struct(fields), Value::Tuple(parts))
        | (Value::Tuple(parts), Value::Struct(fields)) => each(
            &fields.iter().map(|(_, value)| value).collect::<Vec<_>>(),
            &parts.iter().collect::<Vec<_>>(),
        ),
        (Value::Unit, Value::Tuple(parts)) | (Value::Tuple(parts), Value::Unit) => parts.is_empty(),
        (Value::Unit, Value::Struct(fields)) | (Value::Struct(fields), Value::Unit) => {
            fields.is_empty()
        }
        (Value::Enum(a, of_a), Value::Enum(b, of_b)) => a == b && is_same(of_a, of_b),
        (a, b) => a == b,
    }
}

/// How a type that is wanted comes from the one that is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    Equal,
    Compatible,
    Mutated,
    Unrelated,
}

/// What came of sending a value.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Arrived(Value),
    Mistyped(String),
    Undecodable(String),
}

fn outcome(result: coprocess::Result<Value>) -> Outcome {
    match result {
        Ok(value) => Outcome::Arrived(value),
        Err(error @ Error::Types { .. }) => Outcome::Mistyped(error.to_string()),
        Err(Error::Remote { message, .. }) if message.contains("do not decode") => {
            Outcome::Undecodable(message)
        }
        Err(error @ Error::Decode { .. }) => Outcome::Undecodable(error.to_string()),
        Err(other) => panic!("{other}"),
    }
}

/// Returns `true` if the names of variants are those of the place that a value has in the type that
/// is wanted.
fn variants_agree(sent: &Schema, wanted: &Schema, value: &Value) -> bool {
    let plain = |schema: &Schema| -> Schema {
        let mut schema = schema;
        while let Schema::Newtype(_, content) = schema {
            schema = content;
        }
        schema.clone()
    };
    let parts = |schema: &Schema| -> Vec<Schema> {
        match schema {
            Schema::Tuple(parts) => parts.clone(),
            Schema::Struct(_, fields) => fields.iter().map(|(_, schema)| schema.clone()).collect(),
            _ => Vec::new(),
        }
    };
    let content = |variant: &Variant| match variant {
        Variant::Unit => Schema::Unit,
        Variant::Newtype(schema) => schema.clone(),
        Variant::Tuple(parts) => Schema::Tuple(parts.clone()),
        Variant::Struct(fields) => Schema::Struct(0, fields.clone()),
    };
    match (plain(sent), plain(wanted), value) {
        (Schema::Option(a), Schema::Option(b), Value::Option(Some(value))) => {
            variants_agree(&a, &b, value)
        }
        (Schema::Seq(a), Schema::Seq(b), Value::Seq(values)) => {
            values.iter().all(|value| variants_agree(&a, &b, value))
        }
        (Schema::Map(a), Schema::Map(b), Value::Map(pairs)) => pairs.iter().all(|(key, value)| {
            variants_agree(&a.0, &b.0, key) && variants_agree(&a.1, &b.1, value)
        }),
        (Schema::Enum(_, a), Schema::Enum(_, b), Value::Enum(place, value)) => {
            let (a, b) = (&a[usize::from(*place)], &b[usize::from(*place)]);
            name(a.0) == name(b.0) && variants_agree(&content(&a.1), &content(&b.1), value)
        }
        (a, b, Value::Tuple(values)) => parts(&a)
            .iter()
            .zip(parts(&b))
            .zip(values)
            .all(|((a, b), value)| variants_agree(a, &b, value)),
        (a, b, Value::Struct(values)) => parts(&a)
            .iter()
            .zip(parts(&b))
            .zip(values)
            .all(|((a, b), (_, value))| variants_agree(a, &b, value)),
        _ => true,
    }
}

/// A type that is sent and one that is wanted.
struct Drawn {
    relation: Relation,
    sent: Schema,
    wanted: Schema,
}

impl Drawn {
    fn new(random: &Random) -> Drawn {
        let sent = schema(random, random.below(4) as u32 + 1);
        let relation = random.one_of(&[
            Relation::Equal,
            Relation::Compatible,
            Relation::Mutated,
            Relation::Mutated,
            Relation::Unrelated,
        ]);
        let wanted = match relation {
            Relation::Equal => sent.clone(),
            Relation::Compatible => compatible(random, &sent),
            Relation::Mutated => mutated(random, &sent),
            Relation::Unrelated => schema(random, 2),
        };
        Drawn { relation, sent, wanted }
    }

    #[track_caller]
    fn check(&self, how: &str, value: &Value, outcome: &Outcome) -> bool {
        let Drawn { relation, sent, wanted } = self;
        let story = || {
            format!(
                "{how}, {relation:?}\nsent {sent:?}\nwanted {wanted:?}\nvalue {value:?}\n{outcome:?}"
            )
        };
        match (outcome, relation) {
            (Outcome::Arrived(arrived), _) => {
                assert!(
                    is_same(value, arrived) && variants_agree(sent, wanted, value),
                    "another value: {}",
                    story()
                );
                if *relation == Relation::Equal {
                    assert_eq!(value, arrived, "{}", story());
                }
                return true;
            }
            (Outcome::Mistyped(_), Relation::Equal | Relation::Compatible) => {
                panic!("they do fit: {}", story())
            }
            (Outcome::Undecodable(_), Relation::Equal) => panic!("it does not decode: {}", story()),
            // A number that is out of range.
            (Outcome::Undecodable(_) | Outcome::Mistyped(_), _) => {}
        }
        false
    }
}

/// Serves what is called by a name with the type that is wanted then, and returns what is sent
/// then.
fn worker(parent: Coprocess) {
    let own = parent.downgrade();
    parent.serve("wanted", move |(name, schema): (String, Schema)| {
        let parent = own.upgrade().unwrap();
        want(&schema);
        parent.serve(&name, |Any(value): Any| value);
        let own = parent.downgrade();
        parent.listen(&name, move |Any(value): Any| {
            own.upgrade().unwrap().emit("heard", value).unwrap()
        });
    });
    thread_local! {
        static RESULT: RefCell<Option<(Schema, Value)>> = const { RefCell::new(None) };
    }
    struct Sent;
    impl Serialize for Sent {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            RESULT.with_borrow(|sent| {
                let (schema, value) = sent.as_ref().unwrap();
                Typed(schema, value).serialize(serializer)
            })
        }
    }
    let own = parent.downgrade();
    parent.serve("send", move |(name, schema, value): (String, Schema, Value)| {
        RESULT.set(Some((schema, value)));
        own.upgrade().unwrap().serve(&name, |()| Sent);
    });
    let own = parent.downgrade();
    parent.serve("mistyped", move |()| own.upgrade().unwrap().stats().events_mistyped);
}

/// Draws types and a value, and sends it in each way, each time by a name that was not used before.
fn every_first_use(random: &Random, count: u64, number: &mut u64) {
    let co = coprocess::fork(worker).unwrap();
    let heard = common::inbox::<Value>(&co, "heard");
    let (mut arrived, mut mistyped) = (0_u32, 0_u32);
    for _ in 0..count {
        let drawn = Drawn::new(random);
        let value = value(random, &drawn.sent);
        *number += 1;
        let (name, result_name) = (format!("{number}"), format!("result {number}"));
        co.call::<()>("wanted", (&name, &drawn.wanted)).unwrap();

        let called = outcome(co.call::<Value>(&name, Typed(&drawn.sent, &value)));
        if drawn.check("arguments", &value, &called) {
            arrived += 1
        } else {
            mistyped += 1
        }

        let before = co.call::<u64>("mistyped", ()).unwrap();
        match co.emit(&name, Typed(&drawn.sent, &value)) {
            Ok(()) => {}
            // One name is one for both.
            Err(error) => assert!(matches!(error, Error::Types { .. }), "{error}"),
        }
        let is_mistyped = co.call::<u64>("mistyped", ()).unwrap() > before;
        let event = match heard.recv_timeout(Duration::ZERO) {
            Ok(value) => Outcome::Arrived(value),
            Err(_) if is_mistyped => Outcome::Mistyped(String::new()),
            Err(_) => Outcome::Undecodable(String::new()),
        };
        drawn.check("event", &value, &event);
        assert_eq!(
            std::mem::discriminant(&event),
            std::mem::discriminant(&called),
            "{called:?} {event:?}"
        );

        co.call::<()>("send", (&result_name, &drawn.sent, &value)).unwrap();
        want(&drawn.wanted);
        let result = outcome(co.call::<Any>(&result_name, ()).map(|Any(value)| value));
        drawn.check("result", &value, &result);
        assert_eq!(
            std::mem::discriminant(&result),
            std::mem::discriminant(&called),
            "{called:?} {result:?}"
        );
    }
    assert!(
        count < 100 || arrived > count as u32 / 4 && mistyped > count as u32 / 8,
        "{arrived} {mistyped} of {count}"
    );
    co.close().unwrap();
}

#[test]
fn the_right_value_or_an_error_of_types() {
    within(LIMIT, || {
        let random = Random::for_test("the_right_value_or_an_error_of_types");
        let mut number = 0;
        // Each worker serves few names: a registration copies those before it.
        for _ in 0..rounds(20) {
            every_first_use(&random, 150, &mut number);
        }
    });
}

/// Many values of one type by one name: what one of them shows does no harm to the next.
#[test]
fn many_values_of_the_same_types() {
    within(LIMIT, || {
        let random = Random::for_test("many_values_of_the_same_types");
        let co = Builder::new().check_types(TypeCheck::Always).fork(worker).unwrap();
        let released = coprocess::fork(worker).unwrap();
        for number in 0..rounds(20) * 10 {
            let drawn = Drawn::new(&random);
            let name = number.to_string();
            co.call::<()>("wanted", (&name, &drawn.wanted)).unwrap();
            let fits = matches!(drawn.relation, Relation::Equal | Relation::Compatible);
            if fits {
                released.call::<()>("wanted", (&name, &drawn.wanted)).unwrap();
            }
            for _ in 0..random.below(30) {
                let value = value(&random, &drawn.sent);
                let called = outcome(co.call::<Value>(&name, Typed(&drawn.sent, &value)));
                drawn.check("one of many", &value, &called);
                if fits {
                    let called = outcome(released.call::<Value>(&name, Typed(&drawn.sent, &value)));
                    drawn.check("one of many that are not all looked at", &value, &called);
                }
            }
        }
    });
}
