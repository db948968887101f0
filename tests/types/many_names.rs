//! Very many names, each with types of its own.

use coprocess::Error;

use crate::common::{self, LIMIT, assert_matches, within};
use crate::kit::{Log, is_mistyped, log};

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
