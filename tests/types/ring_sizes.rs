//! Mistyped messages of the largest size, and through a small ring.

use std::collections::BTreeMap;

use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Builder, Coprocess, Error, TypeCheck};

use crate::common::{self, LIMIT, SMALL_RING, eventually, inbox, next, within};
use crate::kit::{Log, Shape};

/// What is said of types does not count where messages have a bound.
#[test]
fn messages_of_the_largest_size() {
    const MAX: usize = 10_000;
    fn worker(parent: Coprocess) {
        parent
            .serve("length", |bytes: ByteBuf| bytes.len())
            .serve("list", |list: Vec<u8>| list.len());
        parent.serve("bytes", |length: usize| ByteBuf::from(vec![1; length]));
        parent.serve("text", |length: usize| "x".repeat(length));
        let log = Log::default();
        log.serve(&parent);
        let seen = log.clone();
        parent.listen("event", move |bytes: ByteBuf| seen.add("event", &bytes.len()));
        for number in 0..64 {
            parent.serve(&number.to_string(), |list: Vec<u8>| list.len());
        }
    }
    // The largest value that is sent, if it has no types and if it has, each as the first use.
    fn largest(
        check: TypeCheck,
        send: impl Fn(&Coprocess, usize) -> coprocess::Result<()>,
    ) -> usize {
        let fits = |length: usize| {
            let co = Builder::new().max_message(MAX).check_types(check).fork(worker).unwrap();
            let first = send(&co, length).map_err(|error| error.to_string());
            let second = send(&co, length).map_err(|error| error.to_string());
            assert_eq!(first, second, "{check:?} {length}");
            first.is_ok()
        };
        let (mut fitting, mut not) = (0, 2 * MAX);
        while not - fitting > 1 {
            let middle = fitting.midpoint(not);
            if fits(middle) { fitting = middle } else { not = middle }
        }
        fitting
    }
    within(LIMIT, || {
        let sends: [fn(&Coprocess, usize) -> coprocess::Result<()>; 5] = [
            |co, length| {
                co.call::<usize>("length", Bytes::new(&vec![1; length]))
                    .map(|is| assert_eq!(is, length))
            },
            |co, length| {
                co.call::<usize>("list", vec![1_u8; length]).map(|is| assert_eq!(is, length))
            },
            |co, length| {
                co.call::<ByteBuf>("bytes", length).map(|bytes| assert_eq!(bytes.len(), length))
            },
            |co, length| {
                co.call::<String>("text", length).map(|text| assert_eq!(text.len(), length))
            },
            |co, length| co.emit("event", Bytes::new(&vec![1; length])),
        ];
        for (number, send) in sends.into_iter().enumerate() {
            let without = largest(TypeCheck::Off, send);
            let with = largest(TypeCheck::FirstUse, send);
            assert!(without > MAX - 200, "{without}");
            // A number takes no more room than a name.
            assert!(
                with >= without && with <= without + 32,
                "{number}: {with}, without the check {without}"
            );
        }
    });
}

/// What a small ring takes at once, it takes at once with types, too.
#[test]
fn what_a_small_ring_takes_at_once() {
    within(LIMIT, || {
        fn worker(parent: Coprocess) {
            parent.listen("event", |_: ByteBuf| ()).serve("sync", |()| ());
        }
        let sent = |check: TypeCheck, length: usize| {
            let co =
                Builder::new().ring_capacity(SMALL_RING).check_types(check).fork(worker).unwrap();
            co.call::<()>("sync", ()).unwrap();
            let value = vec![1; length];
            let mut result = co.try_emit("event", Bytes::new(&value));
            eventually("there is room", || {
                if matches!(result, Err(Error::Full)) {
                    result = co.try_emit("event", Bytes::new(&value));
                }
                !matches!(result, Err(Error::Full))
            });
            match result {
                Ok(()) => true,
                Err(Error::TooLarge { .. }) => false,
                other => panic!("{other:?}"),
            }
        };
        let co = Builder::new().ring_capacity(SMALL_RING).fork(worker).unwrap();
        // While it is sent, parts of it may be received.
        let Err(Error::TooLarge { max, .. }) = co.try_emit("event", Bytes::new(&vec![1; 1 << 20]))
        else {
            panic!("there is room")
        };
        // The head, the name, and the length.
        let fitting = max - 18;
        for length in (fitting - 40..=fitting).chain([0, 1, 100, fitting / 2]) {
            assert!(
                sent(TypeCheck::Off, length) && sent(TypeCheck::FirstUse, length),
                "{length} of {fitting}"
            );
        }
    });
}

/// Kinds that are longer than the smallest ring.
#[test]
fn values_with_long_kinds_in_a_small_ring() {
    type Wide = Vec<BTreeMap<String, (Option<u8>, Vec<Option<Shape>>)>>;
    fn wide(seed: usize) -> Wide {
        let shape = |n: usize| {
            [
                Shape::Empty,
                Shape::Circle(0.5),
                Shape::Line(1, 2),
                Shape::Box { width: 1, height: 2 },
            ][n % 4]
                .clone()
        };
        let list = |n: usize| (0..n % 9).map(|at| (at % 3 != 0).then(|| shape(at + n))).collect();
        (0..16)
            .map(|n| {
                (0..16)
                    .map(|at| (at.to_string(), ((at % 2 == 0).then_some(1), list(n + at + seed))))
                    .collect()
            })
            .collect()
    }
    within(LIMIT, || {
        let co = common::patient()
            .ring_capacity(SMALL_RING)
            .check_types(TypeCheck::Always)
            .fork(|parent| {
                parent.serve("echo", |wide: Wide| wide);
                let own = parent.downgrade();
                parent.listen("event", move |wide: Wide| {
                    own.upgrade().unwrap().emit("back", wide).unwrap()
                });
            })
            .unwrap();
        let back = inbox::<Wide>(&co, "back");
        for seed in 0..100 {
            let value = wide(seed);
            assert_eq!(co.call::<Wide>("echo", &value).unwrap(), value);
            co.emit("event", &value).unwrap();
            assert_eq!(next(&back), value);
        }
        assert!(co.close().unwrap().unwrap().success());
    });
}
