//! What a mistyped call or event leaves untouched.

use coprocess::{Coprocess, Error};

use crate::common::{LIMIT, assert_matches, within};
use crate::kit::{Log, is_mistyped, log};

fn numbers(parent: Coprocess) {
    let log = Log::default();
    log.serve(&parent);
    log.listen::<u64>(&parent, "n");
    log.hear::<u64>(&parent, "scale");
    parent.serve("res", |(_, _, n): (i32, i32, u64)| n).serve("other", |n: u64| n + 1);
    let own = parent.downgrade();
    parent.serve("counts", move |()| {
        let stats = own.upgrade().unwrap().stats();
        (stats.events_mistyped, stats.events_undecodable, stats.events_unheard)
    });
}

/// What every program contains sooner or later.
#[test]
fn literals_without_a_type() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("scale", |n: u64| n).serve("res", |(_, _, n): (i32, i32, u64)| n);
            parent.serve("double", |x: f32| x * 2.0).listen("n", |_: u64| ());
            parent.serve("five", |()| 5).serve("done", |()| ());
        })
        .unwrap();
        let error = co.call::<u64>("scale", 5).unwrap_err();
        assert_eq!(error.to_string(), "`scale` takes u64, but was sent i32: write 5_u64");
        assert_eq!(co.call::<u64>("scale", 5_u64).unwrap(), 5);

        let error = co.call::<u64>("res", (1, 2, 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`res` takes (i32, i32, u64), but was sent (i32, i32, i32): write 5_u64"
        );
        assert_eq!(co.call::<u64>("res", (1, 2, 1_u32)).unwrap(), 1);

        let error = co.call::<f32>("double", 0.5).unwrap_err();
        assert_eq!(error.to_string(), "`double` takes f32, but was sent f64: write 0.5_f32");

        let error = co.call::<u64>("five", ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`five` takes u64 as its result, but was sent i32: write 5_u64"
        );
        assert_eq!(co.call::<i64>("five", ()).unwrap(), 5);

        co.emit("n", -1).unwrap();
        co.call::<()>("done", ()).unwrap();
        let error = co.emit("n", -1).unwrap_err();
        assert_eq!(error.to_string(), "`n` takes u64, but was sent i32: write 5_u64");
        assert_eq!((co.stats().events_mistyped_by_peer, co.stats().events_mistyped), (1, 0));
    });
}

#[test]
fn a_mistyped_call_does_nothing_else() {
    within(LIMIT, || {
        let co = coprocess::fork(numbers).unwrap();
        for round in 0..20_u64 {
            is_mistyped(co.call::<()>("scale", 5), "scale", "i32", "u64");
            is_mistyped(co.call::<()>("scale", "five"), "scale", "string", "u64");
            assert_eq!(co.call::<u64>("other", round).unwrap(), round + 1);
            assert_eq!(log(&co, "scale"), [""; 0]);
            // By another type of the same name.
            co.call::<()>("scale", round).unwrap();
            co.call::<()>("scale", round as u32).unwrap();
            assert_eq!(log(&co, "scale"), [round.to_string(), round.to_string()]);
        }
        // No handler serves it, whatever its type.
        assert_matches!(co.call::<()>("missing", 5), Err(Error::MethodNotFound { .. }));
    });
}

#[test]
fn a_mistyped_event_does_nothing_else() {
    within(LIMIT, || {
        let co = coprocess::fork(numbers).unwrap();
        let counts = || co.call::<(u64, u64, u64)>("counts", ()).unwrap();
        co.emit("n", 5).unwrap();
        assert_eq!(counts(), (1, 0, 0));
        for round in 0..20_u64 {
            is_mistyped(co.emit("n", 5), "n", "i32", "u64");
            co.emit("n", round).unwrap();
            co.emit("unheard", 5).unwrap();
            assert_eq!(log(&co, "n"), [round.to_string()]);
            assert_eq!(counts(), (1, 0, round + 1));
        }
        co.emit("n", "text").unwrap();
        assert_eq!(counts(), (2, 0, 20));
        is_mistyped(co.emit("n", "text"), "n", "string", "u64");
        is_mistyped(co.emit("n", 5), "n", "i32", "u64");
        assert_eq!(co.stats().events_mistyped_by_peer, 2);
    });
}

/// A method and an event may have one name, and each its own type.
#[test]
fn a_method_and_an_event_of_one_name() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            log.listen::<u64>(&parent, "both");
            parent.serve("both", |_: i32| ());
        })
        .unwrap();
        co.call::<()>("both", 5).unwrap();
        co.emit("both", 5).unwrap();
        assert_eq!(log(&co, "both"), [""; 0]);
        is_mistyped(co.emit("both", 5), "both", "i32", "u64");
        for _ in 0..5 {
            co.call::<()>("both", 5).unwrap();
        }
        is_mistyped(co.call::<()>("both", 5_u64), "both", "u64", "i32");
        co.emit("both", 5_u64).unwrap();
        assert_eq!(log(&co, "both"), ["5"]);
    });
}
