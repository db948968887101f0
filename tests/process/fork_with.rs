//! Arguments of a worker function: what is handed over before it runs.

use std::collections::BTreeMap;

use crate::common::{self, Held, LIMIT, alone, assert_matches, within};
use coprocess::{Builder, Coprocess, Error, ForkError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settings {
    name: String,
    factors: Vec<i64>,
    table: BTreeMap<String, Option<f64>>,
}

fn settings() -> Settings {
    Settings {
        name: "größer".to_owned(),
        factors: vec![-1, 2, i64::MIN],
        table: BTreeMap::from([("a".to_owned(), None), ("b".to_owned(), Some(0.5))]),
    }
}

fn with_settings(co: Coprocess, settings: Settings) {
    co.serve("settings", move |(): ()| settings.clone());
}

#[test]
fn a_worker_gets_what_its_parent_gave() {
    within(LIMIT, || {
        let co = coprocess::fork_with(settings(), with_settings).unwrap();
        assert_eq!(co.call::<Settings>("settings", ()).unwrap(), settings());
        assert!(co.close().unwrap().unwrap().success());
    });
}

/// The arguments are there before the function runs, and so before the first message, however early
/// that was sent.
#[test]
fn arguments_come_before_all_messages() {
    within(LIMIT, || {
        let co = coprocess::fork_with(40_u64, |co, start: u64| {
            co.serve("plus", move |n: u64| start + n);
        })
        .unwrap();
        assert_eq!(co.call::<u64>("plus", 2_u64).unwrap(), 42);
        let unit = coprocess::fork_with((), |co, ()| {
            co.serve("here", |(): ()| true);
        })
        .unwrap();
        assert!(unit.call::<bool>("here", ()).unwrap());
    });
}

fn with_bytes(co: Coprocess, bytes: Vec<u8>) {
    co.serve("bytes", move |(): ()| {
        (bytes.len(), bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>())
    });
}

/// Far more than a socket or a ring holds, and not a byte more than is allowed.
#[test]
fn arguments_of_any_size() {
    within(LIMIT, || {
        // Three bytes of length before 2 MiB.
        const MOST: usize = (2 << 20) + 4;
        for size in [0, 1, 32 * 1024 - 3, 32 * 1024 - 2, 1 << 20, 2 << 20] {
            let bytes = common::pattern(size, size);
            let sum = bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            let co = common::patient()
                .ring_capacity(4096)
                .max_message(MOST)
                .fork_with(bytes, with_bytes)
                .unwrap();
            assert_eq!(co.call::<(usize, u64)>("bytes", ()).unwrap(), (size, sum));
        }
    });
}

#[test]
fn too_large_arguments_start_nothing() {
    within(LIMIT, || {
        alone!({
            let before = Held::settled();
            let refused = Builder::new().max_message(4096).fork_with(vec![0_u8; 5000], with_bytes);
            assert_matches!(refused, Err(Error::TooLarge { max: 4096, .. }));
            before.again("arguments that are too large");
        });
    });
}

struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("no"))
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Stubborn, D::Error> {
        Ok(Stubborn)
    }
}

#[test]
fn arguments_that_do_not_encode_start_nothing() {
    within(LIMIT, || {
        alone!({
            let before = Held::settled();
            assert_matches!(coprocess::fork_with(Stubborn, |_, _| {}), Err(Error::Encode { .. }));
            before.again("arguments that do not encode");
        });
    });
}

/// Says more than it takes.
struct Lopsided(usize);

impl Serialize for Lopsided {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&vec![7; self.0])
    }
}

impl<'de> Deserialize<'de> for Lopsided {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lopsided, D::Error> {
        bool::deserialize(deserializer).map(|_| Lopsided(0))
    }
}

#[test]
fn arguments_that_do_not_decode_are_a_refusal() {
    within(LIMIT, || {
        alone!({
            drop(coprocess::fork(|_| {}).unwrap());
            let before = Held::settled();
            for size in [3, 1 << 20] {
                let refused = coprocess::fork_with(Lopsided(size), |_, _| {
                    unreachable!("it has no arguments")
                });
                let Err(Error::Fork { cause: ForkError::Handshake(why), .. }) = refused else {
                    panic!("{refused:?}")
                };
                assert!(why.contains("arguments of the worker function do not decode"), "{why}");
                before.again("arguments that do not decode");
            }
        });
    });
}

/// However far it has come: the parent does not wait for room any more.
#[test]
fn a_worker_that_ends_while_arguments_are_sent() {
    within(LIMIT, || {
        // The address space has no room for the rings.
        let limits = coprocess::Limits::new().memory(1 << 20);
        let refused = Builder::new().limits(limits).fork_with(vec![1_u8; 4 << 20], with_bytes);
        assert_matches!(refused, Err(Error::Fork { .. }));
    });
}

#[test]
fn many_at_once() {
    within(LIMIT, || {
        let starts: Vec<_> = (0..20_usize)
            .map(|size| {
                std::thread::spawn(move || {
                    (
                        size,
                        common::patient().fork_with(vec![1_u8; size * 10_000], with_bytes).unwrap(),
                    )
                })
            })
            .collect();
        for start in starts {
            let (size, co) = start.join().unwrap();
            assert_eq!(
                co.call::<(usize, u64)>("bytes", ()).unwrap(),
                (size * 10_000, size as u64 * 10_000)
            );
        }
    });
}
