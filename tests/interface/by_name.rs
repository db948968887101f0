//! Typed clients and servers beside calls by name.

use coprocess::Error;
use coprocess::serde_bytes::ByteBuf;

use crate::calculator::{CalculatorClient, calculator};
use crate::common::{LIMIT, assert_matches, within};

#[test]
fn calls_by_name_meet_a_typed_server() {
    within(LIMIT, || {
        let (co, calculator) = calculator();
        assert_eq!(co.call::<i64>("Calculator.add", (1_i64, 2_i64)).unwrap(), 3);
        co.call::<()>("Calculator.nothing", ()).unwrap();
        assert_eq!(co.call::<u8>("Calculator.type", 6_u8).unwrap(), 7);
        assert_eq!(
            co.call::<u64>("Calculator.sum_of_bytes", ByteBuf::from(vec![1, 2, 3])).unwrap(),
            6
        );
        co.emit("Calculator.note", ("by name", 2_u32)).unwrap();
        assert_eq!(calculator.noted().unwrap(), ["by name", "by name"]);
        assert_matches!(
            co.call::<()>("Calculator.not_here", ()),
            Err(Error::MethodNotFound { .. })
        );
        assert_matches!(co.call::<()>("add", (1, 2)), Err(Error::MethodNotFound { .. }));
        let described: String = co.call("Calculator::interface", ()).unwrap();
        for line in [
            "add fn(i64, i64) -> i64",
            "divide fn(i64, i64) -> Result<i64, NoQuotient>",
            "nothing fn() -> ()",
            "words fn(String) -> Vec<String>",
            "sum_of_bytes fn(Vec<u8>) -> u64",
            "middle fn(Vec<Point>) -> Option<Point>",
            "mirror fn(Point, (f64, f64)) -> Point",
            "count fn(BTreeMap<String, Vec<u32>>, Vec<String>, usize) -> usize",
            "type fn(u8) -> u8",
            "note event(String, u32)",
            "forget event()",
        ] {
            assert!(described.lines().any(|other| other == line), "{line} is not in {described}");
        }
        assert!(!described.contains("not_here"));
    });
}

#[test]
fn typed_calls_meet_a_server_by_name() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("Calculator.add", |(a, b): (i64, i64)| a + b);
            // Whatever encodes alike.
            parent.serve("Calculator.sum_of_bytes", |bytes: Vec<u8>| bytes.len() as u64);
        })
        .unwrap();
        assert_matches!(CalculatorClient::new(&co), Err(Error::Interface { .. }));
        let calculator = CalculatorClient::unchecked(&co);
        assert_eq!(calculator.add(2, 3).unwrap(), 5);
        assert_eq!(calculator.sum_of_bytes(&[9, 9]).unwrap(), 2);
        match calculator.divide(1, 1) {
            Err(Error::MethodNotFound { method }) => assert_eq!(method, "Calculator.divide"),
            other => panic!("{other:?}"),
        }
    });
}
