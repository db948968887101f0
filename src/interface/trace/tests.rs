use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::*;
use crate::Block;

fn shape<T: DeserializeOwned>() -> String {
    let (mut first, mut second) = (String::new(), String::new());
    let complete = trace::<T>().write("=", &mut first);
    trace::<T>().write("=", &mut second);
    assert_eq!(first, second, "it is the same each time");
    assert_eq!(complete, !first.contains('?'), "{first}");
    first
}

#[track_caller]
fn assert_shape<T: DeserializeOwned>(expected: &[&str]) {
    let shape = shape::<T>();
    assert_eq!(shape.lines().collect::<Vec<_>>(), expected, "{shape}");
}

#[test]
fn plain_values() {
    assert_shape::<u64>(&["= u64"]);
    assert_shape::<usize>(&["= u64"]);
    assert_shape::<bool>(&["= bool"]);
    assert_shape::<f32>(&["= f32"]);
    assert_shape::<i128>(&["= i128"]);
    assert_shape::<char>(&["= char"]);
    assert_shape::<()>(&["= ()"]);
    for string in [shape::<String>(), shape::<Box<str>>(), shape::<PathBuf>()] {
        assert_eq!(string, "= string\n");
    }
    for bytes in [shape::<ByteBuf>(), shape::<Vec<u8>>(), shape::<Block<u8>>(), shape::<Box<[u8]>>()] {
        assert_eq!(bytes, "= bytes\n");
    }
}

#[test]
fn compound_values() {
    assert_shape::<(u8, String)>(&["= tuple of 2", " .0 u8", " .1 string"]);
    assert_shape::<[i8; 2]>(&["= tuple of 2", " .0 i8", " .1 i8"]);
    assert_shape::<[u8; 0]>(&["= tuple of 0"]);
    assert_shape::<Option<Option<u8>>>(&["= option", " ::Some option", "  ::Some u8"]);
    assert_shape::<Vec<Vec<u32>>>(&["= sequence", " [] sequence", "  [] u32"]);
    assert_eq!(shape::<HashSet<u32>>(), shape::<Vec<u32>>());
    assert_shape::<BTreeMap<String, (u8, f64)>>(&["= map", " {key} string", " {value} tuple of 2", "  .0 u8", "  .1 f64"]);
    assert_eq!(shape::<HashMap<String, (u8, f64)>>(), shape::<BTreeMap<String, (u8, f64)>>());
    assert_shape::<std::result::Result<u8, String>>(&[
        "= enum Result {Ok, Err}",
        " ::Ok variant(_)",
        "  .0 u8",
        " ::Err variant(_)",
        "  .0 string",
    ]);
    assert_shape::<Duration>(&["= struct Duration {secs, nanos}", " .secs u64", " .nanos u32"]);
    // As postcard has it: not as text.
    assert!(shape::<IpAddr>().starts_with("= enum IpAddr {V4, V6}\n ::V4 variant(_)\n  .0 tuple of 4\n"));
}

#[derive(Serialize, Deserialize)]
struct Unit;

#[derive(Serialize, Deserialize)]
struct Id(u64);

#[derive(Serialize, Deserialize)]
struct Pair(u8, Id);

#[derive(Serialize, Deserialize)]
struct Point<T> {
    x: T,
    #[serde(rename = "the other")]
    y: T,
    #[serde(skip)]
    _at: (),
}

#[derive(Serialize, Deserialize)]
enum Every {
    Unit,
    Newtype(u8),
    Tuple(u8, Id),
    Struct { a: Option<Inside>, b: Pair },
}

#[derive(Serialize, Deserialize)]
enum Inside {
    A,
    B(Vec<Last>),
}

#[derive(Serialize, Deserialize)]
enum Last {
    C { c: char },
    D,
}

#[test]
fn types_of_the_users() {
    assert_shape::<Unit>(&["= struct Unit"]);
    assert_shape::<Pair>(&["= struct Pair(_, _)", " .0 u8", " .1 struct Id(_)", "  .0 u64"]);
    assert_shape::<Every>(&[
        "= enum Every {Unit, Newtype, Tuple, Struct}",
        " ::Unit variant",
        " ::Newtype variant(_)",
        "  .0 u8",
        " ::Tuple variant(_, _)",
        "  .0 u8",
        "  .1 struct Id(_)",
        "   .0 u64",
        " ::Struct variant {a, b}",
        "  .a option",
        "   ::Some enum Inside {A, B}",
        "    ::A variant",
        "    ::B variant(_)",
        "     .0 sequence",
        "      [] enum Last {C, D}",
        "       ::C variant {c}",
        "        .c char",
        "       ::D variant",
        "  .b struct Pair(_, _)",
        "   .0 u8",
        "   .1 struct Id(_), as =::Tuple.1",
    ]);
    // Of one name, and yet each for itself.
    assert_shape::<(Point<u8>, Point<Point<char>>)>(&[
        "= tuple of 2",
        " .0 struct Point {x, the\\u{20}other}",
        "  .x u8",
        "  .the\\u{20}other u8",
        " .1 struct Point {x, the\\u{20}other}",
        "  .x struct Point {x, the\\u{20}other}",
        "   .x char",
        "   .the\\u{20}other char",
        "  .the\\u{20}other struct Point {x, the\\u{20}other}, as =.1.x",
    ]);
}

#[derive(Serialize, Deserialize)]
struct List {
    next: Option<Box<List>>,
    value: u64,
}

#[derive(Serialize, Deserialize)]
enum Expression {
    Sum(Vec<Expression>),
    Product(Box<Expression>, Box<Expression>),
    Named { name: String, of: BTreeMap<String, Expression> },
    Number(f64),
}

#[derive(Serialize, Deserialize)]
struct Tree(Vec<Tree>);

#[derive(Serialize, Deserialize)]
struct Never(Box<Never>);

#[test]
fn types_that_contain_themselves() {
    assert_shape::<List>(&["= struct List {next, value}", " .next option", "  ::Some struct List {next, value}, as =", " .value u64"]);
    assert_shape::<Tree>(&["= struct Tree(_)", " .0 sequence", "  [] struct Tree(_), as ="]);
    assert_shape::<Expression>(&[
        "= enum Expression {Sum, Product, Named, Number}",
        " ::Sum variant(_)",
        "  .0 sequence",
        "   [] enum Expression {Sum, Product, Named, Number}, as =",
        " ::Product variant(_, _)",
        "  .0 enum Expression {Sum, Product, Named, Number}, as =",
        "  .1 enum Expression {Sum, Product, Named, Number}, as =",
        " ::Named variant {name, of}",
        "  .name string",
        "  .of map",
        "   {key} string",
        "   {value} enum Expression {Sum, Product, Named, Number}, as =",
        " ::Number variant(_)",
        "  .0 f64",
    ]);
    // Has no values, but a shape.
    assert_shape::<Never>(&["= struct Never(_)", " .0 struct Never(_), as ="]);
}

#[test]
fn blocks_say_what_is_in_them() {
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(transparent)]
    struct Sample(f32);

    #[derive(Serialize, Deserialize)]
    struct Signal {
        #[serde(with = "crate::block")]
        samples: Vec<i16>,
    }

    assert_shape::<Block<f32>>(&["= block of f32"]);
    assert_shape::<Block<[f32; 3]>>(&["= block of [f32; 3]"]);
    assert_shape::<Block<Sample>>(&["= block of Sample"]);
    assert_shape::<Signal>(&["= struct Signal {samples}", " .samples block of i16"]);
}

/// Text that has to be something.
#[derive(Serialize)]
struct Parsed<const WHICH: usize>(String);

impl<'de, const WHICH: usize> Deserialize<'de> for Parsed<WHICH> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        assert!(!deserializer.is_human_readable());
        let text = String::deserialize(deserializer)?;
        match WHICH {
            0 if text.parse::<std::net::Ipv4Addr>().is_err() => Err(D::Error::custom("no address")),
            1 if text != "what nobody guesses" => Err(D::Error::custom("not that")),
            2 => panic!("what was not thought of"),
            _ => Ok(Parsed(text)),
        }
    }
}

#[test]
fn values_that_are_refused() {
    #[derive(Serialize, Deserialize)]
    struct Record<const WHICH: usize> {
        first: NonZero<u16>,
        text: Parsed<WHICH>,
        choice: Option<Inside>,
        last: u8,
    }
    fn lines(text: &str, rest: &[&'static str]) -> Vec<String> {
        let first = ["= struct Record {first, text, choice, last}", " .first u16", text];
        first.iter().chain(rest).map(|line| (*line).to_owned()).collect()
    }
    fn of<T: DeserializeOwned>() -> Vec<String> {
        shape::<T>().lines().map(str::to_owned).collect()
    }
    let all = [
        " .choice option",
        "  ::Some enum Inside {A, B}",
        "   ::A variant",
        "   ::B variant(_)",
        "    .0 sequence",
        "     [] enum Last {C, D}",
        "      ::C variant {c}",
        "       .c char",
        "      ::D variant",
        " .last u8",
    ];
    assert_eq!(of::<Record<0>>(), lines(" .text string", &all));
    assert_eq!(of::<Record<9>>(), lines(" .text string", &all));
    // What comes behind cannot be seen, but that is known.
    assert_eq!(of::<Record<1>>(), lines(" .text string", &[" .choice ?", " .last ?"]));
    assert_eq!(of::<Record<2>>(), lines(" .text string", &[" .choice ?", " .last ?"]));
    // What is refused as a whole was seen nevertheless.
    #[derive(Deserialize)]
    #[serde(try_from = "(u8, u8)")]
    #[expect(dead_code, reason = "there is none")]
    struct Strict(u8, u8);
    impl TryFrom<(u8, u8)> for Strict {
        type Error = &'static str;
        fn try_from(_: (u8, u8)) -> std::result::Result<Strict, &'static str> {
            Err("never")
        }
    }
    assert_shape::<(Option<Strict>, Vec<Strict>, bool)>(&[
        "= tuple of 3",
        " .0 option",
        "  ::Some tuple of 2",
        "   .0 u8",
        "   .1 u8",
        " .1 sequence",
        "  [] tuple of 2",
        "   .0 u8",
        "   .1 u8",
        " .2 bool",
    ]);
}

#[test]
fn what_postcard_cannot_read_is_not_seen() {
    assert_shape::<serde_json::Value>(&["= ?"]);
    assert_shape::<Option<serde_json::Value>>(&["= option", " ::Some ?"]);
}

#[test]
fn other_names_are_no_fields() {
    #[derive(Serialize, Deserialize)]
    enum Renamed {
        #[serde(alias = "Former")]
        Now {
            #[serde(alias = "c")]
            a: u8,
            b: u16,
        },
        Then(u32),
    }
    let shape = shape::<Renamed>();
    assert!(shape.contains("u8\n") && shape.contains("u16\n") && shape.contains("u32\n") && !shape.contains('?'), "{shape}");
}

#[test]
fn work_is_bounded() {
    macro_rules! doubled {
        ($($name:ident $of:ty;)*) => {$(
            #[derive(Serialize, Deserialize)]
            struct $name(Box<$of>, Box<$of>);
        )*};
    }
    // A value has 2^20 numbers.
    doubled! {
        A u8; B A; C B; D C; E D; F E; G F; H G; I H; J I; K J; L K; M L; N M; O N; P O; Q P; R Q; S R; T S;
    }
    let begun = Instant::now();
    // Each was seen once.
    assert_eq!(shape::<L>().lines().count(), 2 * 12 + 1);
    assert!(shape::<(T, u8)>().ends_with(" .1 ?\n"));
    // One level of a type of its own for each.
    type Deep = Option<Option<Option<Option<Option<Option<Option<Option<u8>>>>>>>>;
    type Deeper<T> = Option<Option<Option<Option<Option<Option<Option<Option<T>>>>>>>>;
    assert!(!shape::<Deep>().contains('?'));
    assert!(shape::<Deeper<Deeper<Deeper<Deeper<Deeper<Deeper<Deeper<Deeper<Deep>>>>>>>>>().contains('?'));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
