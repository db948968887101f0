//! What only a later value shows: options, enums, empty lists.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use coprocess::{Backpressure, Builder, Coprocess, Error, TypeCheck};
use serde::{Deserialize, Serialize};

use crate::common::{self, LIMIT, assert_matches, eventually, within};
use crate::kit::{Log, is_mistyped, log, map};

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
