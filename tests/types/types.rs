//! Types of values: what reads the same value arrives, and anything else is an error, at both ends.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::Duration;

use crate::common::{
    self, LIMIT, SMALL_RING, assert_matches, check_error, eventually, inbox, next, within,
};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Backpressure, Builder, Coprocess, Error, Method, Reply, Topic, TypeCheck};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Waits for a future, as a runtime of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Checks that an operation has failed for its types, and what the error says of them.
#[track_caller]
fn is_mistyped<T>(result: coprocess::Result<T>, name: &str, sent: &str, wanted: &str) {
    match result {
        Err(ref error @ Error::Types { name: ref of, sent: ref is, wanted: ref takes }) => {
            assert_eq!((&**of, &**is, &**takes), (name, sent, wanted));
            check_error(error, &format!("`{name}` takes {wanted}, but was sent {sent}"));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("`{name}` has taken {sent} for {wanted}"),
    }
}

/// What handlers were given, by the names of the handlers.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<HashMap<String, Vec<String>>>>);

impl Log {
    fn add(&self, name: &str, value: &dyn Debug) {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().push(format!("{value:?}"));
    }

    /// Takes what the handler of a name was given.
    fn take(&self, name: &str) -> Vec<String> {
        self.0.lock().unwrap().remove(name).unwrap_or_default()
    }

    fn serve(&self, end: &Coprocess) {
        let log = self.clone();
        end.serve("log", move |name: String| log.take(&name));
    }

    fn listen<T: DeserializeOwned + Debug + 'static>(&self, end: &Coprocess, event: &str) {
        let (log, name) = (self.clone(), event.to_owned());
        end.listen(event, move |value: T| log.add(&name, &value));
    }

    fn hear<T: DeserializeOwned + Debug + 'static>(&self, end: &Coprocess, method: &str) {
        let (log, name) = (self.clone(), method.to_owned());
        end.serve(method, move |value: T| log.add(&name, &value));
    }
}

/// Returns what the other end's handler of a name was given since the last time.
#[track_caller]
fn log(end: &Coprocess, name: &str) -> Vec<String> {
    end.call("log", name).unwrap()
}

// ---- every pair of types -----------------------------------------------------------------------

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
struct Point {
    x: u64,
    y: i32,
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(f64),
    Line(u64, u64),
    Box { width: u32, height: u32 },
}

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
struct Sparse {
    x: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<i32>,
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

fn map<K: Ord, V, const N: usize>(pairs: [(K, V); N]) -> BTreeMap<K, V> {
    BTreeMap::from(pairs)
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

// ---- what is left untouched --------------------------------------------------------------------

fn numbers(parent: Coprocess) {
    let log = Log::default();
    log.serve(&parent);
    log.listen::<u64>(&parent, "n");
    log.hear::<u64>(&parent, "scale");
    parent.serve("res", |(_, _, n): (i32, i32, u64)| n).serve("other", |n: u64| n + 1);
    let own = parent.downgrade();
    parent.serve("counts", move |()| {
        let stats = own.upgrade().unwrap().stats();
        (stats.events_mistyped, stats.events_undecodable, stats.events_unheard)
    });
}

/// What every program contains sooner or later.
#[test]
fn literals_without_a_type() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("scale", |n: u64| n).serve("res", |(_, _, n): (i32, i32, u64)| n);
            parent.serve("double", |x: f32| x * 2.0).listen("n", |_: u64| ());
            parent.serve("five", |()| 5).serve("done", |()| ());
        })
        .unwrap();
        let error = co.call::<u64>("scale", 5).unwrap_err();
        assert_eq!(error.to_string(), "`scale` takes u64, but was sent i32: write 5_u64");
        assert_eq!(co.call::<u64>("scale", 5_u64).unwrap(), 5);

        let error = co.call::<u64>("res", (1, 2, 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`res` takes (i32, i32, u64), but was sent (i32, i32, i32): write 5_u64"
        );
        assert_eq!(co.call::<u64>("res", (1, 2, 1_u32)).unwrap(), 1);

        let error = co.call::<f32>("double", 0.5).unwrap_err();
        assert_eq!(error.to_string(), "`double` takes f32, but was sent f64: write 0.5_f32");

        let error = co.call::<u64>("five", ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`five` takes u64 as its result, but was sent i32: write 5_u64"
        );
        assert_eq!(co.call::<i64>("five", ()).unwrap(), 5);

        co.emit("n", -1).unwrap();
        co.call::<()>("done", ()).unwrap();
        let error = co.emit("n", -1).unwrap_err();
        assert_eq!(error.to_string(), "`n` takes u64, but was sent i32: write 5_u64");
        assert_eq!((co.stats().events_mistyped_by_peer, co.stats().events_mistyped), (1, 0));
    });
}

#[test]
fn a_mistyped_call_does_nothing_else() {
    within(LIMIT, || {
        let co = coprocess::fork(numbers).unwrap();
        for round in 0..20_u64 {
            is_mistyped(co.call::<()>("scale", 5), "scale", "i32", "u64");
            is_mistyped(co.call::<()>("scale", "five"), "scale", "string", "u64");
            assert_eq!(co.call::<u64>("other", round).unwrap(), round + 1);
            assert_eq!(log(&co, "scale"), [""; 0]);
            // By another type of the same name.
            co.call::<()>("scale", round).unwrap();
            co.call::<()>("scale", round as u32).unwrap();
            assert_eq!(log(&co, "scale"), [round.to_string(), round.to_string()]);
        }
        // No handler serves it, whatever its type.
        assert_matches!(co.call::<()>("missing", 5), Err(Error::MethodNotFound { .. }));
    });
}

#[test]
fn a_mistyped_event_does_nothing_else() {
    within(LIMIT, || {
        let co = coprocess::fork(numbers).unwrap();
        let counts = || co.call::<(u64, u64, u64)>("counts", ()).unwrap();
        co.emit("n", 5).unwrap();
        assert_eq!(counts(), (1, 0, 0));
        for round in 0..20_u64 {
            is_mistyped(co.emit("n", 5), "n", "i32", "u64");
            co.emit("n", round).unwrap();
            co.emit("unheard", 5).unwrap();
            assert_eq!(log(&co, "n"), [round.to_string()]);
            assert_eq!(counts(), (1, 0, round + 1));
        }
        co.emit("n", "text").unwrap();
        assert_eq!(counts(), (2, 0, 20));
        is_mistyped(co.emit("n", "text"), "n", "string", "u64");
        is_mistyped(co.emit("n", 5), "n", "i32", "u64");
        assert_eq!(co.stats().events_mistyped_by_peer, 2);
    });
}

/// A method and an event may have one name, and each its own type.
#[test]
fn a_method_and_an_event_of_one_name() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            log.listen::<u64>(&parent, "both");
            parent.serve("both", |_: i32| ());
        })
        .unwrap();
        co.call::<()>("both", 5).unwrap();
        co.emit("both", 5).unwrap();
        assert_eq!(log(&co, "both"), [""; 0]);
        is_mistyped(co.emit("both", 5), "both", "i32", "u64");
        for _ in 0..5 {
            co.call::<()>("both", 5).unwrap();
        }
        is_mistyped(co.call::<()>("both", 5_u64), "both", "u64", "i32");
        co.emit("both", 5_u64).unwrap();
        assert_eq!(log(&co, "both"), ["5"]);
    });
}

// ---- an end that only emits --------------------------------------------------------------------

/// Registers another handler for "n" with each event "next".
fn changing(parent: Coprocess) {
    let log = Log::default();
    log.serve(&parent);
    log.listen::<u64>(&parent, "n");
    let (own, turn) = (parent.downgrade(), AtomicU64::new(0));
    parent.listen("next", move |()| {
        let parent = own.upgrade().unwrap();
        match turn.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => log.listen::<i32>(&parent, "n"),
            _ => log.listen::<u64>(&parent, "n"),
        }
    });
}

/// It hears of what is refused, and of what is welcome again, without a look at anything else.
#[test]
fn an_end_that_never_dispatches() {
    within(LIMIT, || {
        let co = coprocess::fork(changing).unwrap();
        for _ in 0..5 {
            let mut lost = 0;
            eventually("values of a wrong type are refused", || match co.emit("n", -1) {
                Ok(()) => {
                    lost += 1;
                    false
                }
                refused => {
                    is_mistyped(refused, "n", "i32", "u64");
                    true
                }
            });
            assert!(lost > 0, "the first one is sent");
            is_mistyped(co.emit("n", -1), "n", "i32", "u64");
            co.emit("next", ()).unwrap();
            eventually("they are welcome", || co.emit("n", -1).is_ok());
            eventually("those of the former type are not", || co.emit("n", 7_u64).is_err());
            is_mistyped(co.emit("n", 7_u64), "n", "u64", "i32");
            co.emit("next", ()).unwrap();
            eventually("they are welcome again", || co.emit("n", 7_u64).is_ok());
        }
        // Now it does look: none was read as something else.
        let seen = log(&co, "n");
        assert!(seen.iter().all(|value| value == "-1" || value == "7"), "{seen:?}");
        assert!(seen.iter().filter(|value| *value == "-1").count() >= 5);
    });
}

/// The listener refuses. Without one, events are dropped; with another one, all is new.
#[test]
fn a_listener_that_goes_and_another_one() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            let own = parent.downgrade();
            parent.serve("listen", move |kind: u32| {
                let parent = own.upgrade().unwrap();
                match kind {
                    0 => drop(parent.unlisten("n")),
                    1 => log.listen::<u64>(&parent, "n"),
                    2 => log.listen::<i32>(&parent, "n"),
                    3 => log.listen::<Option<i32>>(&parent, "n"),
                    _ => log.listen::<String>(&parent, "n"),
                }
            });
        })
        .unwrap();
        let listen = |kind: u32| co.call::<()>("listen", kind).unwrap();
        let emitted = |expected: &[&str]| {
            // One that may be lost, and what comes of the next.
            let first = co.emit("n", 5).is_ok();
            let seen = log(&co, "n");
            assert_eq!(seen, expected);
            (first, co.emit("n", 5).is_ok(), drop(log(&co, "n")))
        };
        for _ in 0..10 {
            listen(2);
            assert_eq!(emitted(&["5"]), (true, true, ()));
            listen(1);
            assert_eq!(emitted(&[]), (true, false, ()));
            listen(3);
            assert_eq!(emitted(&[]), (true, false, ()));
            listen(4);
            assert_eq!(emitted(&[]), (true, false, ()));
            listen(2);
            assert_eq!(emitted(&["5"]), (true, true, ()));
            listen(0);
            assert_eq!(emitted(&[]), (true, true, ()));
        }
    });
}

// ---- every form --------------------------------------------------------------------------------

fn forms(end: &Coprocess) {
    end.serve("serve", |n: u64| n)
        .try_serve("try", |n: u64| if n < 100 { Ok(n) } else { Err("too many") })
        .serve_deferred("deferred", |n: u64, reply: Reply<u64>| {
            drop(thread::spawn(move || reply.send(n)))
        })
        .serve("result", |()| -5);
    Method::<u64, u64>::new("method").serve(end, |n| n);
    Method::<u64, u64>::new("try method").try_serve(end, Ok::<u64, String>);
    Method::<u64, u64>::new("deferred method").serve_deferred(end, |n, reply| drop(reply.send(n)));
}

/// Calls a method in every form.
fn call_in_every_form<R: DeserializeOwned + Send + 'static>(
    co: &Coprocess,
    name: &str,
    args: impl Serialize + Clone,
) -> Vec<coprocess::Result<R>> {
    let (sender, results) = mpsc::channel();
    co.call_with(name, args.clone(), move |result| sender.send(result).unwrap()).unwrap();
    let mut waited: coprocess::Pending<R> = co.start(name, args.clone()).unwrap();
    let waited = loop {
        if let Some(result) = waited.wait_for(Duration::from_millis(10)).transpose() {
            break result;
        }
    };
    vec![
        next(&results),
        waited,
        co.call(name, args.clone()),
        co.call_timeout(name, args.clone(), LIMIT),
        co.start(name, args.clone()).unwrap().wait(),
        co.start(name, args.clone()).unwrap().wait_timeout(LIMIT),
        block_on(co.start(name, args.clone()).unwrap()),
        block_on(co.call_async(name, args.clone())),
        block_on(co.call_async_timeout(name, args, LIMIT)),
    ]
}

#[test]
fn calls_in_every_form() {
    within(LIMIT, || {
        let co = common::patient().fork(|parent| forms(&parent)).unwrap();
        for round in 0..3_u64 {
            for name in ["serve", "try", "deferred", "method", "try method", "deferred method"] {
                for result in call_in_every_form::<u64>(&co, name, 5) {
                    is_mistyped(result, name, "i32", "u64");
                }
                for result in call_in_every_form::<u64>(&co, name, round) {
                    assert_eq!(result.unwrap(), round);
                }
                for result in call_in_every_form::<i64>(&co, name, round) {
                    is_mistyped(result, name, "u64", "i64 as its result");
                }
                for result in call_in_every_form::<Vec<u64>>(&co, name, 5) {
                    is_mistyped(result, name, "i32", "u64");
                }
            }
            for result in call_in_every_form::<u64>(&co, "result", ()) {
                is_mistyped(result, "result", "i32", "u64 as its result");
            }
            for result in call_in_every_form::<i64>(&co, "result", ()) {
                assert_eq!(result.unwrap(), -5);
            }
            assert_matches!(co.call::<u64>("try", 100_u64), Err(Error::Remote { message, .. }) if message == "too many");
        }
        // Each with a name that was not used before.
        let wrong = Method::<i32, u64>::new("serve");
        is_mistyped(wrong.call(&co, 5), "serve", "i32", "u64");
        is_mistyped(wrong.call_timeout(&co, 5, LIMIT), "serve", "i32", "u64");
        is_mistyped(wrong.start(&co, 5).unwrap().wait(), "serve", "i32", "u64");
        is_mistyped(block_on(wrong.call_async(&co, 5)), "serve", "i32", "u64");
        let (sender, results) = mpsc::channel();
        wrong.call_with(&co, 5, move |result| sender.send(result).unwrap()).unwrap();
        is_mistyped(next(&results), "serve", "i32", "u64");
        is_mistyped(
            Method::<u64, i64>::new("method").call(&co, 5),
            "method",
            "u64",
            "i64 as its result",
        );
    });
}

/// As the first use of a name, each form finds it, too.
#[test]
fn calls_in_every_form_as_the_first() {
    within(LIMIT, || {
        for form in 0..9 {
            let co = common::patient().fork(|parent| forms(&parent)).unwrap();
            let (sender, results) = mpsc::channel();
            let result: coprocess::Result<u64> = match form {
                0 => co.call("serve", 5),
                1 => co.call_timeout("serve", 5, LIMIT),
                2 => co.start("serve", 5).unwrap().wait(),
                3 => co.start("serve", 5).unwrap().wait_timeout(LIMIT),
                4 => co.start("serve", 5).unwrap().wait_for(LIMIT).map(Option::unwrap),
                5 => block_on(co.start("serve", 5).unwrap()),
                6 => block_on(co.call_async("serve", 5)),
                7 => block_on(co.call_async_timeout("serve", 5, LIMIT)),
                _ => {
                    co.call_with("serve", 5, move |result| sender.send(result).unwrap()).unwrap();
                    next(&results)
                }
            };
            is_mistyped(result, "serve", "i32", "u64");
            assert_eq!(co.call::<u64>("serve", 5_u64).unwrap(), 5);
        }
    });
}

/// Emits in one form.
type Emit = fn(&Coprocess, &str, &dyn Fn() -> i32) -> coprocess::Result<()>;

const EMITS: [(&str, Emit); 12] = [
    ("emit", |co, name, n| co.emit(name, n())),
    ("try_emit", |co, name, n| co.try_emit(name, n())),
    ("emit_timeout", |co, name, n| co.emit_timeout(name, n(), LIMIT)),
    ("emit_async", |co, name, n| block_on(co.emit_async(name, n()))),
    ("emit_async_timeout", |co, name, n| block_on(co.emit_async_timeout(name, n(), LIMIT))),
    ("event", |co, name, n| co.event(name).emit(n())),
    ("event that fails", |co, name, n| co.event(name).backpressure(Backpressure::Fail).emit(n())),
    ("event that drops", |co, name, n| {
        co.event(name).backpressure(Backpressure::DropNewest).emit(n())
    }),
    ("event that keeps the latest", |co, name, n| {
        co.event(name).backpressure(Backpressure::KeepLatest).emit(n())
    }),
    ("event that is awaited", |co, name, n| block_on(co.event(name).emit_async(n()))),
    ("awaited event that keeps the latest", |co, name, n| {
        block_on(co.event(name).backpressure(Backpressure::KeepLatest).emit_async(n()))
    }),
    ("reference", |co, name, n| {
        let n: &i32 = &n();
        co.emit(name, n)
    }),
];

#[test]
fn events_in_every_form() {
    within(LIMIT, || {
        let co = common::patient()
            .fork(|parent| {
                let log = Log::default();
                log.serve(&parent);
                for (name, _) in EMITS {
                    log.listen::<u64>(&parent, name);
                    log.listen::<i32>(&parent, &format!("right {name}"));
                }
            })
            .unwrap();
        for (name, emit) in EMITS {
            let before = co.stats().events_mistyped_by_peer;
            emit(&co, name, &|| 5).unwrap();
            assert_eq!(log(&co, name), [""; 0], "{name}");
            is_mistyped(emit(&co, name, &|| 5), name, "i32", "u64");
            is_mistyped(emit(&co, name, &|| 5), name, "i32", "u64");
            assert_eq!(log(&co, name), [""; 0], "{name}");
            assert_eq!(co.stats().events_mistyped_by_peer, before + 1, "{name}");
            let right = format!("right {name}");
            for n in 0..20 {
                emit(&co, &right, &|| n).unwrap();
                assert_eq!(log(&co, &right), [n.to_string()]);
            }
            co.emit(name, 5_u64).unwrap();
            assert_eq!(log(&co, name), ["5"], "{name}");
        }
        // Those of other forms are of the same name and type.
        for (_, emit) in EMITS.iter().take(11) {
            is_mistyped(emit(&co, "emit", &|| 5), "emit", "i32", "u64");
        }
    });
}

#[test]
fn topics() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            for name in 0..5 {
                log.listen::<Vec<u64>>(&parent, &name.to_string());
            }
        })
        .unwrap();
        let value = || vec![1, 2];
        let emits: [&dyn Fn(Topic<Vec<i32>>) -> coprocess::Result<()>; 5] = [
            &|topic| topic.emit(&co, value()),
            &|topic| topic.emit_ref(&co, &value()),
            &|topic| topic.try_emit(&co, value()),
            &|topic| topic.emit_timeout(&co, value(), LIMIT),
            &|topic| block_on(topic.emit_async(&co, value())),
        ];
        for (name, emit) in ["0", "1", "2", "3", "4"].into_iter().zip(emits) {
            emit(Topic::new(name)).unwrap();
            assert_eq!(log(&co, name), [""; 0]);
            is_mistyped(emit(Topic::new(name)), name, "[i32]", "[u64]");
            Topic::<Vec<u64>>::new(name).emit(&co, vec![1]).unwrap();
            assert_eq!(log(&co, name), ["[1]"]);
        }
    });
}

// ---- what a value shows ------------------------------------------------------------------------

/// Sends a value as the use of this number, after others that show less. Returns what came of it.
fn used_before<T: Serialize>(
    co: &Coprocess,
    name: &str,
    use_of: u32,
    little: &T,
    much: &T,
) -> coprocess::Result<String> {
    for number in 1..use_of {
        co.call::<String>(name, little)
            .unwrap_or_else(|error| panic!("use {number} of {name}: {error}"));
    }
    co.call(name, much)
}

/// Each value is looked at in builds for development; in others the first, the second, the fourth
/// and so on.
#[test]
fn what_shows_later_is_found_later() {
    #[derive(Serialize, Deserialize, Debug)]
    enum Message {
        Hello,
        Number(i32),
    }
    #[derive(Serialize, Deserialize, Debug)]
    #[serde(rename = "Message")]
    enum OfOldVersion {
        Hello,
        Number(u64),
    }
    fn worker(parent: Coprocess) {
        for number in 1..=20 {
            parent
                .serve(&format!("list {number}"), |list: Vec<u64>| format!("{list:?}"))
                .serve(&format!("option {number}"), |option: Option<u64>| format!("{option:?}"))
                .serve(&format!("enum {number}"), |message: OfOldVersion| format!("{message:?}"))
                .serve(&format!("map {number}"), |map: BTreeMap<u8, u64>| format!("{map:?}"));
        }
    }
    within(LIMIT, || {
        for check in [TypeCheck::FirstUse, TypeCheck::Always] {
            let co = Builder::new().check_types(check).fork(worker).unwrap();
            for number in 1..=20_u32 {
                let [list, option, of_enum, of_map] =
                    ["list", "option", "enum", "map"].map(|name| format!("{name} {number}"));
                let results = [
                    (used_before(&co, &list, number, &vec![], &vec![5]), "[i32]", "[u64]", "[10]"),
                    (
                        used_before(&co, &option, number, &None, &Some(5)),
                        "Option<i32>",
                        "Option<u64>",
                        "Some(10)",
                    ),
                    (
                        used_before(&co, &of_enum, number, &Message::Hello, &Message::Number(5)),
                        "Message::Number(i32)",
                        "Message::Number(u64)",
                        "Number(10)",
                    ),
                    (
                        used_before(&co, &of_map, number, &map([]), &map([(1_u8, 5)])),
                        "{u8: i32}",
                        "{u8: u64}",
                        "{1: 10}",
                    ),
                ];
                let is_looked_at = cfg!(debug_assertions)
                    || check == TypeCheck::Always
                    || number.is_power_of_two();
                for (name, (result, sent, wanted, otherwise)) in
                    [list, option, of_enum, of_map].iter().zip(results)
                {
                    if is_looked_at {
                        is_mistyped(result, name, sent, wanted);
                    } else {
                        assert_eq!(result.unwrap(), otherwise, "{name}");
                    }
                }
                // The next one that is looked at is found out, at the latest.
                let mut uses = number;
                eventually("it is found", || {
                    uses += 1;
                    co.call::<String>(&format!("list {number}"), vec![5]).is_err()
                });
                assert!(uses <= (number + 1).next_power_of_two(), "{uses} after {number}");
            }
        }
    });
}

/// As above, of results: they are looked at as their calls are.
#[test]
fn what_a_result_shows_later_is_found_later() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            for number in 1..=20 {
                let uses = AtomicU64::new(0);
                parent.serve(&format!("list {number}"), move |()| {
                    if uses.fetch_add(1, Ordering::SeqCst) + 1 < number { vec![] } else { vec![5] }
                });
            }
        })
        .unwrap();
        for number in 1..=20_u32 {
            let name = format!("list {number}");
            for _ in 1..number {
                assert_eq!(co.call::<Vec<u64>>(&name, ()).unwrap(), [0; 0]);
            }
            let result = co.call::<Vec<u64>>(&name, ());
            if cfg!(debug_assertions) || number.is_power_of_two() {
                is_mistyped(result, &name, "[i32]", "[u64] as its result");
                // From then on each one is looked at.
                for _ in 0..10 {
                    is_mistyped(
                        co.call::<Vec<u64>>(&name, ()),
                        &name,
                        "[i32]",
                        "[u64] as its result",
                    );
                }
            } else {
                assert_eq!(result.unwrap(), [10]);
            }
            assert_eq!(co.call::<Vec<i64>>(&name, ()).unwrap(), [5]);
        }
    });
}

/// An option that is serialized so often, and fails then.
struct Maybe(Option<i32>, Cell<u32>);

impl Serialize for Maybe {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(left) = self.1.get().checked_sub(1) else {
            return Err(serde::ser::Error::custom("often enough"));
        };
        self.1.set(left);
        self.0.serialize(serializer)
    }
}

/// What was looked at and not sent is still to be compared: no value that shows less stands for it.
#[test]
fn what_was_not_sent_is_still_to_be_found() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            log.listen::<Option<u64>>(&parent, "maybe");
            parent.serve("maybe", |option: Option<u64>| format!("{option:?}"));
        })
        .unwrap();
        let always = u32::MAX;
        let call = |value: Option<i32>, times: u32| {
            co.call::<String>("maybe", Maybe(value, Cell::new(times)))
        };
        assert_eq!(call(None, always).unwrap(), "None");
        // The second use is looked at, and then it cannot be encoded. The third one need not be
        // looked at.
        assert_matches!(call(Some(5), 1), Err(Error::Encode { .. }));
        assert_eq!(call(None, always).unwrap(), "None");
        is_mistyped(call(Some(5), always), "maybe", "Option<i32>", "Option<u64>");

        let emit =
            |value: Option<i32>, times: u32| co.emit("maybe", Maybe(value, Cell::new(times)));
        emit(None, always).unwrap();
        assert_matches!(emit(Some(5), 1), Err(Error::Encode { .. }));
        emit(None, always).unwrap();
        assert_eq!(log(&co, "maybe"), ["None", "None"]);
        emit(Some(5), always).unwrap();
        assert_eq!(log(&co, "maybe"), [""; 0]);
        is_mistyped(emit(Some(5), always), "maybe", "Option<i32>", "Option<u64>");
    });
}

/// As above: a value that was looked at, and is replaced before it is sent.
#[test]
fn what_was_replaced_is_still_to_be_found() {
    within(LIMIT, || {
        let gate = common::fresh_path("gate");
        let co = common::patient()
            .env("COPROCESS_TEST_GATE", &gate)
            .fork(|parent| {
                let log = Log::default();
                log.serve(&parent);
                log.listen::<Option<u64>>(&parent, "maybe");
                parent.serve("wait", |()| {
                    let gate =
                        std::path::PathBuf::from(std::env::var_os("COPROCESS_TEST_GATE").unwrap());
                    eventually("the gate opens", || gate.exists());
                });
            })
            .unwrap();
        let event = co.event("maybe").backpressure(Backpressure::KeepLatest);
        let waiting = co.start::<()>("wait", ()).unwrap();
        event.emit(None::<i32>).unwrap();
        event.emit(Some(5)).unwrap();
        event.emit(None::<i32>).unwrap();
        common::touch(&gate);
        waiting.wait().unwrap();
        // The first and the last value: the one between them was replaced.
        let mut seen = Vec::new();
        eventually("both have come", || {
            seen.extend(log(&co, "maybe"));
            seen.len() == 2
        });
        assert_eq!((seen, co.stats().events_replaced), (vec!["None".to_owned(); 2], 1));
        // The fourth use is looked at in every build.
        drop(event.emit(Some(5)));
        let seen = log(&co, "maybe");
        assert_eq!(seen, [""; 0]);
        is_mistyped(event.emit(Some(5)), "maybe", "Option<i32>", "Option<u64>");
        std::fs::remove_file(gate).unwrap();
    });
}

/// More kinds of one name and type than have numbers: the rest is told with each value.
#[test]
fn many_kinds_of_one_name_and_type() {
    type Many<T> = [Option<T>; 8];
    fn many<T: Copy>(bits: u8, value: T) -> Many<T> {
        std::array::from_fn(|bit| (bits >> bit & 1 == 1).then_some(value))
    }
    within(LIMIT, || {
        let co = Builder::new()
            .check_types(TypeCheck::Always)
            .fork(|parent| {
                let log = Log::default();
                log.serve(&parent);
                log.listen::<Many<u64>>(&parent, "right event");
                log.listen::<Many<u64>>(&parent, "wrong event");
                parent
                    .serve("options", |options: Many<u64>| options)
                    .serve("result", |bits: u8| many(bits, 5));
            })
            .unwrap();
        for _ in 0..2 {
            for bits in 0..=255 {
                let right = many(bits, 5_u64);
                assert_eq!(co.call::<Many<u64>>("options", right).unwrap(), right);
                assert_eq!(co.call::<Many<u64>>("options", many(bits, 5_u32)).unwrap(), right);
                co.emit("right event", right).unwrap();
                assert_eq!(log(&co, "right event"), [format!("{right:?}")]);
                assert_eq!(co.call::<Many<i64>>("result", bits).unwrap(), many(bits, 5));
                let wrong = co.call::<Many<u64>>("options", many(bits, 5));
                let wrong_result = co.call::<Many<u64>>("result", bits);
                let emitted = co.emit("wrong event", many(bits, 5));
                let seen = log(&co, "wrong event");
                if bits == 0 {
                    assert_eq!((wrong.unwrap(), wrong_result.unwrap()), (right, right));
                    emitted.unwrap();
                    assert_eq!(seen, [format!("{right:?}")]);
                } else {
                    assert_matches!(wrong, Err(Error::Types { .. }));
                    assert_matches!(wrong_result, Err(Error::Types { .. }));
                    assert_matches!(emitted, Ok(()) | Err(Error::Types { .. }));
                    assert_eq!(seen, [""; 0]);
                }
            }
        }
    });
}

/// The next event of a wrong type is an error, also of kinds that have no number any more.
#[test]
fn kinds_without_a_number_are_refused_as_well() {
    type Options<T> = ([Option<T>; 8], Option<T>);
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            log.listen::<([Option<i32>; 8], Option<u64>)>(&parent, "options");
        })
        .unwrap();
        let options = |bits: u8, value: Option<i32>| -> Options<i32> {
            (std::array::from_fn(|bit| (bits >> bit & 1 == 1).then_some(1)), value)
        };
        for bits in 0..200 {
            co.emit("options", options(bits, None)).unwrap();
        }
        assert_eq!(log(&co, "options").len(), 200);
        eventually("it is not handled", || {
            drop(co.emit("options", options(200, Some(5))));
            log(&co, "options").is_empty()
        });
        assert_matches!(co.emit("options", options(200, Some(5))), Err(Error::Types { .. }));
    });
}

// ---- what is not checked -----------------------------------------------------------------------

#[test]
fn bytes_have_no_types() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            log.listen::<u64>(&parent, "typed event");
            let seen = log.clone();
            parent
                .serve("typed", |n: u64| n)
                .serve_bytes("raw", |bytes| bytes.to_vec())
                .listen_bytes("raw event", move |bytes| seen.add("raw event", &bytes));
        })
        .unwrap();
        for _ in 0..5 {
            // An end that says nothing of types, and one that does.
            assert_eq!(co.call_bytes("typed", &[10]).unwrap(), [10]);
            assert_eq!(co.start_bytes("typed", &[10]).unwrap().wait().unwrap(), [10]);
            assert_eq!(block_on(co.call_bytes_async("typed", &[10])).unwrap(), [10]);
            co.emit_bytes("typed event", &[10]).unwrap();
            co.event("typed event").emit_bytes(&[11]).unwrap();
            block_on(co.emit_bytes_async("typed event", &[12])).unwrap();
            assert_eq!(log(&co, "typed event"), ["10", "11", "12"]);
            // And the other way round: what comes is what the value is encoded as.
            assert_eq!(co.call::<i32>("raw", 5).unwrap(), 5);
            assert_eq!(co.call::<u8>("raw", 5).unwrap(), 10);
            assert_eq!(co.call::<u64>("raw", 5).unwrap(), 10);
            assert_eq!(co.call_bytes("raw", &[1, 2]).unwrap(), [1, 2]);
            co.emit("raw event", 5).unwrap();
            co.emit("raw event", "a").unwrap();
            co.emit_bytes("raw event", &[1, 2]).unwrap();
            assert_eq!(log(&co, "raw event"), ["[10]", "[1, 97]", "[1, 2]"]);
            // In between, types are looked at as ever.
            assert_matches!(co.call::<u64>("typed", 5), Err(Error::Types { .. }));
            assert_eq!(co.call::<u64>("typed", 5_u64).unwrap(), 5);
        }
        co.emit("typed event", 5).unwrap();
        assert_eq!(log(&co, "typed event"), [""; 0]);
        is_mistyped(co.emit("typed event", 5), "typed event", "i32", "u64");
        co.emit_bytes("typed event", &[10]).unwrap();
        assert_eq!(log(&co, "typed event"), ["10"]);
        assert_eq!(co.stats().events_mistyped_by_peer, 1);
    });
}

/// Calls the parent with a value of another type. Returns what it has made of that.
fn calls_back(parent: Coprocess) {
    parent.serve("scale", |n: u64| n).listen("n", |_: u64| ());
    let own = parent.downgrade();
    parent.serve("back", move |()| {
        let parent = own.upgrade().unwrap();
        parent.call::<u64>("scale", 5).map_err(|error| error.to_string())
    });
}

/// What the parent asks for holds for both ends.
#[test]
fn when_types_are_compared_is_for_the_parent_to_say() {
    within(LIMIT, || {
        for check in [TypeCheck::FirstUse, TypeCheck::Always, TypeCheck::Off, TypeCheck::default()]
        {
            let co = Builder::new().check_types(check).fork(calls_back).unwrap();
            co.serve("scale", |n: u64| n);
            for _ in 0..5 {
                let there = co.call::<u64>("scale", 5).map_err(|error| error.to_string());
                let back = co.call::<Result<u64, String>>("back", ()).unwrap();
                assert_eq!(there, back);
                if check == TypeCheck::Off {
                    assert_eq!(there, Ok(10));
                    assert_eq!(co.call_bytes("scale", &[10]).unwrap(), [10]);
                    co.emit("n", 5).unwrap();
                    assert_eq!(co.call::<i64>("scale", 5_u64).unwrap(), -3);
                } else {
                    assert_eq!(
                        there,
                        Err("`scale` takes u64, but was sent i32: write 5_u64".to_owned())
                    );
                    is_mistyped(
                        co.call::<i64>("scale", 5_u64),
                        "scale",
                        "u64",
                        "i64 as its result",
                    );
                }
            }
            assert_eq!(co.stats().events_mistyped_by_peer, 0);
        }
    });
}

// ---- many names --------------------------------------------------------------------------------

/// A method and an event of each name, every one with another type than the one before it. Not all
/// are served.
#[test]
fn ten_thousand_names() {
    const NAMES: u32 = 10_000;
    const SERVED: u32 = 1500;
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            for number in 0..SERVED {
                let (name, event) = (format!("method {number}"), format!("event {number}"));
                match number % 4 {
                    0 => drop(parent.serve(&name, |n: u64| n.to_string())),
                    1 => drop(parent.serve(&name, |n: i64| n.to_string())),
                    2 => drop(parent.serve(&name, |text: String| text)),
                    _ => drop(parent.serve(&name, |(a, b): (u64, String)| format!("{a} {b}"))),
                }
                if number % 2 == 0 {
                    log.listen::<u64>(&parent, &event)
                } else {
                    log.listen::<i64>(&parent, &event)
                }
            }
        })
        .unwrap();
        for round in 0..3 {
            for number in 0..NAMES {
                let name = format!("method {number}");
                let check = |takes: bool, result: coprocess::Result<String>, text: &str| match (
                    number < SERVED,
                    takes,
                ) {
                    (false, _) => assert_matches!(result, Err(Error::MethodNotFound { .. })),
                    (true, true) => assert_eq!(result.unwrap(), text, "{name}, {round}"),
                    (true, false) => assert_matches!(result, Err(Error::Types { .. })),
                };
                check(number % 4 == 0, co.call(&name, u64::from(number)), &number.to_string());
                check(number % 4 == 1, co.call(&name, i64::from(number)), &number.to_string());
                if number < SERVED {
                    check(number % 4 == 2, co.call(&name, "text"), "text");
                    check(number % 4 == 3, co.call(&name, (5_u64, "text")), "5 text");
                }
                let event = format!("event {number}");
                let (unsigned, signed) =
                    (co.emit(&event, u64::from(number)), co.emit(&event, i64::from(number)));
                if number >= SERVED {
                    unsigned.unwrap();
                    signed.unwrap();
                } else {
                    let (right, wrong) =
                        if number % 2 == 0 { (unsigned, signed) } else { (signed, unsigned) };
                    right.unwrap();
                    assert_matches!(wrong, Ok(()) | Err(Error::Types { .. }));
                    assert_eq!(log(&co, &event), [number.to_string()]);
                }
            }
            assert_eq!(
                co.stats().events_mistyped_by_peer,
                SERVED.into(),
                "the others are errors here"
            );
        }
    });
}

/// More names than there are numbers: what has none tells its kinds with each message.
#[test]
fn seventy_thousand_names() {
    within(LIMIT, || {
        let co = common::patient()
            .fork(|parent| {
                let log = Log::default();
                log.serve(&parent);
                log.listen::<u64>(&parent, "last event");
                parent.serve("last", |n: u64| n).serve("result", |()| 5);
                parent.serve("sync", |()| ());
            })
            .unwrap();
        for number in 0..70_000_u32 {
            co.emit(&format!("{number}"), 5_u8).unwrap();
            if number % 1000 == 0 {
                co.call::<()>("sync", ()).unwrap();
            }
        }
        for _ in 0..10 {
            is_mistyped(co.call::<u64>("last", 5), "last", "i32", "u64");
            assert_eq!(co.call::<u64>("last", 5_u64).unwrap(), 5);
            is_mistyped(co.call::<u64>("result", ()), "result", "i32", "u64 as its result");
            assert_eq!(co.call::<i64>("result", ()).unwrap(), 5);
            is_mistyped(co.call::<i64>("last", 5_u64), "last", "u64", "i64 as its result");
            assert_matches!(co.emit("last event", 5), Ok(()) | Err(Error::Types { .. }));
            co.emit("last event", 5_u64).unwrap();
            assert_eq!(log(&co, "last event"), ["5"]);
        }
        for number in [0_u32, 1, 65_535, 65_536, 69_999] {
            co.emit(&format!("{number}"), 5_u8).unwrap();
            co.emit(&format!("{number}"), "text").unwrap();
        }
        assert_matches!(co.emit("last event", 5), Err(Error::Types { .. }));
        co.call::<()>("sync", ()).unwrap();
        assert!(co.close().unwrap().unwrap().success());
    });
}

#[test]
fn names_of_every_length() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            for length in [0, 1, 7, 8, 9, 15, 16, 1023, 1024, 1025, 5000, 100_000] {
                let log = Log::default();
                let name = "x".repeat(length);
                parent.serve(&name, |n: u64| n);
                log.listen::<u64>(&parent, &name);
                parent.serve(&format!("log {length}"), move |()| log.take(&"x".repeat(length)));
            }
        })
        .unwrap();
        for length in [0_usize, 1, 7, 8, 9, 15, 16, 1023, 1024, 1025, 5000, 100_000] {
            let name = "x".repeat(length);
            for _ in 0..4 {
                assert_matches!(co.call::<u64>(&name, 5), Err(Error::Types { name: ref of, .. }) if *of == name);
                assert_eq!(co.call::<u64>(&name, 5_u64).unwrap(), 5);
                assert_matches!(co.emit(&name, 5), Ok(()) | Err(Error::Types { .. }));
                co.emit(&name, 5_u64).unwrap();
                assert_eq!(
                    co.call::<Vec<String>>(&format!("log {length}"), ()).unwrap(),
                    ["5"],
                    "{length}"
                );
            }
            assert_matches!(co.emit(&name, 5), Err(Error::Types { name: ref of, .. }) if *of == name);
        }
    });
}

// ---- threads -----------------------------------------------------------------------------------

/// The same names and others, with types that fit and others, at once.
#[test]
fn threads_with_types_of_their_own() {
    within(LIMIT, || {
        for _ in 0..5 {
            let co = coprocess::fork(|parent| {
                for number in 0..4 {
                    parent.serve(&format!("own {number}"), move |n: u64| n + number);
                }
                parent
                    .serve("shared", |n: u64| n)
                    .serve("maybe", |n: Option<u64>| n)
                    .serve("result", |()| 5);
                let log = Log::default();
                log.serve(&parent);
                log.listen::<u64>(&parent, "event");
            })
            .unwrap();
            let start = std::sync::Barrier::new(4);
            thread::scope(|scope| {
                for number in 0..4_u64 {
                    let (co, start) = (&co, &start);
                    scope.spawn(move || {
                        start.wait();
                        for round in 0..200 {
                            let own = format!("own {number}");
                            assert_eq!(co.call::<u64>(&own, round).unwrap(), round + number);
                            is_mistyped(co.call::<u64>(&own, -5), &own, "i32", "u64");
                            assert_eq!(
                                co.call::<u64>("shared", round + number).unwrap(),
                                round + number
                            );
                            is_mistyped(co.call::<u64>("shared", 5), "shared", "i32", "u64");
                            is_mistyped(
                                co.call::<String>("shared", 5_u64),
                                "shared",
                                "u64",
                                "string as its result",
                            );
                            is_mistyped(
                                co.call::<u64>("result", ()),
                                "result",
                                "i32",
                                "u64 as its result",
                            );
                            assert_eq!(co.call::<i64>("result", ()).unwrap(), 5);
                            // What shows its type, and what does not.
                            let option = (round % 2 == number % 2).then_some(5_u64);
                            assert_eq!(co.call::<Option<u64>>("maybe", option).unwrap(), option);
                            if cfg!(debug_assertions) {
                                let option = option.map(|n| n as i32);
                                match co.call::<Option<u64>>("maybe", option) {
                                    Ok(result) => assert_eq!((result, option), (None, None)),
                                    result => {
                                        is_mistyped(result, "maybe", "Option<i32>", "Option<u64>")
                                    }
                                }
                            }
                            if number % 2 == 0 {
                                co.emit("event", 7_u64).unwrap();
                            } else {
                                assert_matches!(
                                    co.emit("event", -7),
                                    Ok(()) | Err(Error::Types { .. })
                                );
                            }
                        }
                    });
                }
            });
            assert_eq!(log(&co, "event"), vec!["7"; 400]);
            is_mistyped(co.emit("event", -7), "event", "i32", "u64");
        }
    });
}

/// Threads that only emit: each hears that its values are refused, and none is handled.
#[test]
fn threads_that_only_emit() {
    within(LIMIT, || {
        for _ in 0..20 {
            let co = coprocess::fork(|parent| {
                let log = Log::default();
                log.serve(&parent);
                log.listen::<u64>(&parent, "n");
            })
            .unwrap();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| eventually("it is refused", || co.emit("n", -1).is_err()));
                }
            });
            is_mistyped(co.emit("n", -1), "n", "i32", "u64");
            co.emit("n", 1_u64).unwrap();
            assert_eq!(log(&co, "n"), ["1"]);
        }
    });
}

// ---- other handlers ----------------------------------------------------------------------------

/// Whatever the handler takes, it gets nothing else, and what it does take it gets.
#[test]
fn a_handler_of_another_type_in_its_place() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            let own = parent.downgrade();
            parent.serve("be", move |kind: u32| {
                let parent = own.upgrade().unwrap();
                match kind {
                    0 => drop(parent.serve("m", |n: u64| format!("{n:?}"))),
                    1 => drop(parent.serve("m", |n: i64| format!("{n:?}"))),
                    2 => drop(parent.serve("m", |n: u8| format!("{n:?}"))),
                    3 => drop(parent.serve("m", |n: Option<u8>| format!("{n:?}"))),
                    4 => drop(parent.serve("m", |n: bool| format!("{n:?}"))),
                    _ => drop(
                        parent.serve_bytes("m", |bytes| [&[bytes.len() as u8], bytes].concat()),
                    ),
                }
                match kind {
                    0 => log.listen::<u64>(&parent, "e"),
                    1 => log.listen::<i64>(&parent, "e"),
                    2 => log.listen::<u8>(&parent, "e"),
                    3 => log.listen::<Option<u8>>(&parent, "e"),
                    _ => log.listen::<bool>(&parent, "e"),
                }
            });
        })
        .unwrap();
        let random = common::Random::for_test("a_handler_of_another_type_in_its_place");
        let mut fits = [0_u32; 5];
        for _ in 0..common::rounds(2000) {
            let kind = random.below(5) as u32;
            co.call::<()>("be", kind).unwrap();
            for _ in 0..random.below(5) {
                let sent = random.below(5) as u32;
                let (result, emitted) = match sent {
                    0 => (co.call::<String>("m", 1_u64), co.emit("e", 1_u64)),
                    1 => (co.call::<String>("m", 1_i64), co.emit("e", 1_i64)),
                    2 => (co.call::<String>("m", 1_u8), co.emit("e", 1_u8)),
                    3 => (co.call::<String>("m", Some(1_u8)), co.emit("e", Some(1_u8))),
                    _ => (co.call::<String>("m", true), co.emit("e", true)),
                };
                let text = ["1", "1", "1", "Some(1)", "true"][kind as usize];
                let seen = log(&co, "e");
                if sent == kind {
                    fits[kind as usize] += 1;
                    assert_eq!(result.unwrap(), text);
                    emitted.unwrap();
                    assert_eq!(seen, [text]);
                } else {
                    assert_matches!(result, Err(Error::Types { .. }));
                    assert_matches!(emitted, Ok(()) | Err(Error::Types { .. }));
                    assert_eq!(seen, [""; 0]);
                }
            }
        }
        assert!(fits.iter().all(|count| *count > 0) || common::rounds(2000) < 100, "{fits:?}");
    });
}

/// A new handler reads the first value that shows all beside its kinds, not just the first one.
#[test]
fn a_new_handler_and_values_that_show_less() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            log.listen::<Option<i32>>(&parent, "maybe");
            let own = parent.downgrade();
            parent.serve("change", move |()| {
                log.listen::<Option<u64>>(&own.upgrade().unwrap(), "maybe")
            });
        })
        .unwrap();
        // After the eighth use, there are seven that are not looked at in a released build.
        for _ in 0..8 {
            co.emit("maybe", Some(5)).unwrap();
        }
        assert_eq!(log(&co, "maybe").len(), 8);
        co.call::<()>("change", ()).unwrap();
        for _ in 0..3 {
            co.emit("maybe", None::<i32>).unwrap();
        }
        assert_eq!(log(&co, "maybe"), ["None"; 3]);
        drop(co.emit("maybe", Some(5)));
        assert_eq!(log(&co, "maybe"), [""; 0]);
        is_mistyped(co.emit("maybe", Some(5)), "maybe", "Option<i32>", "Option<u64>");
    });
}

// ---- sizes -------------------------------------------------------------------------------------

/// What is said of types does not count where messages have a bound.
#[test]
fn messages_of_the_largest_size() {
    const MAX: usize = 10_000;
    fn worker(parent: Coprocess) {
        parent
            .serve("length", |bytes: ByteBuf| bytes.len())
            .serve("list", |list: Vec<u8>| list.len());
        parent.serve("bytes", |length: usize| ByteBuf::from(vec![1; length]));
        parent.serve("text", |length: usize| "x".repeat(length));
        let log = Log::default();
        log.serve(&parent);
        let seen = log.clone();
        parent.listen("event", move |bytes: ByteBuf| seen.add("event", &bytes.len()));
        for number in 0..64 {
            parent.serve(&number.to_string(), |list: Vec<u8>| list.len());
        }
    }
    // The largest value that is sent, if it has no types and if it has, each as the first use.
    fn largest(
        check: TypeCheck,
        send: impl Fn(&Coprocess, usize) -> coprocess::Result<()>,
    ) -> usize {
        let fits = |length: usize| {
            let co = Builder::new().max_message(MAX).check_types(check).fork(worker).unwrap();
            let first = send(&co, length).map_err(|error| error.to_string());
            let second = send(&co, length).map_err(|error| error.to_string());
            assert_eq!(first, second, "{check:?} {length}");
            first.is_ok()
        };
        let (mut fitting, mut not) = (0, 2 * MAX);
        while not - fitting > 1 {
            let middle = fitting.midpoint(not);
            if fits(middle) { fitting = middle } else { not = middle }
        }
        fitting
    }
    within(LIMIT, || {
        let sends: [fn(&Coprocess, usize) -> coprocess::Result<()>; 5] = [
            |co, length| {
                co.call::<usize>("length", Bytes::new(&vec![1; length]))
                    .map(|is| assert_eq!(is, length))
            },
            |co, length| {
                co.call::<usize>("list", vec![1_u8; length]).map(|is| assert_eq!(is, length))
            },
            |co, length| {
                co.call::<ByteBuf>("bytes", length).map(|bytes| assert_eq!(bytes.len(), length))
            },
            |co, length| {
                co.call::<String>("text", length).map(|text| assert_eq!(text.len(), length))
            },
            |co, length| co.emit("event", Bytes::new(&vec![1; length])),
        ];
        for (number, send) in sends.into_iter().enumerate() {
            let without = largest(TypeCheck::Off, send);
            let with = largest(TypeCheck::FirstUse, send);
            assert!(without > MAX - 200, "{without}");
            // A number takes no more room than a name.
            assert!(
                with >= without && with <= without + 32,
                "{number}: {with}, without the check {without}"
            );
        }
    });
}

/// What a small ring takes at once, it takes at once with types, too.
#[test]
fn what_a_small_ring_takes_at_once() {
    within(LIMIT, || {
        fn worker(parent: Coprocess) {
            parent.listen("event", |_: ByteBuf| ()).serve("sync", |()| ());
        }
        let sent = |check: TypeCheck, length: usize| {
            let co =
                Builder::new().ring_capacity(SMALL_RING).check_types(check).fork(worker).unwrap();
            co.call::<()>("sync", ()).unwrap();
            let value = vec![1; length];
            let mut result = co.try_emit("event", Bytes::new(&value));
            eventually("there is room", || {
                if matches!(result, Err(Error::Full)) {
                    result = co.try_emit("event", Bytes::new(&value));
                }
                !matches!(result, Err(Error::Full))
            });
            match result {
                Ok(()) => true,
                Err(Error::TooLarge { .. }) => false,
                other => panic!("{other:?}"),
            }
        };
        let co = Builder::new().ring_capacity(SMALL_RING).fork(worker).unwrap();
        // While it is sent, parts of it may be received.
        let Err(Error::TooLarge { max, .. }) = co.try_emit("event", Bytes::new(&vec![1; 1 << 20]))
        else {
            panic!("there is room")
        };
        // The head, the name, and the length.
        let fitting = max - 18;
        for length in (fitting - 40..=fitting).chain([0, 1, 100, fitting / 2]) {
            assert!(
                sent(TypeCheck::Off, length) && sent(TypeCheck::FirstUse, length),
                "{length} of {fitting}"
            );
        }
    });
}

/// Kinds that are longer than the smallest ring.
#[test]
fn values_with_long_kinds_in_a_small_ring() {
    type Wide = Vec<BTreeMap<String, (Option<u8>, Vec<Option<Shape>>)>>;
    fn wide(seed: usize) -> Wide {
        let shape = |n: usize| {
            [
                Shape::Empty,
                Shape::Circle(0.5),
                Shape::Line(1, 2),
                Shape::Box { width: 1, height: 2 },
            ][n % 4]
                .clone()
        };
        let list = |n: usize| (0..n % 9).map(|at| (at % 3 != 0).then(|| shape(at + n))).collect();
        (0..16)
            .map(|n| {
                (0..16)
                    .map(|at| (at.to_string(), ((at % 2 == 0).then_some(1), list(n + at + seed))))
                    .collect()
            })
            .collect()
    }
    within(LIMIT, || {
        let co = common::patient()
            .ring_capacity(SMALL_RING)
            .check_types(TypeCheck::Always)
            .fork(|parent| {
                parent.serve("echo", |wide: Wide| wide);
                let own = parent.downgrade();
                parent.listen("event", move |wide: Wide| {
                    own.upgrade().unwrap().emit("back", wide).unwrap()
                });
            })
            .unwrap();
        let back = inbox::<Wide>(&co, "back");
        for seed in 0..100 {
            let value = wide(seed);
            assert_eq!(co.call::<Wide>("echo", &value).unwrap(), value);
            co.emit("event", &value).unwrap();
            assert_eq!(next(&back), value);
        }
        assert!(co.close().unwrap().unwrap().success());
    });
}

// ---- what serde cannot do ----------------------------------------------------------------------

/// Bytes may be of a list of numbers, which shows with the first of them.
#[test]
fn bytes_and_lists_that_are_empty_at_first() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent
                .serve("list", |list: Vec<u64>| list)
                .serve("bytes", |bytes: ByteBuf| bytes.to_vec());
        })
        .unwrap();
        for _ in 0..3 {
            assert_eq!(co.call::<Vec<u64>>("list", Bytes::new(&[])).unwrap(), [0; 0]);
            is_mistyped(
                co.call::<Vec<u64>>("list", Bytes::new(&[200, 1])),
                "list",
                "bytes",
                "[u64]",
            );
            assert_eq!(co.call::<Vec<u8>>("bytes", Vec::<u64>::new()).unwrap(), [0; 0]);
            if cfg!(debug_assertions) {
                is_mistyped(co.call::<Vec<u8>>("bytes", vec![1_u64]), "bytes", "[u64]", "[u8]");
            }
        }
    });
}

/// A value that has no kinds, or that no message can be read as, fails as it did before.
#[test]
fn what_cannot_be_encoded_or_decoded() {
    #[derive(Debug)]
    struct Failing;
    impl Serialize for Failing {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not this one"))
        }
    }
    #[derive(Serialize, Deserialize, Debug)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
    }
    #[derive(Serialize, Deserialize, Debug)]
    struct Flat {
        #[serde(flatten)]
        inside: BTreeMap<String, u64>,
    }
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("sparse", |value: Vec<Sparse>| format!("{value:?}"));
            parent
                .serve("any", |_: u64| ())
                .serve("untagged", |value: Untagged| format!("{value:?}"));
        })
        .unwrap();
        // A field that is left out would be read as the next one.
        let sparse = |y| Sparse { x: 1, y };
        for values in [vec![sparse(None)], vec![sparse(Some(1)), sparse(None), sparse(Some(0))]] {
            match co.call::<String>("sparse", values) {
                Err(error @ Error::Encode { .. }) => {
                    assert!(error.to_string().contains("field `y` is left out"), "{error}")
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            co.call::<String>("sparse", vec![sparse(Some(2))]).unwrap(),
            "[Sparse { x: 1, y: Some(2) }]"
        );
        for _ in 0..3 {
            assert_matches!(co.call::<()>("any", Failing), Err(Error::Encode { source, .. }) if source.to_string() == "not this one");
            assert_matches!(co.emit("any", Failing), Err(Error::Encode { .. }));
            assert_matches!(
                co.call::<()>("any", Flat { inside: map([("a".to_owned(), 1)]) }),
                Err(Error::Encode { .. })
            );
            assert_matches!(
                co.call::<String>("untagged", Untagged::Number(5)),
                Err(Error::Remote { .. })
            );
            co.call::<()>("any", Untagged::Number(5)).unwrap();
        }
    });
}

/// A panic of the user's in the midst of it spoils that value only.
#[test]
fn a_value_that_panics() {
    #[derive(Debug)]
    struct Panicking(bool);
    impl Serialize for Panicking {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            assert!(!self.0, "expected: a value that panics");
            serializer.serialize_u64(5)
        }
    }
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("n", |n: u64| n);
        })
        .unwrap();
        for _ in 0..3 {
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                co.call::<u64>("n", Panicking(true))
            }));
            assert!(unwound.is_err());
            assert_eq!(co.call::<u64>("n", Panicking(false)).unwrap(), 5);
            is_mistyped(co.call::<i64>("n", Panicking(false)), "n", "u64", "i64 as its result");
        }
    });
}

/// A value may itself use the pair while it is looked at.
#[test]
fn a_value_that_calls_while_it_is_looked_at() {
    struct Calling<'c>(&'c Coprocess, u32);
    impl Serialize for Calling<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Calling(co, depth) = *self;
            let inside =
                if depth == 0 { 1 } else { co.call::<u64>("n", Calling(co, depth - 1)).unwrap() };
            serializer.serialize_u64(inside + 1)
        }
    }
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("n", |n: u64| n);
        })
        .unwrap();
        for depth in [0, 1, 3] {
            assert_eq!(co.call::<u64>("n", Calling(&co, depth)).unwrap(), u64::from(depth) + 2);
        }
        is_mistyped(co.call::<u64>("n", 5), "n", "i32", "u64");
    });
}

// ---- features ----------------------------------------------------------------------------------

#[cfg(feature = "tokio")]
#[test]
fn handlers_that_are_tasks() {
    within(LIMIT, || {
        let co = common::patient()
            .fork(|parent| {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
                parent.serve_async(runtime.handle(), "async", |n: u64| async move { n });
                parent.try_serve_async(runtime.handle(), "try async", |n: u64| async move {
                    Ok::<u64, String>(n)
                });
                std::mem::forget(runtime);
            })
            .unwrap();
        for round in 0..3_u64 {
            for name in ["async", "try async"] {
                for result in call_in_every_form::<u64>(&co, name, 5) {
                    is_mistyped(result, name, "i32", "u64");
                }
                for result in call_in_every_form::<i64>(&co, name, round) {
                    is_mistyped(result, name, "u64", "i64 as its result");
                }
                for result in call_in_every_form::<u64>(&co, name, round) {
                    assert_eq!(result.unwrap(), round);
                }
            }
        }
    });
}

/// An interface serves by names, too: a caller that uses the names by hand is held to its types.
#[cfg(feature = "interface")]
mod interface {
    use super::*;

    #[coprocess::interface]
    trait Scale {
        fn scale(&self, value: u64, factor: u64) -> u64;
        fn name(&self, point: &Point, text: &str) -> String;
        #[event]
        fn note(&self, n: u64);
    }

    struct Served(Log);

    impl Scale for Served {
        fn scale(&self, value: u64, factor: u64) -> u64 {
            value * factor
        }

        fn name(&self, point: &Point, text: &str) -> String {
            format!("{text} {}", point.y)
        }

        fn note(&self, n: u64) {
            self.0.add("note", &n);
        }
    }

    #[test]
    fn both_ends_of_an_interface() {
        within(LIMIT, || {
            let co = common::patient()
                .fork(|parent| {
                    let log = Log::default();
                    log.serve(&parent);
                    Scale::serve(Served(log), &parent);
                })
                .unwrap();
            let client = ScaleClient::new(&co).unwrap();
            for n in 0..20 {
                assert_eq!(client.scale(n, 2).unwrap(), 2 * n);
                assert_eq!(client.name(&Point { x: 1, y: 2 }, "a").unwrap(), "a 2");
                client.note(n).unwrap();
                assert_eq!(log(&co, "note"), [n.to_string()]);
                is_mistyped(
                    co.call::<u64>("Scale.scale", (5, 2)),
                    "Scale.scale",
                    "(i32, i32)",
                    "(u64, ..)",
                );
                is_mistyped(co.call::<u64>("Scale.scale", 5_u64), "Scale.scale", "u64", "(_, _)");
                is_mistyped(
                    co.call::<i64>("Scale.scale", (5_u64, 2_u64)),
                    "Scale.scale",
                    "u64",
                    "i64 as its result",
                );
                assert_eq!(co.call::<u64>("Scale.scale", (5_u64, 2_u64)).unwrap(), 10);
            }
        });
    }
}
