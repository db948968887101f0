use super::super::trace;
use super::*;

static OURS: Description = Description::new(
    "Ours",
    &[
        Method {
            name: "add",
            signature: "fn(i64, i64) -> i64",
            arguments: &[Argument { name: "a", shape: trace::<i64> }, Argument { name: "b", shape: trace::<i64> }],
            result: Some(trace::<i64>),
        },
        Method { name: "tick", signature: "event(u64)", arguments: &[Argument { name: "seconds", shape: trace::<u64> }], result: None },
        Method { name: "ad", signature: "fn() -> ()", arguments: &[], result: Some(trace::<()>) },
    ],
);

fn explained(theirs: &str, types: &str) -> Option<InterfaceError> {
    match OURS.compare(theirs) {
        Ok(difference) => difference.map(|difference| difference.explain(types)),
        Err(error) => Some(error),
    }
}

#[test]
fn an_interface_fits_itself_and_a_larger_one_in_any_order() {
    let text = OURS.answer();
    assert_eq!(explained(&text, ""), None);
    let turned: Vec<_> = text.lines().rev().chain(["more event() #1"]).collect();
    assert_eq!(explained(&turned.join("\n"), ""), None);
    // How a type is written does not matter.
    assert_eq!(explained(&text.replace("i64", "Number"), ""), None);
    static NOTHING: Description = Description::new("Nothing", &[]);
    assert!(matches!(NOTHING.compare(""), Ok(None)));
}

#[test]
fn what_differs_is_named() {
    assert_eq!(explained(&OURS.answer().replace("tick", "tock"), ""), Some(InterfaceError::Missing { method: "tick", ours: "event(u64)" }));
    let hash = format!("{:016x}", OURS.types()[0].hash);
    let theirs = OURS.answer().replace(&hash, "0");
    let differs = |theirs: &str| Some(InterfaceError::Differs { method: "add", ours: "fn(i64, i64) -> i64", theirs: theirs.to_owned() });
    // Of whom nothing is known but that they differ.
    for types in ["", "0 i64\n1 i64\n= i64\n", "0 i64\n", "0 i64\n1 i64\n2 i64\n= i64\n", "0\n\n", "  0 i32"] {
        assert_eq!(explained(&theirs, types), differs("fn(i64, i64) -> i64, with other types of the same names"), "{types:?}");
    }
    let theirs = theirs.replace("add fn(i64, i64)", "add fn(i64, i64, i64)");
    assert_eq!(explained(&theirs, "0 i64\n1 i64\n2 i64\n= i64\n"), differs("fn(i64, i64, i64) -> i64"));
    for (types, place, is) in [("0 i64\n1 u8\n= i64\n", "b", "u8"), ("0 i64\n1 i64\n= struct A {b}\n .b u8\n", "result", "struct A {b}")] {
        let expected =
            InterfaceError::TypeDiffers { method: "add", place: place.to_owned(), ours: "i64".to_owned(), theirs: is.to_owned() };
        assert_eq!(explained(&theirs, types), Some(expected));
    }
}

#[test]
fn nonsense_is_repeated_in_one_short_line() {
    assert!(matches!(explained("", ""), Some(InterfaceError::Missing { method: "add", .. })));
    assert!(matches!(explained(&"\n\0 \u{202e}".repeat(10_000), ""), Some(InterfaceError::Missing { .. })));
    let nonsense = "\x1b[2J\t\u{202e}".repeat(10_000);
    for (theirs, types) in [(format!("add {nonsense}"), String::new()), ("add fn()".to_owned(), format!("0 {nonsense}\n"))] {
        let text = explained(&theirs, &types).unwrap().to_string();
        assert!(text.len() < 4000, "{} bytes", text.len());
        assert!(!text.contains(['\x1b', '\n', '\t', '\u{202e}']), "{text}");
        assert!(text.contains("\\u{1b}[2J"), "{text}");
    }
}

/// What postcard cannot read has no shape.
#[test]
fn what_was_not_seen_is_compared_as_it_is_written() {
    fn hash_of(signature: &'static str, shape: fn() -> Shape) -> u64 {
        Types::of(&Method { name: "get", signature, arguments: &[], result: Some(shape) }).hash
    }
    assert_eq!(hash_of("fn() -> Number", trace::<u8>), hash_of("fn() -> u8", trace::<u8>));
    assert_ne!(hash_of("fn() -> u8", trace::<u8>), hash_of("fn() -> u8", trace::<i8>));
    let unseen = trace::<Vec<serde_json::Value>>;
    assert_eq!(hash_of("fn() -> Vec<Value>", unseen), hash_of("fn() -> Vec<Value>", unseen));
    assert_ne!(hash_of("fn() -> Vec<Value>", unseen), hash_of("fn() -> Values", unseen));
}
