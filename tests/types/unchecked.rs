//! What has no types, and builds and pairs that do not compare them.

use coprocess::{Builder, Coprocess, Error, TypeCheck};

use crate::common::{LIMIT, assert_matches, block_on, within};
use crate::kit::{Log, is_mistyped, log};

#[test]
fn bytes_have_no_types() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            log.listen::<u64>(&parent, "typed event");
            let seen = log.clone();
            parent
                .serve("typed", |n: u64| n)
                .serve_bytes("raw", |bytes| bytes.to_vec())
                .listen_bytes("raw event", move |bytes| seen.add("raw event", &bytes));
        })
        .unwrap();
        for _ in 0..5 {
            // An end that says nothing of types, and one that does.
            assert_eq!(co.call_bytes("typed", &[10]).unwrap(), [10]);
            assert_eq!(co.start_bytes("typed", &[10]).unwrap().wait().unwrap(), [10]);
            assert_eq!(block_on(co.call_bytes_async("typed", &[10])).unwrap(), [10]);
            co.emit_bytes("typed event", &[10]).unwrap();
            co.event("typed event").emit_bytes(&[11]).unwrap();
            block_on(co.emit_bytes_async("typed event", &[12])).unwrap();
            assert_eq!(log(&co, "typed event"), ["10", "11", "12"]);
            // And the other way round: what comes is what the value is encoded as.
            assert_eq!(co.call::<i32>("raw", 5).unwrap(), 5);
            assert_eq!(co.call::<u8>("raw", 5).unwrap(), 10);
            assert_eq!(co.call::<u64>("raw", 5).unwrap(), 10);
            assert_eq!(co.call_bytes("raw", &[1, 2]).unwrap(), [1, 2]);
            co.emit("raw event", 5).unwrap();
            co.emit("raw event", "a").unwrap();
            co.emit_bytes("raw event", &[1, 2]).unwrap();
            assert_eq!(log(&co, "raw event"), ["[10]", "[1, 97]", "[1, 2]"]);
            // In between, types are looked at as ever.
            assert_matches!(co.call::<u64>("typed", 5), Err(Error::Types { .. }));
            assert_eq!(co.call::<u64>("typed", 5_u64).unwrap(), 5);
        }
        co.emit("typed event", 5).unwrap();
        assert_eq!(log(&co, "typed event"), [""; 0]);
        is_mistyped(co.emit("typed event", 5), "typed event", "i32", "u64");
        co.emit_bytes("typed event", &[10]).unwrap();
        assert_eq!(log(&co, "typed event"), ["10"]);
        assert_eq!(co.stats().events_mistyped_by_peer, 1);
    });
}

/// Calls the parent with a value of another type. Returns what it has made of that.
fn calls_back(parent: Coprocess) {
    parent.serve("scale", |n: u64| n).listen("n", |_: u64| ());
    let own = parent.downgrade();
    parent.serve("back", move |()| {
        let parent = own.upgrade().unwrap();
        parent.call::<u64>("scale", 5).map_err(|error| error.to_string())
    });
}

/// What the parent asks for holds for both ends.
#[test]
fn when_types_are_compared_is_for_the_parent_to_say() {
    within(LIMIT, || {
        for check in [TypeCheck::FirstUse, TypeCheck::Always, TypeCheck::Off, TypeCheck::default()]
        {
            let co = Builder::new().check_types(check).fork(calls_back).unwrap();
            co.serve("scale", |n: u64| n);
            for _ in 0..5 {
                let there = co.call::<u64>("scale", 5).map_err(|error| error.to_string());
                let back = co.call::<Result<u64, String>>("back", ()).unwrap();
                assert_eq!(there, back);
                if check == TypeCheck::Off {
                    assert_eq!(there, Ok(10));
                    assert_eq!(co.call_bytes("scale", &[10]).unwrap(), [10]);
                    co.emit("n", 5).unwrap();
                    assert_eq!(co.call::<i64>("scale", 5_u64).unwrap(), -3);
                } else {
                    assert_eq!(
                        there,
                        Err("`scale` takes u64, but was sent i32: write 5_u64".to_owned())
                    );
                    is_mistyped(
                        co.call::<i64>("scale", 5_u64),
                        "scale",
                        "u64",
                        "i64 as its result",
                    );
                }
            }
            assert_eq!(co.stats().events_mistyped_by_peer, 0);
        }
    });
}
