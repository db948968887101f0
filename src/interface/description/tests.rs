use super::super::Named;
use super::*;

const INTEGER: fn() -> Option<String> = Named::<i64>::shape;

static OURS: Description = Description::new(
    "Ours",
    &[
        Method {
            name: "add",
            signature: "fn(Number, Number) -> Number",
            types: &[Typed { name: "a", shape: INTEGER }, Typed { name: "b", shape: INTEGER }, Typed { name: "result", shape: INTEGER }],
        },
        Method { name: "tick", signature: "event(u64)", types: &[Typed { name: "seconds", shape: || None }] },
        Method { name: "ad", signature: "fn() -> ()", types: &[Typed { name: "result", shape: Named::<()>::shape }] },
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
    static NOTHING: Description = Description::new("Nothing", &[]);
    assert!(matches!(NOTHING.compare(""), Ok(None)));
}

#[test]
fn what_nobody_knows_fits_anything() {
    let text = OURS.answer();
    assert!(text.contains("tick event(u64) #?\n"), "{text}");
    assert_eq!(explained(&text.replace("(u64) #?", "(u64) #12345678"), "i8"), None);
    let integer = format!("#{:08x}", hash("i64"));
    assert_eq!(text.matches(&integer).count(), 3);
    assert_eq!(explained(&text.replace(&integer, "#?"), "i8"), None);
    assert_eq!((OURS.answer_of_types("tick", 0), OURS.answer_of_types("add", 2)), (String::new(), "i64".to_owned()));
    for (method, place) in [("add", 3), ("add", usize::MAX), ("subtract", 0), ("", 0)] {
        assert_eq!(OURS.answer_of_types(method, place), "");
    }
}

#[test]
fn what_differs_is_named() {
    assert_eq!(explained(&OURS.answer().replace("tick", "tock"), ""), Some(InterfaceError::Missing { method: "tick", ours: "event(u64)" }));
    let ours = "fn(Number, Number) -> Number";
    let differs = |theirs: &str| Some(InterfaceError::Differs { method: "add", ours, theirs: theirs.to_owned() });
    // As it is written, whatever it is.
    let renamed = OURS.answer().replace("Number", "i64");
    assert_eq!(explained(&renamed, ""), differs("fn(i64, i64) -> i64"));
    assert_eq!(explained(&OURS.answer().replace("add fn(", "add fn(Number, "), ""), differs("fn(Number, Number, Number) -> Number"));
    // As it is read.
    let integer = format!("#{:08x}", hash("i64"));
    let theirs = OURS.answer().replacen(&format!("{integer} {integer} {integer}"), &format!("{integer} {integer} #0"), 1);
    for unknown in ["", "i64"] {
        assert_eq!(explained(&theirs, unknown), differs("fn(Number, Number) -> Number, with other types of the same names"));
    }
    let expected = |ours: &str, theirs: &str| {
        Some(InterfaceError::TypeDiffers { method: "add", place: "result".to_owned(), ours: ours.to_owned(), theirs: theirs.to_owned() })
    };
    assert_eq!(explained(&theirs, "i8"), expected("i64", "i8"));
    assert_eq!(explained(&theirs, "struct A {b}"), expected("i64", "struct A {b}"));
}

#[test]
fn of_long_texts_the_part_that_differs_is_shown() {
    let long = |end: &str| format!("struct Conf {{{}{end}}}", "field, ".repeat(100));
    let (ours, theirs) = where_they_differ(&long("a, b"), &long("b, a"));
    assert!(ours.starts_with("..") && ours.ends_with("field, a, b}"), "{ours}");
    assert!(theirs.starts_with("..") && theirs.ends_with("field, b, a}"), "{theirs}");
    assert!(ours.len() < 100, "{ours}");
    let short = |text: &str| text.to_owned();
    assert_eq!(where_they_differ("struct A {a, b}", "struct A {b, a}"), (short("struct A {a, b}"), short("struct A {b, a}")));
    assert_eq!(where_they_differ("", ""), (short(""), short("")));
    let (ours, theirs) = where_they_differ(&"ä".repeat(1000), &"ä".repeat(1001));
    assert!(ours.chars().count() < theirs.chars().count() && theirs.len() < 4000, "{ours} {theirs}");
}

#[test]
fn nonsense_is_repeated_in_one_short_line() {
    assert!(matches!(explained("", ""), Some(InterfaceError::Missing { method: "add", .. })));
    assert!(matches!(explained(&"\n\0 \u{202e}".repeat(10_000), ""), Some(InterfaceError::Missing { .. })));
    let nonsense = "\x1b[2J\t\u{202e}".repeat(10_000);
    for (theirs, types) in [
        (format!("add {nonsense}"), String::new()),
        ("add fn(Number, Number) -> Number".to_owned(), nonsense.clone()),
        (format!("add fn(Number, Number) -> Number #{nonsense}"), nonsense.clone()),
    ] {
        let text = explained(&theirs, &types).unwrap().to_string();
        assert!(text.len() < 4000, "{} bytes", text.len());
        assert!(!text.contains(['\x1b', '\n', '\t', '\u{202e}']), "{text}");
        assert!(text.contains("\\u{1b}[2J"), "{text}");
    }
}
