//! Types are compared in every form of a call and of an event.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use coprocess::{Backpressure, Coprocess, Error, Method, Reply, Topic};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::{self, LIMIT, assert_matches, block_on, next, within};
use crate::kit::{Log, is_mistyped, log};

pub(crate) fn forms(end: &Coprocess) {
    end.serve("serve", |n: u64| n)
        .try_serve("try", |n: u64| if n < 100 { Ok(n) } else { Err("too many") })
        .serve_deferred("deferred", |n: u64, reply: Reply<u64>| {
            drop(thread::spawn(move || reply.send(n)))
        })
        .serve("result", |()| -5);
    Method::<u64, u64>::new("method").serve(end, |n| n);
    Method::<u64, u64>::new("try method").try_serve(end, Ok::<u64, String>);
    Method::<u64, u64>::new("deferred method").serve_deferred(end, |n, reply| drop(reply.send(n)));
}

/// Calls a method in every form.
pub(crate) fn call_in_every_form<R: DeserializeOwned + Send + 'static>(
    co: &Coprocess,
    name: &str,
    args: impl Serialize + Clone,
) -> Vec<coprocess::Result<R>> {
    let (sender, results) = mpsc::channel();
    co.call_with(name, args.clone(), move |result| sender.send(result).unwrap()).unwrap();
    let mut waited: coprocess::Pending<R> = co.start(name, args.clone()).unwrap();
    let waited = loop {
        if let Some(result) = waited.wait_for(Duration::from_millis(10)).transpose() {
            break result;
        }
    };
    vec![
        next(&results),
        waited,
        co.call(name, args.clone()),
        co.call_timeout(name, args.clone(), LIMIT),
        co.start(name, args.clone()).unwrap().wait(),
        co.start(name, args.clone()).unwrap().wait_timeout(LIMIT),
        block_on(co.start(name, args.clone()).unwrap()),
        block_on(co.call_async(name, args.clone())),
        block_on(co.call_async_timeout(name, args, LIMIT)),
    ]
}

#[test]
fn calls_in_every_form() {
    within(LIMIT, || {
        let co = common::patient().fork(|parent| forms(&parent)).unwrap();
        for round in 0..3_u64 {
            for name in ["serve", "try", "deferred", "method", "try method", "deferred method"] {
                for result in call_in_every_form::<u64>(&co, name, 5) {
                    is_mistyped(result, name, "i32", "u64");
                }
                for result in call_in_every_form::<u64>(&co, name, round) {
                    assert_eq!(result.unwrap(), round);
                }
                for result in call_in_every_form::<i64>(&co, name, round) {
                    is_mistyped(result, name, "u64", "i64 as its result");
                }
                for result in call_in_every_form::<Vec<u64>>(&co, name, 5) {
                    is_mistyped(result, name, "i32", "u64");
                }
            }
            for result in call_in_every_form::<u64>(&co, "result", ()) {
                is_mistyped(result, "result", "i32", "u64 as its result");
            }
            for result in call_in_every_form::<i64>(&co, "result", ()) {
                assert_eq!(result.unwrap(), -5);
            }
            assert_matches!(co.call::<u64>("try", 100_u64), Err(Error::Remote { message, .. }) if message == "too many");
        }
        // Each with a name that was not used before.
        let wrong = Method::<i32, u64>::new("serve");
        is_mistyped(wrong.call(&co, 5), "serve", "i32", "u64");
        is_mistyped(wrong.call_timeout(&co, 5, LIMIT), "serve", "i32", "u64");
        is_mistyped(wrong.start(&co, 5).unwrap().wait(), "serve", "i32", "u64");
        is_mistyped(block_on(wrong.call_async(&co, 5)), "serve", "i32", "u64");
        let (sender, results) = mpsc::channel();
        wrong.call_with(&co, 5, move |result| sender.send(result).unwrap()).unwrap();
        is_mistyped(next(&results), "serve", "i32", "u64");
        is_mistyped(
            Method::<u64, i64>::new("method").call(&co, 5),
            "method",
            "u64",
            "i64 as its result",
        );
    });
}

/// As the first use of a name, each form finds it, too.
#[test]
fn calls_in_every_form_as_the_first() {
    within(LIMIT, || {
        for form in 0..9 {
            let co = common::patient().fork(|parent| forms(&parent)).unwrap();
            let (sender, results) = mpsc::channel();
            let result: coprocess::Result<u64> = match form {
                0 => co.call("serve", 5),
                1 => co.call_timeout("serve", 5, LIMIT),
                2 => co.start("serve", 5).unwrap().wait(),
                3 => co.start("serve", 5).unwrap().wait_timeout(LIMIT),
                4 => co.start("serve", 5).unwrap().wait_for(LIMIT).map(Option::unwrap),
                5 => block_on(co.start("serve", 5).unwrap()),
                6 => block_on(co.call_async("serve", 5)),
                7 => block_on(co.call_async_timeout("serve", 5, LIMIT)),
                _ => {
                    co.call_with("serve", 5, move |result| sender.send(result).unwrap()).unwrap();
                    next(&results)
                }
            };
            is_mistyped(result, "serve", "i32", "u64");
            assert_eq!(co.call::<u64>("serve", 5_u64).unwrap(), 5);
        }
    });
}

/// Emits in one form.
type Emit = fn(&Coprocess, &str, &dyn Fn() -> i32) -> coprocess::Result<()>;

const EMITS: [(&str, Emit); 12] = [
    ("emit", |co, name, n| co.emit(name, n())),
    ("try_emit", |co, name, n| co.try_emit(name, n())),
    ("emit_timeout", |co, name, n| co.emit_timeout(name, n(), LIMIT)),
    ("emit_async", |co, name, n| block_on(co.emit_async(name, n()))),
    ("emit_async_timeout", |co, name, n| block_on(co.emit_async_timeout(name, n(), LIMIT))),
    ("event", |co, name, n| co.event(name).emit(n())),
    ("event that fails", |co, name, n| co.event(name).backpressure(Backpressure::Fail).emit(n())),
    ("event that drops", |co, name, n| {
        co.event(name).backpressure(Backpressure::DropNewest).emit(n())
    }),
    ("event that keeps the latest", |co, name, n| {
        co.event(name).backpressure(Backpressure::KeepLatest).emit(n())
    }),
    ("event that is awaited", |co, name, n| block_on(co.event(name).emit_async(n()))),
    ("awaited event that keeps the latest", |co, name, n| {
        block_on(co.event(name).backpressure(Backpressure::KeepLatest).emit_async(n()))
    }),
    ("reference", |co, name, n| {
        let n: &i32 = &n();
        co.emit(name, n)
    }),
];

#[test]
fn events_in_every_form() {
    within(LIMIT, || {
        let co = common::patient()
            .fork(|parent| {
                let log = Log::default();
                log.serve(&parent);
                for (name, _) in EMITS {
                    log.listen::<u64>(&parent, name);
                    log.listen::<i32>(&parent, &format!("right {name}"));
                }
            })
            .unwrap();
        for (name, emit) in EMITS {
            let before = co.stats().events_mistyped_by_peer;
            emit(&co, name, &|| 5).unwrap();
            assert_eq!(log(&co, name), [""; 0], "{name}");
            is_mistyped(emit(&co, name, &|| 5), name, "i32", "u64");
            is_mistyped(emit(&co, name, &|| 5), name, "i32", "u64");
            assert_eq!(log(&co, name), [""; 0], "{name}");
            assert_eq!(co.stats().events_mistyped_by_peer, before + 1, "{name}");
            let right = format!("right {name}");
            for n in 0..20 {
                emit(&co, &right, &|| n).unwrap();
                assert_eq!(log(&co, &right), [n.to_string()]);
            }
            co.emit(name, 5_u64).unwrap();
            assert_eq!(log(&co, name), ["5"], "{name}");
        }
        // Those of other forms are of the same name and type.
        for (_, emit) in EMITS.iter().take(11) {
            is_mistyped(emit(&co, "emit", &|| 5), "emit", "i32", "u64");
        }
    });
}

#[test]
fn topics() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            let log = Log::default();
            log.serve(&parent);
            for name in 0..5 {
                log.listen::<Vec<u64>>(&parent, &name.to_string());
            }
        })
        .unwrap();
        let value = || vec![1, 2];
        let emits: [&dyn Fn(Topic<Vec<i32>>) -> coprocess::Result<()>; 5] = [
            &|topic| topic.emit(&co, value()),
            &|topic| topic.emit_ref(&co, &value()),
            &|topic| topic.try_emit(&co, value()),
            &|topic| topic.emit_timeout(&co, value(), LIMIT),
            &|topic| block_on(topic.emit_async(&co, value())),
        ];
        for (name, emit) in ["0", "1", "2", "3", "4"].into_iter().zip(emits) {
            emit(Topic::new(name)).unwrap();
            assert_eq!(log(&co, name), [""; 0]);
            is_mistyped(emit(Topic::new(name)), name, "[i32]", "[u64]");
            Topic::<Vec<u64>>::new(name).emit(&co, vec![1]).unwrap();
            assert_eq!(log(&co, name), ["[1]"]);
        }
    });
}
