//! Threads that use one name with types of their own.

use std::thread;

use coprocess::Error;

use crate::common::{LIMIT, assert_matches, eventually, within};
use crate::kit::{Log, is_mistyped, log};

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
