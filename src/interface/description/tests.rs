use super::*;

static OURS: Description = Description::new(
    "Ours",
    &[
        Method { name: "add", signature: "fn(Number, Number) -> Number" },
        Method { name: "tick", signature: "event(u64)" },
        Method { name: "ad", signature: "fn() -> ()" },
    ],
);

#[test]
fn an_interface_fits_itself_and_a_larger_one_in_any_order() {
    let text = OURS.answer();
    assert_eq!(text, "add fn(Number, Number) -> Number\ntick event(u64)\nad fn() -> ()\n");
    assert_eq!(OURS.compare(&text), Ok(()));
    let turned: Vec<_> = text.lines().rev().chain(["more event()"]).collect();
    assert_eq!(OURS.compare(&turned.join("\n")), Ok(()));
    static NOTHING: Description = Description::new("Nothing", &[]);
    assert_eq!(NOTHING.compare(""), Ok(()));
}

#[test]
fn what_differs_is_named() {
    let missing = InterfaceError::Missing { method: "tick", ours: "event(u64)" };
    assert_eq!(OURS.compare(&OURS.answer().replace("tick", "tock")), Err(missing));
    let ours = "fn(Number, Number) -> Number";
    let differs = |theirs: &str| {
        Err(InterfaceError::Differs { method: "add", ours, theirs: theirs.to_owned() })
    };
    // As it is written, whatever it is.
    let renamed = OURS.answer().replace("Number", "i64");
    assert_eq!(OURS.compare(&renamed), differs("fn(i64, i64) -> i64"));
    let longer = OURS.answer().replace("add fn(", "add fn(Number, ");
    assert_eq!(OURS.compare(&longer), differs("fn(Number, Number, Number) -> Number"));
    let said_twice = format!("add event()\n{}", OURS.answer());
    assert_eq!(OURS.compare(&said_twice), differs("event()"));
}

#[test]
fn nonsense_is_repeated_in_one_short_line() {
    assert!(matches!(OURS.compare(""), Err(InterfaceError::Missing { method: "add", .. })));
    assert!(matches!(
        OURS.compare(&"\n\0 \u{202e}".repeat(10_000)),
        Err(InterfaceError::Missing { .. })
    ));
    let garbage = "\x1b[2J\t\u{202e}".repeat(10_000);
    for theirs in [format!("add {garbage}"), format!("add fn(Number, Number) -> Number {garbage}")]
    {
        let text = OURS.compare(&theirs).unwrap_err().to_string();
        assert!(text.len() < 4000, "{} bytes", text.len());
        assert!(!text.contains(['\x1b', '\n', '\t', '\u{202e}']), "{text}");
        assert!(text.contains("\\u{1b}[2J"), "{text}");
    }
}
