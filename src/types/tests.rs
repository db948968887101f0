use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use super::beside::Beside;
use super::kinds::{self, is_valid};
use super::record::record;
use super::show::show;
use crate::limits::MAX_KINDS;
use crate::sync::Mutex;
use crate::types::block::{Block, block};

fn decode_checked<T: DeserializeOwned>(
    bytes: &[u8],
    kinds: &[u8],
) -> Result<T, crate::wire::deserializer::DecodeError> {
    super::read::decode_checked(bytes, &Beside::new(kinds))
}

fn kinds_of(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    let mut kinds = Vec::new();
    assert!(record(value, &mut kinds));
    assert!(is_valid(&kinds), "{kinds:?}");
    kinds
}

fn read<T: DeserializeOwned>(value: &(impl Serialize + ?Sized)) -> Result<T, (String, String)> {
    let bytes = postcard::to_stdvec(value).expect("encodes");
    decode_checked(&bytes, &kinds_of(value)).map_err(|error| {
        let mismatch = error.mismatch().unwrap_or_else(|| panic!("{error}"));
        (mismatch.sent.clone(), mismatch.wanted.clone())
    })
}

#[track_caller]
fn fits<T: DeserializeOwned + PartialEq + Debug>(value: &(impl Serialize + ?Sized), as_value: T) {
    assert_eq!(read::<T>(value), Ok(as_value));
}

#[track_caller]
fn differs<T: DeserializeOwned + Debug>(
    value: &(impl Serialize + ?Sized),
    sent: &str,
    wanted: &str,
) {
    assert_eq!(read::<T>(value).map(drop), Err((sent.to_owned(), wanted.to_owned())));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: u64,
    y: i32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Swapped {
    y: i32,
    x: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Couple(u64, i32);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(f64),
    Line(u64, u64),
    Box { width: u32, height: u32 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum NewShape {
    Circle(f64),
    Empty,
    Line(u64, u64),
    Box { width: u32, height: u32 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    name: String,
    children: Vec<Tree>,
    parent: Option<Box<Tree>>,
}

fn tree(depth: u32) -> Tree {
    let children = (0..depth).map(tree).collect();
    let parent = (depth > 2).then(|| Box::new(tree(0)));
    Tree { name: format!("at {depth}"), children, parent }
}

#[test]
fn what_reads_the_same_value_fits() {
    fits(&5_i16, 5_i128);
    fits(&-5_i32, -5_i64);
    fits(&-5_i128, -5_i16);
    fits(&5_usize, 5_u16);
    fits(&5_u16, 5_u128);
    fits("text", String::from("text"));
    fits(&Cow::Borrowed("text"), String::from("text"));
    fits(&'x', 'x');
    fits(Bytes::new(&[1, 2]), vec![1_u8, 2]);
    fits(&[1_u8, 2][..], ByteBuf::from([1, 2]));
    fits(&Vec::<u8>::new(), ByteBuf::new());
    fits(Bytes::new(&[]), Vec::<u8>::new());
    fits(&Meters(0.5), 0.5);
    fits(&0.5, Meters(0.5));
    fits(&Box::new(Meters(0.5)), Meters(0.5));
    fits(&Point { x: 1, y: 2 }, (1_u64, 2_i32));
    fits(&(1_u64, 2_i32), Point { x: 1, y: 2 });
    fits(&Couple(1, 2), Point { x: 1, y: 2 });
    fits(&Point { x: 1, y: 2 }, Couple(1, 2));
    fits(&(1_u16, 2_i64), Couple(1, 2));
    fits(&Nothing, ());
    fits(&(), Nothing);
    fits(&HashMap::from([("a", 1_u64)]), BTreeMap::from([(String::from("a"), 1_u32)]));
    fits(&BTreeMap::<u8, u8>::new(), BTreeMap::<String, f64>::new());
    fits(&None::<u64>, None::<String>);
    fits(&Some(1_u32), Some(1_u64));
    fits(&Ok::<u64, String>(1), Ok::<u64, String>(1));
    fits(
        &[Shape::Empty, Shape::Circle(0.5), Shape::Line(1, 2)],
        [Shape::Empty, Shape::Circle(0.5), Shape::Line(1, 2)],
    );
    fits(&Shape::Box { width: 1, height: 2 }, Shape::Box { width: 1, height: 2 });
    fits(&NewShape::Line(1, 2), Shape::Line(1, 2));
    fits(&tree(5), tree(5));
    fits(&[1.0_f32; 30], [1.0_f32; 30]);
    fits(&block(&[1_u32, 2]), Block::from(vec![1_u32, 2]));
    fits(&block(&[1_u8, 2]), ByteBuf::from([1, 2]));
    fits(Bytes::new(&[1, 0, 0, 0]), Block::from(vec![1_u32]));
    let addresses = [std::net::IpAddr::from([127, 0, 0, 1]), std::net::IpAddr::from([0; 16])];
    fits(&addresses, addresses);
}

#[test]
fn what_reads_another_value_differs() {
    differs::<u64>(&5, "i32", "u64");
    differs::<i64>(&5_u64, "u64", "i64");
    differs::<u16>(&5_u8, "u8", "u16");
    differs::<u8>(&5_u16, "u16", "u8");
    differs::<i16>(&5_i8, "i8", "i16");
    differs::<i8>(&5_i16, "i16", "i8");
    differs::<i8>(&5_u8, "u8", "i8");
    differs::<f64>(&0.5_f32, "f32", "f64");
    differs::<f32>(&0.5_f64, "f64", "f32");
    differs::<u32>(&0.5_f32, "f32", "u32");
    differs::<u8>(&true, "bool", "u8");
    differs::<bool>(&1_u8, "u8", "bool");
    differs::<u64>(&Some(5_u64), "Option<u64>", "u64");
    differs::<Option<u64>>(&5_u64, "u64", "Option<_>");
    differs::<u64>(&None::<u64>, "Option<_>", "u64");
    differs::<String>(&'x', "char", "string");
    differs::<char>("x", "string", "char");
    differs::<String>(Bytes::new(b"x"), "bytes", "string");
    differs::<ByteBuf>("x", "string", "bytes");
    differs::<(u64, u64, u64)>(&(1_u64, 2_u64, 3), "(u64, u64, i32)", "(u64, u64, u64)");
    differs::<(u64, u64, u64)>(&(1_u64, 2, 3_u64), "(u64, i32, u64)", "(u64, u64, ..)");
    differs::<(u64, u64)>(&(1_u64, 2_u64, 3_u64), "(u64, u64, u64)", "(_, _)");
    differs::<Vec<u64>>(&[1_u64, 2], "(u64, u64)", "[_]");
    differs::<[u64; 2]>(&vec![1_u64, 2], "[u64]", "(_, _)");
    differs::<Vec<u64>>(&vec![1, 2], "[i32]", "[u64]");
    differs::<Vec<u16>>(Bytes::new(&[1]), "bytes", "[u16]");
    differs::<(u8, Vec<u16>)>(&(1_u8, Bytes::new(&[1])), "(u8, bytes)", "(u8, [u16])");
    differs::<(u64,)>(&1_u64, "u64", "(_,)");
    differs::<ByteBuf>(&vec![1_u16], "[u16]", "[u8]");
    differs::<Swapped>(&Point { x: 1, y: 2 }, "Point{x: u64, y: i32}", "Swapped{y, x}");
    differs::<Point>(&(1_u64, 2_u32), "(u64, u32)", "(u64, i32)");
    differs::<Meters>(&1_u64, "u64", "f64");
    differs::<u64>(&Meters(1.0), "Meters(f64)", "Meters(u64)");
    differs::<NewShape>(&Shape::Empty, "Shape::Empty", "enum NewShape{Circle, Empty, Line, Box}");
    differs::<Shape>(
        &NewShape::Circle(0.5),
        "NewShape::Circle(f64)",
        "enum Shape{Empty, Circle, Line, Box}",
    );
    differs::<u32>(&Shape::Empty, "Shape::Empty", "u32");
    differs::<Shape>(&0_u32, "u32", "enum Shape{Empty, Circle, Line, Box}");
    differs::<BTreeMap<String, u64>>(&BTreeMap::from([("a", 1)]), "{string: i32}", "{string: u64}");
    differs::<BTreeMap<u64, u64>>(&BTreeMap::from([("a", 1)]), "{string: i32}", "{u64: ..}");
    differs::<Vec<(String, u64)>>(&BTreeMap::from([("a", 1_u64)]), "{string: u64}", "[_]");
    let (sent, wanted) =
        ("block of u32, 4 bytes at multiples of 4", "block of f32, 4 bytes at multiples of 4");
    differs::<Block<f32>>(&block(&[1_u32]), sent, wanted);
    differs::<()>(&0_u8, "u8", "()");
    differs::<u8>(&(), "()", "u8");
}

#[test]
fn values_are_looked_at_as_deeply_as_they_go() {
    differs::<Vec<Option<u64>>>(&[None, Some(1)][..], "[Option<i32>]", "[Option<u64>]");
    differs::<Vec<Vec<u64>>>(&vec![vec![], vec![], vec![1]], "[[i32]]", "[[u64]]");
    #[derive(Serialize)]
    enum Old {
        Empty,
        Circle(f32),
    }
    fits(&vec![Old::Empty], vec![Shape::Empty]);
    let wanted = "[Old::Empty | Old::Circle(f64)]";
    differs::<Vec<Shape>>(
        &vec![Old::Empty, Old::Circle(1.0)],
        "[Old::Empty | Old::Circle(f32)]",
        wanted,
    );
    differs::<Tree>(
        &(String::new(), vec![(1_u8,)], None::<u8>),
        "(string, [(u8,)], Option<_>)",
        "(string, [(string,)], ..)",
    );
}

#[test]
fn kinds_of_other_values_of_the_type_do_no_harm() {
    type Values = Vec<(Option<Shape>, BTreeMap<u8, Option<u64>>)>;
    let shapes = || {
        [Shape::Empty, Shape::Circle(0.5), Shape::Line(1, 2), Shape::Box { width: 1, height: 2 }]
    };
    let values: Vec<Values> = (0..200_u64)
        .map(|i| {
            let of = |j: u64| {
                let map =
                    (0..(i + j) % 4).map(|k| (k as u8, (k % 2 == i % 2).then_some(k))).collect();
                (shapes().into_iter().nth(((i / 4 + j) % 5) as usize), map)
            };
            (0..i % 30).map(of).collect()
        })
        .collect();
    for told in &values {
        let kinds = kinds_of(told);
        for value in &values {
            let bytes = postcard::to_stdvec(value).expect("encodes");
            assert_eq!(&decode_checked::<Values>(&bytes, &kinds).expect("fits"), value);
        }
    }
}

/// Returns `true` if a value lacks a part that the kinds of another value describe.
fn is_partial<T: Serialize + DeserializeOwned>(value: &T, kinds_of_other: &T) -> bool {
    let (bytes, kinds) = (postcard::to_stdvec(value).expect("encodes"), kinds_of(kinds_of_other));
    let compared = Mutex::default();
    let beside = Beside::comparing(&kinds, &compared);
    super::read::decode_checked::<T>(&bytes, &beside).expect("fits");
    beside.is_partial()
}

#[test]
fn what_was_not_compared_is_known() {
    assert!(is_partial(&None, &Some(5)));
    assert!(is_partial(&vec![], &vec![5]));
    assert!(is_partial(&vec![None], &vec![None, Some(5)]));
    assert!(is_partial(&vec![None, None], &vec![None, Some(5)]));
    assert!(is_partial(&vec![Shape::Empty], &vec![Shape::Empty, Shape::Circle(0.5)]));
    assert!(is_partial(&BTreeMap::new(), &BTreeMap::from([(1, 2)])));
    assert!(is_partial(&Shape::Empty, &Shape::Circle(0.5)));
    assert!(is_partial(&(1, None), &(1, Some(Shape::Empty))));
    let compared = Mutex::default();
    let beside = Beside::comparing(b"y", &compared);
    super::read::decode_checked::<Vec<u64>>(&[0], &beside).expect("fits");
    assert!(beside.is_partial(), "it might be of bytes, or not");
    assert!(!is_partial(&Some(5), &Some(5)));
    assert!(!is_partial(&None::<u8>, &None));
    assert!(!is_partial(&Some(5), &None));
    assert!(!is_partial(&vec![5], &vec![]));
    assert!(!is_partial(&vec![5], &vec![5, 6]));
    assert!(!is_partial(&vec![None, Some(5), None], &vec![None, Some(5)]));
    assert!(!is_partial(&Shape::Circle(0.5), &Shape::Circle(1.5)));
    let shapes = || vec![Shape::Line(1, 2), Shape::Empty, Shape::Empty, Shape::Circle(0.5)];
    assert!(!is_partial(&shapes(), &shapes()));
    assert!(!is_partial(&tree(4), &tree(4)));
}

#[test]
fn what_elements_show_is_merged() {
    for (list, shown) in [
        (
            vec![Shape::Line(1, 2), Shape::Empty, Shape::Line(3, 4)],
            "[Shape::Empty | Shape::Line(u64, u64)]",
        ),
        (
            vec![Shape::Box { width: 1, height: 2 }, Shape::Circle(0.5)],
            "[Shape::Circle(f64) | Shape::Box{width: u32, height: u32}]",
        ),
        (vec![], "[_]"),
    ] {
        assert_eq!(show(&kinds_of(&list)), shown);
    }
    let maps = [
        BTreeMap::new(),
        BTreeMap::from([(None, vec![])]),
        BTreeMap::from([(Some(1_u8), vec![(0.5, Some('x')), (1.5, None)])]),
    ];
    assert_eq!(
        show(&kinds_of(&maps)),
        "({_: _}, {Option<_>: [_]}, {Option<u8>: [(f64, Option<char>)]})"
    );
    assert_eq!(show(&kinds_of(&maps.to_vec())), "[{Option<u8>: [(f64, Option<char>)]}]");
    let trees = show(&kinds_of(&vec![tree(1), tree(4)]));
    assert!(
        trees.starts_with("[Tree{name: string, children: [Tree{")
            && trees.contains("parent: Option<Tree{"),
        "{trees}"
    );

    #[derive(Serialize)]
    #[serde(untagged)]
    enum Untagged {
        Unsigned(u64),
        Signed(i64),
    }
    assert_eq!(show(&kinds_of(&vec![Untagged::Unsigned(1), Untagged::Unsigned(2)])), "[u64]");
    assert_eq!(show(&kinds_of(&vec![Untagged::Unsigned(1), Untagged::Signed(-5)])), "[_]");

    /// Serializes elements of several types, as a hand-written `Serialize` may.
    struct Motley;
    impl Serialize for Motley {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut list = serializer.serialize_seq(Some(3))?;
            list.serialize_element(&None::<u8>)?;
            list.serialize_element("text")?;
            list.serialize_element(&Some(1_u8))?;
            list.end()
        }
    }
    assert_eq!(show(&kinds_of(&Motley)), "[_]");
}

#[test]
fn what_differs_is_shown_of_long_types_too() {
    let long = |last: f32| (vec!["text"; 3], [[1_u64; 20]; 10], last, 5_u8);
    let (sent, wanted) =
        read::<(Vec<String>, [[u64; 20]; 10], f64, u8)>(&long(0.5)).expect_err("differs");
    assert!(sent.starts_with('…') && sent.ends_with("u64)), f32, u8)"), "{sent}");
    assert!(wanted.starts_with('…') && wanted.ends_with("u64)), f64, ..)"), "{wanted}");
    assert!(sent.len() < 300 && wanted.len() < 300);
    let large: Vec<u8> = kinds_of(&([0_u8; 32], Large, 5_i32));
    assert_eq!(
        show(&large).rsplit_once(", ").expect("several").1,
        "i32)",
        "what is before it does not count"
    );
}

/// Serializes a large array, as serde's helpers for large arrays do.
struct Large;

impl Serialize for Large {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut array = serializer.serialize_tuple(20_000)?;
        (0..20_000).try_for_each(|i: u64| array.serialize_element(&i))?;
        array.end()
    }
}

#[test]
fn many_elements_are_checked_to_the_end() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Colour {
        ARatherLongNameOfAColourThatTakesBytes,
        AnotherRatherLongNameOfAColour(Option<u8>),
    }
    let colours = |count: usize| -> Vec<Colour> {
        let colour = |i| {
            if i % 2 == 0 {
                Colour::ARatherLongNameOfAColourThatTakesBytes
            } else {
                Colour::AnotherRatherLongNameOfAColour(None)
            }
        };
        (0..count).map(colour).collect()
    };
    let value = (colours(100_000), Some(Point { x: 1, y: 2 }), vec![None::<Point>; 50_000], -5);
    let wanted = read::<(Vec<Colour>, Option<Point>, Vec<Option<Point>>, u32)>(&value)
        .expect_err("differs")
        .1;
    assert!(wanted.ends_with("u32)"), "{wanted}");
}

#[test]
fn errors_of_a_type_are_its_own() {
    #[derive(Debug, Deserialize)]
    struct Strict {
        #[serde(alias = "number")]
        _n: std::num::NonZeroU8,
    }
    #[derive(Serialize)]
    struct Lax {
        number: u8,
    }
    let error = decode_checked::<Strict>(&[0], &kinds_of(&Lax { number: 0 })).expect_err("zero");
    assert!(error.mismatch().is_none(), "{error}");

    /// Replaces what it cannot read by a default.
    #[derive(Debug)]
    struct Lenient;
    impl<'de> Deserialize<'de> for Lenient {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Lenient, D::Error> {
            let _ = u64::deserialize(deserializer);
            Ok(Lenient)
        }
    }
    differs::<Lenient>(&5_i32, "i32", "u64");

    #[derive(Debug, PartialEq, Deserialize)]
    enum Old {
        A,
        #[serde(other)]
        Unknown,
    }
    #[derive(Serialize)]
    enum New {
        A,
        B,
        C,
    }
    fits(&vec![New::A, New::B, New::C], vec![Old::A, Old::Unknown, Old::Unknown]);
}

#[test]
fn kinds_are_bounded() {
    let wide: Vec<Vec<Vec<Vec<Option<u8>>>>> = vec![vec![vec![vec![None; 20]; 20]; 20]; 20];
    assert!(kinds_of(&wide).len() < 5000);
    assert!(kinds_of(&vec![Some(0_u8); 100_000]).len() < 10);
    let long = "name".repeat(1000);
    let mut kinds = Vec::new();
    kinds::put_name(&mut kinds, &long);
    assert_eq!(kinds.len(), 2 + kinds::MAX_NAME);
    fits(&wide, wide.clone());

    #[derive(Serialize)]
    struct Deep(Option<Box<Deep>>);
    let mut deep = Deep(None);
    for _ in 0..1000 {
        deep = Deep(Some(Box::new(deep)));
    }
    assert!(is_valid(&kinds_of(&deep)));
    // Arrays: their kinds take more bytes than their types.
    assert_eq!(
        kinds_of(&[[[(); 32]; 32]; 32]).len().min(MAX_KINDS),
        kinds_of(&[[[(); 32]; 32]; 32]).len()
    );
}

#[test]
fn what_are_no_kinds_is_found_out() {
    for kinds in [
        &b""[..],
        b"bb",
        b"x",
        b"o",
        b"(",
        b"(\x02b",
        b"(\xff\xff\xff\xff\x7f",
        b"(\xff\xff\xff\xff\xff\xff",
        b"[",
        b"[bb",
        b"{b",
        b"{bbb",
        b"S\x01a\x01b",
        b"S\x01\xff\x00",
        b"N\x05abc",
        b"E\x01a\x01\x00\x01b",
        b"E\x01a\x02\x00\x01bu",
        b"E\x01a\xff\xff\xff\xff\x0f",
        b"B",
    ] {
        assert!(!is_valid(kinds), "{kinds:?}");
        // Invalid kinds do no harm.
        let _ = show(kinds);
        for bytes in [&b""[..], b"\x01", b"\x01\x01\x01\x01"] {
            let _ = decode_checked::<u8>(bytes, kinds);
            let _ = decode_checked::<Vec<Option<(u8, u16)>>>(bytes, kinds);
            let _ = decode_checked::<BTreeMap<u8, Shape>>(bytes, kinds);
            let _ = decode_checked::<Tree>(bytes, kinds);
        }
    }
    assert!(!is_valid(&[vec![kinds::OPTION; 1000], vec![kinds::BOOL]].concat()));
    assert!(!is_valid(&[vec![kinds::TUPLE, 0xff, 0xff, 0], vec![kinds::BOOL; MAX_KINDS]].concat()));
}

#[test]
fn blocks_say_what_they_are_of() {
    mod one {
        #[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        pub(super) struct Point {
            pub(super) x: f32,
            pub(super) y: f32,
        }
    }
    mod other {
        pub(super) mod deep {
            #[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
            #[repr(C)]
            pub(in super::super) struct Point {
                pub(in super::super) y: f32,
                pub(in super::super) x: f32,
            }
        }
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Signal(#[serde(with = "crate::block")] Vec<u16>);

    let point = [[one::Point { x: 1.0, y: 2.0 }; 2]];
    assert_eq!(show(&kinds_of(&block(&point))), "block of [Point; 2], 16 bytes at multiples of 4");
    // The paths of the types differ, and so do their fields. Neither is compared.
    fits(&block(&point), Block::from(vec![[other::deep::Point { y: 1.0, x: 2.0 }; 2]]));
    let (sent, wanted) =
        ("block of Point, 8 bytes at multiples of 4", "block of f64, 8 bytes at multiples of 8");
    differs::<Block<f64>>(&block(&point[0]), sent, wanted);
    fits(&Signal(vec![1, 2]), Block::from(vec![1_u16, 2]));
    assert_eq!(show(&kinds_of(&Signal(vec![]))), "Signal(block of u16, 2 bytes at multiples of 2)");
    let local = || {
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(transparent)]
        struct Inner(u8);
        show(&kinds_of(&Some(Block::from(vec![std::num::Wrapping(Inner(1))]))))
    };
    assert_eq!(local(), "Option<block of Wrapping<Inner>, 1 bytes at multiples of 1>");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Aka {
    #[serde(alias = "Begin", alias = "Open")]
    Start,
    #[serde(alias = "Close")]
    End(Option<Box<Aka>>),
    Pause,
}

#[test]
fn variants_may_have_several_names() {
    fits(&Aka::Pause, Aka::Pause);
    fits(&vec![Aka::Start, Aka::End(Some(Box::new(Aka::End(None)))), Aka::Pause], {
        vec![Aka::Start, Aka::End(Some(Box::new(Aka::End(None)))), Aka::Pause]
    });
    #[derive(Serialize)]
    enum Old {
        Open,
        Close(Option<u8>),
    }
    fits(&vec![Old::Close(None), Old::Open], vec![Aka::End(None), Aka::Start]);
    let wanted = "enum Aka{Begin, Open, Start, Close, End, Pause}";
    differs::<Aka>(
        &Old::Close(Some(1)),
        "Old::Close(Option<u8>)",
        &format!("Old::Close(Option<{wanted}>)"),
    );
    #[derive(Serialize)]
    enum Turned {
        Close(Option<u8>),
        Start,
    }
    differs::<Aka>(&Turned::Start, "Turned::Start", wanted);
    // These names have the order of the list, but two of them belong to one variant.
    #[derive(Serialize)]
    enum Same {
        Begin,
        Open(Option<u8>),
    }
    fits(&Same::Begin, Aka::Start);
    differs::<Aka>(&Same::Open(None), "Same::Open(Option<_>)", wanted);
    differs::<Aka>(&Turned::Close(None), "Turned::Close(Option<_>)", wanted);
}

#[test]
fn fields_may_have_several_names() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sum {
        #[serde(alias = "total", alias = "all")]
        sum: u64,
        count: u64,
    }
    #[derive(Serialize)]
    struct Old {
        total: u64,
        count: u64,
    }
    #[derive(Serialize)]
    struct Both {
        sum: u64,
        total: u64,
    }
    #[derive(Serialize)]
    struct Turned {
        count: u64,
        sum: u64,
    }
    #[derive(Serialize)]
    struct One {
        sum: u64,
    }
    #[derive(Serialize)]
    struct Three {
        sum: u64,
        count: u64,
        more: u64,
    }
    let wanted = "Sum{all, sum, total, count}";
    fits(&Sum { sum: 1, count: 2 }, Sum { sum: 1, count: 2 });
    fits(&Old { total: 1, count: 2 }, Sum { sum: 1, count: 2 });
    fits(&(1_u64, 2_u64), Sum { sum: 1, count: 2 });
    differs::<Sum>(&Both { sum: 1, total: 2 }, "Both{sum: u64, total: u64}", wanted);
    differs::<Sum>(&Turned { count: 1, sum: 2 }, "Turned{count: u64, sum: u64}", wanted);
    differs::<Sum>(&One { sum: 1 }, "One{sum: u64}", wanted);
    differs::<Sum>(
        &Three { sum: 1, count: 2, more: 3 },
        "Three{sum: u64, count: u64, more: u64}",
        wanted,
    );
}
