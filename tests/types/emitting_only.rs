//! An end that only emits, and never dispatches, learns of types, too.

use std::sync::atomic::{AtomicU64, Ordering};

use coprocess::Coprocess;

use crate::common::{LIMIT, eventually, within};
use crate::kit::{Log, is_mistyped, log};

/// Registers another handler for "n" with each event "next".
fn changing(parent: Coprocess) {
    let log = Log::default();
    log.serve(&parent);
    log.listen::<u64>(&parent, "n");
    let (own, turn) = (parent.downgrade(), AtomicU64::new(0));
    parent.listen("next", move |()| {
        let parent = own.upgrade().unwrap();
        match turn.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => log.listen::<i32>(&parent, "n"),
            _ => log.listen::<u64>(&parent, "n"),
        }
    });
}

/// It hears of what is refused, and of what is welcome again, without a look at anything else.
#[test]
fn an_end_that_never_dispatches() {
    within(LIMIT, || {
        let co = coprocess::fork(changing).unwrap();
        for _ in 0..5 {
            let mut lost = 0;
            eventually("values of a wrong type are refused", || match co.emit("n", -1) {
                Ok(()) => {
                    lost += 1;
                    false
                }
                refused => {
                    is_mistyped(refused, "n", "i32", "u64");
                    true
                }
            });
            assert!(lost > 0, "the first one is sent");
            is_mistyped(co.emit("n", -1), "n", "i32", "u64");
            co.emit("next", ()).unwrap();
            eventually("they are welcome", || co.emit("n", -1).is_ok());
            eventually("those of the former type are not", || co.emit("n", 7_u64).is_err());
            is_mistyped(co.emit("n", 7_u64), "n", "u64", "i32");
            co.emit("next", ()).unwrap();
            eventually("they are welcome again", || co.emit("n", 7_u64).is_ok());
        }
        // Now it does look: none was read as something else.
        let seen = log(&co, "n");
        assert!(seen.iter().all(|value| value == "-1" || value == "7"), "{seen:?}");
        assert!(seen.iter().filter(|value| *value == "-1").count() >= 5);
    });
}

/// The listener refuses. Without one, events are dropped; with another one, all is new.
#[test]
fn a_listener_that_goes_and_another_one() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            let own = parent.downgrade();
            parent.serve("listen", move |kind: u32| {
                let parent = own.upgrade().unwrap();
                match kind {
                    0 => drop(parent.unlisten("n")),
                    1 => log.listen::<u64>(&parent, "n"),
                    2 => log.listen::<i32>(&parent, "n"),
                    3 => log.listen::<Option<i32>>(&parent, "n"),
                    _ => log.listen::<String>(&parent, "n"),
                }
            });
        })
        .unwrap();
        let listen = |kind: u32| co.call::<()>("listen", kind).unwrap();
        let emitted = |expected: &[&str]| {
            // One that may be lost, and what comes of the next.
            let first = co.emit("n", 5).is_ok();
            let seen = log(&co, "n");
            assert_eq!(seen, expected);
            (first, co.emit("n", 5).is_ok(), drop(log(&co, "n")))
        };
        for _ in 0..10 {
            listen(2);
            assert_eq!(emitted(&["5"]), (true, true, ()));
            listen(1);
            assert_eq!(emitted(&[]), (true, false, ()));
            listen(3);
            assert_eq!(emitted(&[]), (true, false, ()));
            listen(4);
            assert_eq!(emitted(&[]), (true, false, ()));
            listen(2);
            assert_eq!(emitted(&["5"]), (true, true, ()));
            listen(0);
            assert_eq!(emitted(&[]), (true, true, ()));
        }
    });
}
