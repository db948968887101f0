//! Compares all examples of `docs/wire.md` with what this library writes, byte for byte.

use std::collections::BTreeMap;

use serde::Serialize;

use super::kinds::is_valid;
use super::record::record;
use crate::types::block::block;
use crate::wire::header::{CallId, Failure, Header, Number, Subject, as_bytes, split};
use crate::wire::message::Message;

#[derive(Serialize)]
struct Point {
    x: u64,
    y: i32,
}

#[derive(Serialize)]
struct Meters(f64);

#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    Count(Option<u64>),
    Word(&'static str),
}

#[derive(Serialize)]
enum Shape {
    Empty,
    Square(u32),
    Box { width: u32, height: u32 },
}

/// Returns the bytes in a part of the document, by their descriptions.
///
/// In a block of text, bytes stand before a semicolon, and their description behind it. Bytes that
/// take several lines have their description in the line before, which ends with a colon.
fn examples(from: &str, to: &str) -> BTreeMap<&'static str, Vec<u8>> {
    let document = include_str!("../../docs/wire.md");
    let (_, part) = document.split_once(from).expect("the part starts");
    let part = part.split_once(to).map_or(part, |(part, _)| part);
    let (mut examples, mut is_text, mut title) = (BTreeMap::<_, Vec<u8>>::new(), false, None);
    for line in part.lines() {
        match line {
            "```text" => is_text = true,
            "```" | "" => {
                is_text &= line.is_empty();
                title = None;
            }
            _ if !is_text => {}
            _ if line.ends_with(':') => title = line.strip_suffix(':'),
            _ => {
                let Some((bytes, comment)) = line.split_once(';') else { continue };
                let bytes = bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok());
                // A drawing has semicolons, too: skip what is not bytes.
                let Some(bytes) = bytes.collect::<Option<Vec<u8>>>() else { continue };
                examples.entry(title.unwrap_or(comment.trim())).or_default().extend(bytes);
            }
        }
    }
    examples
}

/// Takes the example of this name, and compares it with the bytes that were written.
#[track_caller]
fn compare(examples: &mut BTreeMap<&'static str, Vec<u8>>, name: &str, written: &[u8]) {
    let told = examples.remove(name).unwrap_or_else(|| panic!("{name} is not in the document"));
    assert!(told == written, "{name}: the document says {told:02x?}, and it is {written:02x?}");
}

/// Compares the example of this name with a message whose payload is a value.
#[track_caller]
fn message(
    examples: &mut BTreeMap<&'static str, Vec<u8>>,
    name: &str,
    header: Header<'_>,
    value: &impl Serialize,
) {
    let mut message = Message::new();
    message.encode(header, value, usize::MAX, name).expect("encodes");
    let bytes = as_bytes(message.words(), message.bytes());
    compare(examples, name, bytes);
    assert_eq!(split(message.words(), message.bytes()).expect("splits").0, header);
}

#[test]
fn messages() {
    let mut all = examples("# The wire format", "### Calls");
    all.append(&mut examples("## A worked example", "(its end)"));
    let id = |serial| CallId { entry: 0, serial };
    let (named, asking, known) = (
        Subject::Named(b"listening"),
        Subject::Known(Number::new(0, true)),
        Subject::Known(Number::new(0, false)),
    );
    message(&mut all, "EVENT, of the library", Header::Event(named), &());
    message(
        &mut all,
        "INTRODUCE",
        Header::Introduce { number: 0, of_call: true, name: b"scale", kinds: b"K" },
        &(),
    );
    message(&mut all, "first CALL", Header::Call(id(1), None, asking), &5_u64);
    message(&mut all, "first ANSWER", Header::DescribedAnswer(id(1), b"K"), &15_u64);
    compare(&mut all, "frame word of INTRODUCE", &(17_u64 | 1 << 19).to_le_bytes());
    message(&mut all, "second CALL", Header::Call(id(2), None, asking), &6_u64);
    message(&mut all, "second ANSWER", Header::DescribedAnswer(id(2), b"K"), &18_u64);
    message(&mut all, "third CALL", Header::Call(id(3), None, known), &7_u64);
    message(&mut all, "third ANSWER", Header::Answer(id(3)), &21_u64);
    message(&mut all, "MISTYPED", Header::Failure(id(1), Failure::Mistyped("i32\nu64")), &());
    assert!(all.is_empty(), "{all:?}");
}

#[test]
fn values_and_kinds() {
    let mut values = examples("\n## Values", "\n## Kinds");
    let mut kinds = examples("\n## Kinds", "\n### Which kinds fit");
    macro_rules! value {
        ($($value:expr),* $(,)?) => {$(
            let mut message = Message::new();
            let header = Header::Answer(CallId::NONE);
            message.encode(header, &$value, usize::MAX, "value").expect("encodes");
            let bytes = as_bytes(message.words(), message.bytes());
            compare(&mut values, stringify!($value), &bytes[16..]);
        )*};
    }
    macro_rules! kinds {
        ($($value:expr),* $(,)?) => {$(
            let mut recorded = Vec::new();
            assert!(record(&$value, &mut recorded) && is_valid(&recorded));
            compare(&mut kinds, stringify!($value), &recorded);
        )*};
    }
    value! {
        5_u64, 300_u16, 5_i32, -2_i64, -5_i8, 0.5_f32, 'ß', "hi", None::<u64>, Some(5_u64),
        vec![1_u64, 2, 3], (5_u64, 5_i32), BTreeMap::from([("a", 7_u64)]), Shape::Square(300),
        Shape::Box { width: 1, height: 2 }, block(&[1_u32, 2]),
    }
    kinds! {
        5_u64, 5_i32, "hi", None::<u64>, Some(5_u64), Vec::<u64>::new(), vec![1_u64, 2, 3],
        vec![None, Some(1_u64)], (5_u64, 5_i32),
        BTreeMap::from([("a", 7_u64)]),
        BTreeMap::from([("a", None), ("b", Some(7_u8))]), Point { x: 1, y: 2 }, Meters(0.5),
        Shape::Empty, Shape::Square(300), vec![Shape::Square(300), Shape::Empty],
        vec![Entry::Count(None), Entry::Word("hi")], block(&[1_u32, 2]),
    }
    assert!(values.is_empty() && kinds.is_empty(), "{values:?} {kinds:?}");
}
