//! Every pair of types: what reads the same value arrives, and anything else is an error, at both
//! ends.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Coprocess, Error};
use serde::{Deserialize, Serialize};

use crate::common::{self, LIMIT, assert_matches, within};
use crate::kit::{Log, Point, Shape, Sparse, map};

/// What came of sending a value: the value as it arrived, or the types of the error.
type Outcome = Result<String, (String, String)>;

fn outcome(result: coprocess::Result<String>) -> Outcome {
    result.map_err(|error| match error {
        Error::Types { sent, wanted, .. } => (sent, wanted),
        other => ("another error".to_owned(), other.to_string()),
    })
}

/// A type that is sent, another one that is wanted, and what is to come of it.
struct Case {
    what: &'static str,
    expected: Result<&'static str, (&'static str, &'static str)>,
    receive: fn(&Coprocess, &str, &Log),
    arguments: fn(&Coprocess, &str) -> coprocess::Result<()>,
    result: fn(&Coprocess, &str) -> coprocess::Result<String>,
    emit: fn(&Coprocess, &str) -> coprocess::Result<()>,
}

impl Case {
    fn names(place: usize) -> [String; 3] {
        ["arguments", "result", "event"].map(|form| format!("{place} {form}"))
    }

    fn receive_all(cases: fn() -> Vec<Case>, end: &Coprocess) {
        let log = Log::default();
        log.serve(end);
        for (place, case) in cases().iter().enumerate() {
            (case.receive)(end, &place.to_string(), &log);
        }
    }

    /// Sends the value in every form, twice. Returns what is not as expected.
    fn send(&self, end: &Coprocess, place: usize) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |what: &str, is: &dyn Debug, expected: &dyn Debug| {
            if format!("{is:?}") != format!("{expected:?}") {
                wrong.push(format!("{}, {what}: {is:?}, expected {expected:?}", self.what));
            }
        };
        let [arguments, result, event] = Case::names(place);
        let expected: Outcome = self
            .expected
            .map(str::to_owned)
            .map_err(|(sent, wanted)| (sent.to_owned(), wanted.to_owned()));
        let of_result =
            expected.clone().map_err(|(sent, wanted)| (sent, format!("{wanted} as its result")));
        let nothing: Result<Vec<String>, ()> = Ok(Vec::new());
        let once = expected.clone().map_or(nothing, |value| Ok(vec![value]));
        let logged = |name: &str| end.call::<Vec<String>>("log", name).map_err(drop);
        for _ in 0..2 {
            let sent = outcome((self.arguments)(end, &arguments).map(|()| String::new()));
            check("arguments", &sent, &expected.clone().map(|_| String::new()));
            check("what the method was given", &logged(&arguments), &once);
            check("result", &outcome((self.result)(end, &result)), &of_result);
        }
        let before = end.stats().events_mistyped_by_peer;
        check(
            "first event",
            &outcome((self.emit)(end, &event).map(|()| String::new())),
            &Outcome::Ok(String::new()),
        );
        check("what the listener was given", &logged(&event), &once);
        let counted = end.stats().events_mistyped_by_peer - before;
        check("mistyped events", &counted, &u64::from(expected.is_err()));
        let again = outcome((self.emit)(end, &event).map(|()| String::new()));
        match (&expected, again) {
            (Ok(_), again) => check("second event", &again, &Outcome::Ok(String::new())),
            // The notice has no room for all that is wanted.
            (Err((sent, _)), Err((ref is, _))) => check("second event", is, sent),
            (_, again) => check("second event", &again, &expected),
        }
        check("what the listener was given then", &logged(&event), &once);
        let counted = end.stats().events_mistyped_by_peer - before;
        check("mistyped events then", &counted, &u64::from(expected.is_err()));
        wrong
    }
}

macro_rules! cases {
    ($($sent:expr => $wanted:ty: $expected:expr;)*) => {
        vec![$(Case {
            what: stringify!($sent => $wanted),
            expected: $expected,
            receive: |end, place, log| {
                let [arguments, result, event] = Case::names(place.parse().unwrap());
                log.hear::<$wanted>(end, &arguments);
                end.serve(&result, |()| $sent);
                log.listen::<$wanted>(end, &event);
            },
            arguments: |end, name| end.call(name, $sent),
            result: |end, name| end.call(name, ()).map(|value: $wanted| format!("{value:?}")),
            emit: |end, name| end.emit(name, $sent),
        },)*]
    };
}

/// Sends every value from either end to the other one.
fn both_ways(cases: fn() -> Vec<Case>, worker: fn(Coprocess)) {
    let co = common::patient().fork(worker).unwrap();
    Case::receive_all(cases, &co);
    let mut wrong = Vec::new();
    for (place, case) in cases().iter().enumerate() {
        wrong
            .extend(case.send(&co, place).into_iter().map(|text| format!("to the worker, {text}")));
        let theirs: Vec<String> = co.call("send", place).unwrap();
        wrong.extend(theirs.into_iter().map(|text| format!("to the parent, {text}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(co.close().unwrap().unwrap().success());
}

fn worker_of(cases: fn() -> Vec<Case>, parent: &Coprocess) {
    Case::receive_all(cases, parent);
    let own = parent.downgrade();
    parent.serve("send", move |place: usize| cases()[place].send(&own.upgrade().unwrap(), place));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Place {
    x: u64,
    y: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Swapped {
    y: i32,
    x: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct OtherField {
    x: u64,
    z: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Longer {
    x: u64,
    y: i32,
    z: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct Twice(u64, i32);

#[derive(Debug, Serialize, Deserialize)]
struct Meters(f64);

#[derive(Debug, Serialize, Deserialize)]
struct Feet(f64);

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Clear {
    inside: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, Serialize, Deserialize)]
struct Empty {}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Shape")]
enum Figure {
    Empty,
    Circle(f64),
    Line(u64, u64),
    Box { width: u32, height: u32 },
}

#[derive(Debug, Serialize, Deserialize)]
enum Grown {
    Empty,
    Circle(f64),
    Line(u64, u64),
    Box { width: u32, height: u32 },
    Star,
}

#[derive(Debug, Serialize, Deserialize)]
enum Inserted {
    Empty,
    Star,
    Circle(f64),
    Line(u64, u64),
    Box { width: u32, height: u32 },
}

#[derive(Debug, Serialize, Deserialize)]
enum Changed {
    Empty,
    Circle(f32),
    Line(u64),
    Box { height: u32, width: u32 },
}

#[derive(Debug, Serialize, Deserialize)]
struct Renamed {
    #[serde(rename = "x")]
    across: u64,
    #[serde(rename = "y")]
    down: i32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Upper {
    x: u64,
    y: i32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Skipping {
    x: u64,
    #[serde(skip)]
    cache: Option<String>,
    y: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Defaulting {
    x: u64,
    y: i32,
    #[serde(default)]
    z: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct Aliased {
    #[serde(alias = "across", alias = "a")]
    x: u64,
    #[serde(alias = "down")]
    y: i32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Of<T> {
    value: T,
    more: Vec<T>,
}

fn of<T: Clone>(value: T) -> Of<T> {
    Of { more: vec![value.clone()], value }
}

#[derive(Debug, Serialize, Deserialize)]
struct Tree {
    name: String,
    children: Vec<Tree>,
    parent: Option<Box<Tree>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WideTree {
    name: String,
    children: Vec<WideTree>,
    parent: Option<u64>,
}

fn tree(depth: u32) -> Tree {
    let parent = (depth > 1).then(|| Box::new(tree(depth - 2)));
    Tree { name: depth.to_string(), children: (0..depth).map(tree).collect(), parent }
}

const POINT: &str = "Point{x: u64, y: i32}";
const SHAPES: &str = "enum Shape{Empty, Circle, Line, Box}";

#[rustfmt::skip]
fn compatible() -> Vec<Case> {
    cases! {
        // Zigzag, of any width above a byte.
        -5_i16 => i16: Ok("-5");
        -5_i16 => i32: Ok("-5");
        -5_i16 => i64: Ok("-5");
        -5_i16 => i128: Ok("-5");
        -5_i32 => i16: Ok("-5");
        -5_i32 => i64: Ok("-5");
        -5_i32 => i128: Ok("-5");
        i64::MIN => i64: Ok("-9223372036854775808");
        -5_i64 => i16: Ok("-5");
        -5_i64 => i32: Ok("-5");
        -5_i64 => i128: Ok("-5");
        i128::MIN => i128: Ok("-170141183460469231731687303715884105728");
        -5_i128 => i16: Ok("-5");
        -5_i128 => i32: Ok("-5");
        -5_i128 => i64: Ok("-5");
        -5_isize => i64: Ok("-5");
        -5_i64 => isize: Ok("-5");
        500_u16 => u32: Ok("500");
        500_u16 => u64: Ok("500");
        500_u16 => u128: Ok("500");
        500_u32 => u16: Ok("500");
        500_u32 => u64: Ok("500");
        500_u32 => u128: Ok("500");
        500_u64 => u16: Ok("500");
        500_u64 => u32: Ok("500");
        500_u64 => u128: Ok("500");
        500_u128 => u16: Ok("500");
        500_u128 => u32: Ok("500");
        500_u128 => u64: Ok("500");
        500_usize => u64: Ok("500");
        u64::MAX => usize: Ok("18446744073709551615");
        200_u8 => u8: Ok("200");
        -100_i8 => i8: Ok("-100");
        0.5_f32 => f32: Ok("0.5");
        0.5_f64 => f64: Ok("0.5");
        true => bool: Ok("true");
        'x' => char: Ok("'x'");
        () => (): Ok("()");
        // Text.
        "text" => String: Ok("\"text\"");
        String::from("text") => Box<str>: Ok("\"text\"");
        Cow::Borrowed("text") => String: Ok("\"text\"");
        "text" => Cow<'static, str>: Ok("\"text\"");
        std::path::Path::new("/a") => String: Ok("\"/a\"");
        // Bytes.
        Bytes::new(&[1, 2]) => Vec<u8>: Ok("[1, 2]");
        vec![1_u8, 2] => ByteBuf: Ok("[1, 2]");
        &[1_u8, 2][..] => ByteBuf: Ok("[1, 2]");
        Bytes::new(&[]) => Vec<u8>: Ok("[]");
        Vec::<u8>::new() => ByteBuf: Ok("[]");
        Bytes::new(&[1, 2]) => ByteBuf: Ok("[1, 2]");
        Bytes::new(&[1, 2]) => VecDeque<u8>: Ok("[1, 2]");
        // What is around a value.
        Meters(0.5) => f64: Ok("0.5");
        0.5 => Meters: Ok("Meters(0.5)");
        Meters(0.5) => Feet: Ok("Feet(0.5)");
        Clear { inside: 5 } => u64: Ok("5");
        5_u64 => Clear: Ok("Clear { inside: 5 }");
        Box::new(5_u64) => u64: Ok("5");
        5_u64 => Box<u64>: Ok("5");
        &5_u64 => u64: Ok("5");
        std::num::NonZeroU64::MAX => u64: Ok("18446744073709551615");
        Cell::new(5_u64) => u64: Ok("5");
        std::num::Wrapping(5_u64) => u64: Ok("5");
        // Tuples and structs.
        Point { x: 1, y: 2 } => Point: Ok("Point { x: 1, y: 2 }");
        Point { x: 1, y: 2 } => Place: Ok("Place { x: 1, y: 2 }");
        Point { x: 1, y: 2 } => (u64, i32): Ok("(1, 2)");
        (1_u64, 2) => Point: Ok("Point { x: 1, y: 2 }");
        Twice(1, 2) => Point: Ok("Point { x: 1, y: 2 }");
        Point { x: 1, y: 2 } => Twice: Ok("Twice(1, 2)");
        (1_u32, 2_i64) => Twice: Ok("Twice(1, 2)");
        [1_u64, 2] => (u64, u64): Ok("(1, 2)");
        (1_u64, 2_u64) => [u64; 2]: Ok("[1, 2]");
        Nothing => (): Ok("()");
        () => Nothing: Ok("Nothing");
        Empty {} => (): Ok("()");
        () => Empty: Ok("Empty");
        Duration::from_millis(1500) => Duration: Ok("1.5s");
        Duration::from_millis(1500) => (u64, u32): Ok("(1, 500000000)");
        1..5_u64 => std::ops::Range<u64>: Ok("1..5");
        // Lists, maps, options.
        vec![1_u64, 2] => Vec<u64>: Ok("[1, 2]");
        &[1_u64, 2][..] => VecDeque<u32>: Ok("[1, 2]");
        BTreeSet::from([1_u64, 2]) => Vec<u64>: Ok("[1, 2]");
        Vec::<u64>::new() => Vec<String>: Ok("[]");
        HashMap::from([("a", 1_u64)]) => BTreeMap<String, u64>: Ok("{\"a\": 1}");
        map([("a", 1_u64)]) => HashMap<String, u32>: Ok("{\"a\": 1}");
        map([(1_u64, map([(2_u64, "b")]))]) => BTreeMap<u16, HashMap<u16, String>>: Ok("{1: {2: \"b\"}}");
        BTreeMap::<u8, u8>::new() => BTreeMap<String, f64>: Ok("{}");
        None::<u64> => Option<String>: Ok("None");
        Some(5_u32) => Option<u64>: Ok("Some(5)");
        vec![None, Some(5_u32), None] => Vec<Option<u64>>: Ok("[None, Some(5), None]");
        Some(Some(5_u8)) => Option<Option<u8>>: Ok("Some(Some(5))");
        Ok::<u64, String>(5) => Result<u64, String>: Ok("Ok(5)");
        Err::<u64, &str>("no") => Result<u64, String>: Ok("Err(\"no\")");
        // Enums.
        Shape::Empty => Shape: Ok("Empty");
        Shape::Circle(0.5) => Figure: Ok("Circle(0.5)");
        Figure::Line(1, 2) => Shape: Ok("Line(1, 2)");
        Shape::Box { width: 1, height: 2 } => Grown: Ok("Box { width: 1, height: 2 }");
        Grown::Empty => Shape: Ok("Empty");
        Grown::Circle(0.5) => Shape: Ok("Circle(0.5)");
        Shape::Empty => Inserted: Ok("Empty");
        Shape::Empty => Changed: Ok("Empty");
        [Shape::Empty, Shape::Circle(0.5), Shape::Line(1, 2)] => [Shape; 3]: Ok("[Empty, Circle(0.5), Line(1, 2)]");
        std::net::IpAddr::from([127, 0, 0, 1]) => std::net::IpAddr: Ok("127.0.0.1");
        // What serde makes of attributes.
        Renamed { across: 1, down: 2 } => Point: Ok("Point { x: 1, y: 2 }");
        Point { x: 1, y: 2 } => Renamed: Ok("Renamed { across: 1, down: 2 }");
        Skipping { x: 1, cache: Some(String::new()), y: 2 } => Point: Ok("Point { x: 1, y: 2 }");
        Point { x: 1, y: 2 } => Skipping: Ok("Skipping { x: 1, cache: None, y: 2 }");
        Longer { x: 1, y: 2, z: 3 } => Defaulting: Ok("Defaulting { x: 1, y: 2, z: 3 }");
        Sparse { x: 1, y: Some(2) } => Sparse: Ok("Sparse { x: 1, y: Some(2) }");
        Aliased { x: 1, y: 2 } => Aliased: Ok("Aliased { x: 1, y: 2 }");
        Point { x: 1, y: 2 } => Aliased: Ok("Aliased { x: 1, y: 2 }");
        Aliased { x: 1, y: 2 } => Point: Ok("Point { x: 1, y: 2 }");
        // Types with types in them, and in themselves.
        of(5_u32) => Of<u64>: Ok("Of { value: 5, more: [5] }");
        of(of("a")) => Of<Of<String>>: Ok("Of { value: Of { value: \"a\", more: [\"a\"] }, more: [Of { value: \"a\", more: [\"a\"] }] }");
        tree(2) => Tree: Ok("Tree { name: \"2\", children: [Tree { name: \"0\", children: [], parent: None }, Tree { name: \"1\", \
            children: [Tree { name: \"0\", children: [], parent: None }], parent: None }], parent: Some(Tree { name: \"0\", \
            children: [], parent: None }) }");
        tree(0) => WideTree: Ok("WideTree { name: \"0\", children: [], parent: None }");
    }
}

#[rustfmt::skip]
fn incompatible() -> Vec<Case> {
    cases! {
        5 => u64: Err(("i32", "u64"));
        5_u64 => i64: Err(("u64", "i64"));
        5_u16 => i16: Err(("u16", "i16"));
        5_i128 => u128: Err(("i128", "u128"));
        5_u8 => i8: Err(("u8", "i8"));
        5_i8 => u8: Err(("i8", "u8"));
        5_u8 => u16: Err(("u8", "u16"));
        5_u16 => u8: Err(("u16", "u8"));
        5_u8 => u64: Err(("u8", "u64"));
        5_i8 => i16: Err(("i8", "i16"));
        5_i16 => i8: Err(("i16", "i8"));
        0.5_f32 => f64: Err(("f32", "f64"));
        0.5_f64 => f32: Err(("f64", "f32"));
        5_u32 => f32: Err(("u32", "f32"));
        0.5_f64 => u64: Err(("f64", "u64"));
        true => u8: Err(("bool", "u8"));
        1_u8 => bool: Err(("u8", "bool"));
        'x' => u32: Err(("char", "u32"));
        'x' => String: Err(("char", "string"));
        "x" => char: Err(("string", "char"));
        "x" => ByteBuf: Err(("string", "bytes"));
        "x" => Vec<u8>: Err(("string", "[_]"));
        Bytes::new(b"x") => String: Err(("bytes", "string"));
        vec![1_u8] => String: Err(("[u8]", "string"));
        Bytes::new(&[1]) => Vec<u16>: Err(("bytes", "[u16]"));
        Bytes::new(&[1]) => Vec<bool>: Err(("bytes", "[bool]"));
        Bytes::new(&[1]) => Vec<i8>: Err(("bytes", "[i8]"));
        vec![1_u16] => ByteBuf: Err(("[u16]", "[u8]"));
        // Options.
        Some(5_u64) => u64: Err(("Option<u64>", "u64"));
        5_u64 => Option<u64>: Err(("u64", "Option<_>"));
        None::<u64> => u8: Err(("Option<_>", "u8"));
        0_u8 => Option<u64>: Err(("u8", "Option<_>"));
        Some(5) => Option<u64>: Err(("Option<i32>", "Option<u64>"));
        Some(Some(5_u8)) => Option<u8>: Err(("Option<Option<u8>>", "Option<u8>"));
        true => Option<()>: Err(("bool", "Option<_>"));
        // Tuples and structs.
        (1_u64, 2_u64, 3) => (u64, u64, u64): Err(("(u64, u64, i32)", "(u64, u64, u64)"));
        (1_u64, 2) => (u64, i32, u8): Err(("(u64, i32)", "(_, _, _)"));
        (1_u64, 2, 3) => (u64, i32): Err(("(u64, i32, i32)", "(_, _)"));
        (1_u64,) => u64: Err(("(u64,)", "u64"));
        1_u64 => (u64,): Err(("u64", "(_,)"));
        [1_u64; 2] => Vec<u64>: Err(("(u64, u64)", "[_]"));
        vec![1_u64; 2] => [u64; 2]: Err(("[u64]", "(_, _)"));
        Point { x: 1, y: 2 } => Swapped: Err((POINT, "Swapped{y, x}"));
        Point { x: 1, y: 2 } => OtherField: Err((POINT, "OtherField{x, z}"));
        Point { x: 1, y: 2 } => Longer: Err((POINT, "Longer{x, y, z}"));
        Longer { x: 1, y: 2, z: 3 } => Point: Err(("Longer{x: u64, y: i32, z: u8}", "Point{x, y}"));
        Point { x: 1, y: 2 } => Defaulting: Err((POINT, "Defaulting{x, y, z}"));
        Point { x: 1, y: 2 } => Upper: Err((POINT, "Upper{X, Y}"));
        Point { x: 1, y: 2 } => (i64, i32): Err((POINT, "Point{x: i64, ..}"));
        Point { x: 1, y: 2 } => (u64, u32): Err((POINT, "Point{x: u64, y: u32}"));
        (1_u64, 2_u32) => Point: Err(("(u64, u32)", "(u64, i32)"));
        Meters(1.0) => u64: Err(("Meters(f64)", "Meters(u64)"));
        1 => Meters: Err(("i32", "f64"));
        Clear { inside: 1 } => i64: Err(("u64", "i64"));
        Box::new(5) => Box<u64>: Err(("i32", "u64"));
        () => u8: Err(("()", "u8"));
        0_u8 => (): Err(("u8", "()"));
        Nothing => bool: Err(("()", "bool"));
        // Lists and maps.
        vec![1, 2] => Vec<u64>: Err(("[i32]", "[u64]"));
        vec![vec![], vec![], vec![1]] => Vec<Vec<u64>>: Err(("[[i32]]", "[[u64]]"));
        vec![None, Some(1)] => Vec<Option<u64>>: Err(("[Option<i32>]", "[Option<u64>]"));
        Vec::<u64>::new() => u8: Err(("[_]", "u8"));
        Vec::<u64>::new() => String: Err(("[_]", "string"));
        Vec::<(u8, u8)>::new() => BTreeMap<u8, u8>: Err(("[_]", "{_: _}"));
        map([("a", 1)]) => BTreeMap<String, u64>: Err(("{string: i32}", "{string: u64}"));
        map([(1, "a")]) => HashMap<u64, String>: Err(("{i32: string}", "{u64: ..}"));
        map([("a", 1_u64)]) => Vec<(String, u64)>: Err(("{string: u64}", "[_]"));
        // Enums.
        Shape::Circle(0.5) => Inserted: Err(("Shape::Circle(f64)", "enum Inserted{Empty, Star, Circle, Line, Box}"));
        Inserted::Star => Shape: Err(("Inserted::Star", SHAPES));
        Inserted::Line(1, 2) => Shape: Err(("Inserted::Line(u64, u64)", SHAPES));
        Grown::Star => Shape: Err(("Grown::Star", SHAPES));
        Shape::Circle(0.5) => Changed: Err(("Shape::Circle(f64)", "Shape::Circle(f32)"));
        Shape::Line(1, 2) => Changed: Err(("Shape::Line(u64, u64)", "Shape::Line(u64)"));
        Shape::Box { width: 1, height: 2 } => Changed: Err(("Shape::Box{width: u32, height: u32}", "Shape::Box{height, width}"));
        Shape::Empty => u32: Err(("Shape::Empty", "u32"));
        0_u32 => Shape: Err(("u32", SHAPES));
        Shape::Empty => bool: Err(("Shape::Empty", "bool"));
        Ok::<u64, u64>(1) => Option<u64>: Err(("Result::Ok(u64)", "Option<_>"));
        Err::<u64, u64>(1) => Result<u64, String>: Err(("Result::Err(u64)", "Result::Err(string)"));
        // Types with types in them, and in themselves.
        of(5) => Of<u64>: Err(("Of{value: i32, more: [i32]}", "Of{value: u64, ..}"));
        tree(0) => Twice: Err(("Tree{name: string, children: [_], parent: Option<_>}", "(_, _)"));
        Tree { name: String::new(), children: vec![], parent: Some(Box::new(tree(0))) } => WideTree: Err((
            "Tree{name: string, children: [_], parent: Option<Tree{name: string, children: [_], parent: Option<_>}>}",
            "Tree{name: string, children: [_], parent: Option<u64>}",
        ));
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Aka {
    #[serde(alias = "Begin", alias = "Open")]
    Start,
    #[serde(alias = "Close")]
    End(u64),
}

#[derive(Debug, Serialize, Deserialize)]
enum Unaliased {
    Start,
    End(u64),
}

fn aliases() -> Vec<Case> {
    cases! {
        Aka::Start => Aka: Ok("Start");
        Aka::End(5) => Aka: Ok("End(5)");
        Unaliased::Start => Aka: Ok("Start");
        Unaliased::End(5) => Aka: Ok("End(5)");
        Aka::End(5) => Unaliased: Ok("End(5)");
    }
}

/// serde's derive lists aliases among the variants.
#[test]
fn variants_with_aliases() {
    within(LIMIT, || both_ways(aliases, |parent| worker_of(aliases, &parent)));
}

#[test]
fn what_reads_the_same_value_arrives() {
    within(LIMIT, || both_ways(compatible, |parent| worker_of(compatible, &parent)));
}

#[test]
fn what_would_read_another_value_is_an_error() {
    within(LIMIT, || both_ways(incompatible, |parent| worker_of(incompatible, &parent)));
}

/// Widths do not matter, ranges do: that is an error of decoding, as ever.
#[test]
fn what_is_out_of_range_does_not_decode() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("u16", |n: u16| n).serve("i16", |n: i16| n).serve("large", |()| u64::MAX);
        })
        .unwrap();
        for n in [5_u64, 65_535] {
            assert_eq!(u64::from(co.call::<u16>("u16", n).unwrap()), n);
        }
        assert_matches!(co.call::<u16>("u16", 65_536_u64), Err(Error::Remote { message, .. }) if message.contains("do not decode"));
        assert_matches!(co.call::<i16>("i16", i64::MIN), Err(Error::Remote { message, .. }) if message.contains("do not decode"));
        assert_matches!(co.call::<u32>("large", ()), Err(Error::Decode { .. }));
        assert_eq!(co.call::<u128>("large", ()).unwrap(), u64::MAX.into());
        assert_eq!(co.call::<u16>("u16", 7_u64).unwrap(), 7);
    });
}

/// A place deep in a value whose type only shows later.
#[test]
fn lists_are_looked_at_to_their_end() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent
                .serve("options", |list: Vec<Option<u64>>| list)
                .serve("numbers", |list: Vec<u64>| list);
        })
        .unwrap();
        for length in [1, 2, 15, 16, 17, 40] {
            let mut list = vec![None; length];
            list.push(Some(5));
            let result = co.call::<Vec<Option<u64>>>("options", &list);
            assert_matches!(result, Err(Error::Types { .. }));
            let mut list = vec![None; length];
            list.push(Some(5_u64));
            assert_eq!(co.call::<Vec<Option<u64>>>("options", &list).unwrap(), list);
        }
        assert_matches!(co.call::<Vec<u64>>("numbers", vec![5; 1000]), Err(Error::Types { .. }));
        assert_eq!(co.call::<Vec<u64>>("numbers", vec![5_u32; 1000]).unwrap(), vec![5; 1000]);
    });
}
