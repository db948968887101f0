use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, de};

use super::*;

fn shape<T: DeserializeOwned>() -> String {
    Named::<T>::shape().unwrap_or_else(|| "?".to_owned())
}

macro_rules! read {
    ($($item:item)*) => {$(
        #[derive(Deserialize)]
        #[allow(dead_code)]
        $item
    )*};
}

thread_local! {
    static MADE: Cell<u32> = const { Cell::new(0) };
}

/// Tells when it is made, in whatever way, and when it is dropped.
struct Loud;

impl Loud {
    fn new() -> Loud {
        MADE.set(MADE.get() + 1);
        Loud
    }
}

impl Default for Loud {
    fn default() -> Loud {
        Loud::new()
    }
}

impl Drop for Loud {
    fn drop(&mut self) {
        MADE.set(MADE.get() + 1);
    }
}

impl From<u8> for Loud {
    fn from(_: u8) -> Loud {
        Loud::new()
    }
}

impl<'de> Deserialize<'de> for Loud {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Loud, D::Error> {
        u8::deserialize(deserializer).map(Loud::from)
    }
}

#[test]
fn what_is_compared_of_types() {
    read! {
        struct Conf { a: u8, b: Vec<String>, name: String }
        enum Mode { A, B(u8), C { of: u8 } }
        struct Unit;
        struct Metres(f64);
        struct Rgb(u8, u8, u8);
        struct Nothing();
        struct Wrapper<T>(T);
        #[serde(transparent)] struct Clear { inside: Metres }
        #[serde(rename = "Other")] struct Renamed { #[serde(rename = "with spaces, and {these}")] a: u8 }
        #[serde(from = "Vec<Conf>")] struct Converted {}
        #[serde(untagged)] enum Untagged { A(u8) }
        struct Flat { #[serde(flatten)] inside: Conf }
    }
    impl From<Vec<Conf>> for Converted {
        fn from(_: Vec<Conf>) -> Converted {
            unreachable!()
        }
    }
    for (is, expected) in [
        (shape::<bool>(), "bool"),
        (shape::<usize>(), "u64"),
        (shape::<i128>(), "i128"),
        (shape::<NonZero<u16>>(), "u16"),
        (shape::<char>(), "char"),
        (shape::<()>(), "()"),
        (shape::<String>(), "string"),
        (shape::<PathBuf>(), "string"),
        (shape::<serde_bytes::ByteBuf>(), "bytes"),
        (shape::<Vec<u8>>(), "bytes"),
        (shape::<Option<Vec<Vec<u8>>>>(), "Option<[bytes, ..]>"),
        (shape::<Conf>(), "struct Conf {a, b, name}"),
        (shape::<Mode>(), "enum Mode {A, B, C}"),
        (shape::<Unit>(), "struct Unit"),
        (shape::<Metres>(), "struct Metres(f64)"),
        (shape::<Wrapper<Wrapper<Mode>>>(), "struct Wrapper(struct Wrapper(enum Mode {A, B, C}))"),
        (shape::<Rgb>(), "struct Rgb(..; 3)"),
        (shape::<Nothing>(), "struct Nothing(..; 0)"),
        (shape::<Clear>(), "struct Metres(f64)"),
        (shape::<Renamed>(), "struct Other {with\\u{20}spaces,\\u{20}and\\u{20}{these}}"),
        (shape::<Converted>(), "[struct Conf {a, b, name}, ..]"),
        (shape::<Untagged>(), "any"),
        (shape::<Flat>(), "{identifier: ..}"),
        (shape::<Box<Mutex<Conf>>>(), "struct Conf {a, b, name}"),
        (shape::<HashSet<Option<i8>>>(), "[Option<i8>, ..]"),
        (shape::<BTreeMap<Option<char>, Conf>>(), "{Option<char>: ..}"),
        (shape::<(Conf, u8)>(), "(struct Conf {a, b, name}, ..; 2)"),
        (shape::<[u8; 32]>(), "(u8, ..; 32)"),
        (shape::<[Loud; 0]>(), "(..; 0)"),
        (shape::<std::result::Result<Conf, Mode>>(), "Result::Ok(struct Conf {a, b, name}) or Result::Err(enum Mode {A, B, C})"),
        (shape::<std::result::Result<u8, std::result::Result<u16, Loud>>>(), "Result::Ok(u8) or Result::Err(Result::Err(u8))"),
        (
            shape::<Vec<Option<std::result::Result<Conf, ()>>>>(),
            "[Option<Result::Ok(struct Conf {a, b, name})>, ..] or [Option<Result::Err(())>, ..]",
        ),
        (shape::<Duration>(), "struct Duration {secs, nanos}"),
        (shape::<IpAddr>(), "enum IpAddr {V4, V6}"),
    ] {
        assert_eq!(is, expected);
    }
    assert_eq!(MADE.get(), 0);
}

#[test]
fn no_value_is_made_or_converted() {
    fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<u8, D::Error> {
        u8::deserialize(deserializer).inspect_err(|_| assert_eq!(MADE.get(), 0))
    }
    read! {
        struct Fields { a: Loud, #[serde(skip)] b: Loud }
        struct Skipped(#[serde(skip)] Loud, Loud, u8);
        #[derive(Default)] #[serde(default)] struct Defaulted(Loud, Loud);
        #[derive(Default)] #[serde(default)] struct DefaultedFields { a: Loud }
        struct OneSkipped(#[serde(skip)] Loud);
        #[derive(Default)] #[serde(default)] struct OneDefaulted(Loud);
        #[serde(from = "u8")] struct Converted(Loud);
        #[serde(transparent)] struct Clear { inside: u8, #[serde(skip)] loud: Loud }
        struct Through(#[serde(deserialize_with = "lenient")] u8);
        enum Variants { A(Loud), #[serde(other)] B }
        struct Flat { #[serde(default)] a: Loud, #[serde(flatten)] inside: BTreeMap<String, Loud> }
        #[derive(Default)] #[serde(default)] struct DefaultedFlat { a: Loud, #[serde(flatten)] inside: BTreeMap<String, Loud> }
    }
    impl From<u8> for Converted {
        fn from(_: u8) -> Self {
            Self(Loud::new())
        }
    }
    for (is, expected) in [
        (shape::<Loud>(), "u8"),
        (shape::<Vec<Loud>>(), "bytes"),
        (shape::<(Loud, Loud)>(), "(u8, ..; 2)"),
        (shape::<[Loud; 3]>(), "(u8, ..; 3)"),
        (shape::<[Loud; 0]>(), "(..; 0)"),
        (shape::<Fields>(), "struct Fields {a}"),
        // Of those that are left.
        (shape::<Skipped>(), "struct Skipped(..; 2)"),
        (shape::<Defaulted>(), "struct Defaulted(..; 2)"),
        (shape::<DefaultedFields>(), "struct DefaultedFields {a}"),
        (shape::<OneSkipped>(), "struct OneSkipped(u8)"),
        (shape::<OneDefaulted>(), "struct OneDefaulted(u8)"),
        (shape::<Converted>(), "u8"),
        (shape::<Clear>(), "u8"),
        (shape::<Through>(), "struct Through(u8)"),
        (shape::<Variants>(), "enum Variants {A, B}"),
        (shape::<Flat>(), "{identifier: ..}"),
        (shape::<DefaultedFlat>(), "{identifier: ..}"),
        (shape::<BTreeMap<String, Loud>>(), "{string: ..}"),
    ] {
        assert_eq!(is, expected);
    }
    assert_eq!(MADE.get(), 0);
}

#[test]
fn types_that_contain_themselves() {
    read! {
        struct List { next: Option<Box<List>> }
        struct Endless(Box<Endless>);
        struct Tree(Vec<Tree>);
        struct Long<T>(T);
    }
    assert_eq!(shape::<List>(), "struct List {next}");
    assert_eq!(shape::<Endless>(), format!("{}..{}", "struct Endless(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH)));
    let half = MAX_DEPTH / 2;
    assert_eq!(shape::<Tree>(), format!("{}..{}", "struct Tree([".repeat(half), ", ..])".repeat(half)));
    assert_eq!(shape::<Long<Long<u8>>>(), "struct Long(struct Long(u8))");
}

/// By hand much is possible.
#[test]
fn types_that_read_in_their_own_way() {
    macro_rules! by_hand {
        ($($name:ident $deserializer:ident $read:expr;)*) => {$(
            struct $name;

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>($deserializer: D) -> std::result::Result<$name, D::Error> {
                    $read
                }
            }
        )*};
    }
    struct Asks;
    impl<'de> Visitor<'de> for Asks {
        type Value = ();
        fn expecting(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            unreachable!("nothing is said of it")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> std::result::Result<(), A::Error> {
            assert!(sequence.next_element::<u8>().is_err() && sequence.next_element::<u16>().is_err());
            Ok(())
        }
        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
            assert!(map.next_value::<u8>().is_err() && map.next_key::<u16>().is_err() && map.next_entry::<u32, u32>().is_err());
            Ok(())
        }
        fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> std::result::Result<(), D::Error> {
            Ok(())
        }
    }
    by_hand! {
        Computed _deserializer Ok(Computed);
        Careless deserializer Ok(String::deserialize(deserializer).map_or(Careless, |_| Careless));
        Panics _deserializer panic!("in a Deserialize");
        Twice deserializer deserializer.deserialize_seq(Asks).map(|()| Twice);
        Pairs deserializer deserializer.deserialize_map(Asks).map(|()| Pairs);
        Huge deserializer deserializer.deserialize_tuple_struct("Huge", usize::MAX, Asks).map(|()| Huge);
        Blind deserializer deserializer.deserialize_newtype_struct("Blind", Asks).map(|()| Blind);
        Human deserializer if deserializer.is_human_readable() { Err(de::Error::custom("it is not")) } else { u8::deserialize(deserializer).map(|_| Human) };
    }
    for (is, expected) in [
        (shape::<Computed>(), "?"),
        (shape::<Careless>(), "string"),
        (shape::<Panics>(), "?"),
        (shape::<Vec<Panics>>(), "?"),
        (shape::<Twice>(), "bytes"),
        (shape::<Pairs>(), "{u16: ..}"),
        (shape::<Huge>(), "struct Huge(..; 18446744073709551615)"),
        (shape::<Blind>(), "struct Blind()"),
        (shape::<Human>(), "u8"),
    ] {
        assert_eq!(is, expected);
    }
}

#[test]
fn names_are_one_line_and_not_endless() {
    struct Odd;
    impl<'de> Deserialize<'de> for Odd {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Odd, D::Error> {
            struct Never;
            impl Visitor<'_> for Never {
                type Value = Odd;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("nothing")
                }
            }
            deserializer.deserialize_struct("A\n#?", &["", "é\0", LONG], Never)
        }
    }
    const LONG: &str = match str::from_utf8(&[b'x'; 1000]) {
        Ok(text) => text,
        Err(_) => "",
    };
    assert_eq!(shape::<Odd>(), format!("struct A\\n#? {{, \\u{{e9}}\\u{{0}}, {}}}", "x".repeat(MAX_NAME)));
}

#[test]
fn blocks_say_what_they_are_of() {
    mod one {
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        pub(super) struct Point {
            pub(super) x: f32,
            pub(super) y: f32,
        }
    }
    mod other {
        pub(super) mod deep {
            #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
            #[repr(C)]
            pub(in super::super) struct Point {
                pub(in super::super) y: f32,
                pub(in super::super) x: f32,
            }
        }
    }
    use crate::Block;
    read!(
        struct Signal(#[serde(with = "crate::block")] Vec<u16>);
    );
    assert_eq!(shape::<Block<f32>>(), "block of f32, 4 bytes at multiples of 4");
    assert_eq!(shape::<Block<[one::Point; 2]>>(), "block of [Point; 2], 16 bytes at multiples of 4");
    assert_eq!(shape::<Block<[one::Point; 2]>>(), shape::<Block<[other::deep::Point; 2]>>());
    assert_ne!(shape::<Block<one::Point>>(), shape::<Block<f64>>());
    assert_eq!(shape::<Signal>(), "struct Signal(block of u16, 2 bytes at multiples of 2)");
    let local = || {
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(transparent)]
        struct Inner(u8);
        shape::<Option<Block<std::num::Wrapping<Inner>>>>()
    };
    assert_eq!(local(), "Option<block of Wrapping<Inner>, 1 bytes at multiples of 1>");
}

/// As for the compiler's sake alone.
#[test]
fn what_cannot_be_read_is_not_known() {
    assert_eq!(Named::<Rc<Loud>>::shape(), None);
    assert_eq!(Named::<u8>::shape().as_deref(), Some("u8"));
    assert_eq!(Seen::custom("anything").to_string(), Seen.to_string());
}
