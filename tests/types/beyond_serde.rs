//! Values that serde cannot encode, decode or describe, and values whose code panics or calls.

use std::collections::BTreeMap;
use std::fmt::Debug;

use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Coprocess, Error};
use serde::{Deserialize, Serialize};

use crate::common::{LIMIT, assert_matches, within};
use crate::kit::{Sparse, is_mistyped, map};

/// Bytes may be of a list of numbers, which shows with the first of them.
#[test]
fn bytes_and_lists_that_are_empty_at_first() {
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent
                .serve("list", |list: Vec<u64>| list)
                .serve("bytes", |bytes: ByteBuf| bytes.to_vec());
        })
        .unwrap();
        for _ in 0..3 {
            assert_eq!(co.call::<Vec<u64>>("list", Bytes::new(&[])).unwrap(), [0; 0]);
            is_mistyped(
                co.call::<Vec<u64>>("list", Bytes::new(&[200, 1])),
                "list",
                "bytes",
                "[u64]",
            );
            assert_eq!(co.call::<Vec<u8>>("bytes", Vec::<u64>::new()).unwrap(), [0; 0]);
            if cfg!(debug_assertions) {
                is_mistyped(co.call::<Vec<u8>>("bytes", vec![1_u64]), "bytes", "[u64]", "[u8]");
            }
        }
    });
}

/// A value that has no kinds, or that no message can be read as, fails as it did before.
#[test]
fn what_cannot_be_encoded_or_decoded() {
    #[derive(Debug)]
    struct Failing;
    impl Serialize for Failing {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not this one"))
        }
    }
    #[derive(Serialize, Deserialize, Debug)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
    }
    #[derive(Serialize, Deserialize, Debug)]
    struct Flat {
        #[serde(flatten)]
        inside: BTreeMap<String, u64>,
    }
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("sparse", |value: Vec<Sparse>| format!("{value:?}"));
            parent
                .serve("any", |_: u64| ())
                .serve("untagged", |value: Untagged| format!("{value:?}"));
        })
        .unwrap();
        // A field that is left out would be read as the next one.
        let sparse = |y| Sparse { x: 1, y };
        for values in [vec![sparse(None)], vec![sparse(Some(1)), sparse(None), sparse(Some(0))]] {
            match co.call::<String>("sparse", values) {
                Err(error @ Error::Encode { .. }) => {
                    assert!(error.to_string().contains("field `y` is left out"), "{error}")
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            co.call::<String>("sparse", vec![sparse(Some(2))]).unwrap(),
            "[Sparse { x: 1, y: Some(2) }]"
        );
        for _ in 0..3 {
            assert_matches!(co.call::<()>("any", Failing), Err(Error::Encode { source, .. }) if source.to_string() == "not this one");
            assert_matches!(co.emit("any", Failing), Err(Error::Encode { .. }));
            assert_matches!(
                co.call::<()>("any", Flat { inside: map([("a".to_owned(), 1)]) }),
                Err(Error::Encode { .. })
            );
            assert_matches!(
                co.call::<String>("untagged", Untagged::Number(5)),
                Err(Error::Remote { .. })
            );
            co.call::<()>("any", Untagged::Number(5)).unwrap();
        }
    });
}

/// A panic of the user's in the midst of it spoils that value only.
#[test]
fn a_value_that_panics() {
    #[derive(Debug)]
    struct Panicking(bool);
    impl Serialize for Panicking {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            assert!(!self.0, "expected: a value that panics");
            serializer.serialize_u64(5)
        }
    }
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("n", |n: u64| n);
        })
        .unwrap();
        for _ in 0..3 {
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                co.call::<u64>("n", Panicking(true))
            }));
            assert!(unwound.is_err());
            assert_eq!(co.call::<u64>("n", Panicking(false)).unwrap(), 5);
            is_mistyped(co.call::<i64>("n", Panicking(false)), "n", "u64", "i64 as its result");
        }
    });
}

/// A value may itself use the pair while it is looked at.
#[test]
fn a_value_that_calls_while_it_is_looked_at() {
    struct Calling<'c>(&'c Coprocess, u32);
    impl Serialize for Calling<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Calling(co, depth) = *self;
            let inside =
                if depth == 0 { 1 } else { co.call::<u64>("n", Calling(co, depth - 1)).unwrap() };
            serializer.serialize_u64(inside + 1)
        }
    }
    within(LIMIT, || {
        let co = coprocess::fork(|parent| {
            parent.serve("n", |n: u64| n);
        })
        .unwrap();
        for depth in [0, 1, 3] {
            assert_eq!(co.call::<u64>("n", Calling(&co, depth)).unwrap(), u64::from(depth) + 2);
        }
        is_mistyped(co.call::<u64>("n", 5), "n", "i32", "u64");
    });
}
