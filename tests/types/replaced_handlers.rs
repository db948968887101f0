//! Handlers that are replaced by a handler of another type.

use coprocess::Error;

use crate::common::{self, LIMIT, assert_matches, within};
use crate::kit::{Log, is_mistyped, log};

/// Whatever the handler takes, it gets nothing else, and what it does take it gets.
#[test]
fn a_handler_of_another_type_in_its_place() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            let own = parent.downgrade();
            parent.serve("be", move |kind: u32| {
                let parent = own.upgrade().unwrap();
                match kind {
                    0 => drop(parent.serve("m", |n: u64| format!("{n:?}"))),
                    1 => drop(parent.serve("m", |n: i64| format!("{n:?}"))),
                    2 => drop(parent.serve("m", |n: u8| format!("{n:?}"))),
                    3 => drop(parent.serve("m", |n: Option<u8>| format!("{n:?}"))),
                    4 => drop(parent.serve("m", |n: bool| format!("{n:?}"))),
                    _ => drop(
                        parent.serve_bytes("m", |bytes| [&[bytes.len() as u8], bytes].concat()),
                    ),
                }
                match kind {
                    0 => log.listen::<u64>(&parent, "e"),
                    1 => log.listen::<i64>(&parent, "e"),
                    2 => log.listen::<u8>(&parent, "e"),
                    3 => log.listen::<Option<u8>>(&parent, "e"),
                    _ => log.listen::<bool>(&parent, "e"),
                }
            });
        })
        .unwrap();
        let random = common::Random::for_test("a_handler_of_another_type_in_its_place");
        let mut fits = [0_u32; 5];
        for _ in 0..common::rounds(2000) {
            let kind = random.below(5) as u32;
            co.call::<()>("be", kind).unwrap();
            for _ in 0..random.below(5) {
                let sent = random.below(5) as u32;
                let (result, emitted) = match sent {
                    0 => (co.call::<String>("m", 1_u64), co.emit("e", 1_u64)),
                    1 => (co.call::<String>("m", 1_i64), co.emit("e", 1_i64)),
                    2 => (co.call::<String>("m", 1_u8), co.emit("e", 1_u8)),
                    3 => (co.call::<String>("m", Some(1_u8)), co.emit("e", Some(1_u8))),
                    _ => (co.call::<String>("m", true), co.emit("e", true)),
                };
                let text = ["1", "1", "1", "Some(1)", "true"][kind as usize];
                let seen = log(&co, "e");
                if sent == kind {
                    fits[kind as usize] += 1;
                    assert_eq!(result.unwrap(), text);
                    emitted.unwrap();
                    assert_eq!(seen, [text]);
                } else {
                    assert_matches!(result, Err(Error::Types { .. }));
                    assert_matches!(emitted, Ok(()) | Err(Error::Types { .. }));
                    assert_eq!(seen, [""; 0]);
                }
            }
        }
        assert!(fits.iter().all(|count| *count > 0) || common::rounds(2000) < 100, "{fits:?}");
    });
}

/// A new handler reads the first value that shows all beside its kinds, not just the first one.
#[test]
fn a_new_handler_and_values_that_show_less() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            log.listen::<Option<i32>>(&parent, "maybe");
            let own = parent.downgrade();
            parent.serve("change", move |()| {
                log.listen::<Option<u64>>(&own.upgrade().unwrap(), "maybe")
            });
        })
        .unwrap();
        // After the eighth use, there are seven that are not looked at in a released build.
        for _ in 0..8 {
            co.emit("maybe", Some(5)).unwrap();
        }
        assert_eq!(log(&co, "maybe").len(), 8);
        co.call::<()>("change", ()).unwrap();
        for _ in 0..3 {
            co.emit("maybe", None::<i32>).unwrap();
        }
        assert_eq!(log(&co, "maybe"), ["None"; 3]);
        drop(co.emit("maybe", Some(5)));
        assert_eq!(log(&co, "maybe"), [""; 0]);
        is_mistyped(co.emit("maybe", Some(5)), "maybe", "Option<i32>", "Option<u64>");
    });
}
