//! Messages of any size up to `max_message`, also through the smallest ring. Larger ones are
//! refused whole.

use crate::common::{LIMIT, SMALL_RING, assert_matches, inbox, next, pattern, within};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Builder, Coprocess, Error};

fn echo(parent: Coprocess) {
    parent
        .serve("echo", |bytes: ByteBuf| bytes)
        .serve("length", |bytes: ByteBuf| bytes.len())
        .serve("fill", |size: usize| ByteBuf::from(pattern(size, size)));
    let end = parent.downgrade();
    parent.listen("event", move |bytes: ByteBuf| {
        end.upgrade().unwrap().emit("event", bytes).unwrap();
    });
}

#[track_caller]
fn check(worker: &Coprocess, size: usize) {
    let bytes = ByteBuf::from(pattern(size, size));
    let back: ByteBuf = worker.call("echo", &bytes).unwrap();
    assert!(back == bytes, "{size} bytes came back as {} others", back.len());
}

/// Makes pairs with rings of every kind: the smallest, one that is no power of two, the default
/// one.
fn rings() -> impl Iterator<Item = Coprocess> {
    [1, SMALL_RING, 5000, 64 * 1024, 256 * 1024]
        .into_iter()
        .map(|capacity| Builder::new().ring_capacity(capacity).fork(echo).unwrap())
}

#[test]
fn every_small_size() {
    within(LIMIT, || {
        for worker in rings() {
            for size in 0..=200 {
                check(&worker, size);
            }
            // In the opposite order, so that sizes meet other places of the ring.
            for size in (0..=200).rev().cycle().step_by(7).take(600) {
                check(&worker, size);
            }
        }
    });
}

#[test]
fn around_every_boundary() {
    within(LIMIT, || {
        for worker in rings() {
            for power in 8..=17 {
                let boundary = 1_usize << power;
                // Headers and names take some of it, so look further below than above.
                let step = if power < 13 { 1 } else { 5 };
                for size in (boundary - 80..boundary + 10).step_by(step) {
                    check(&worker, size);
                }
            }
        }
    });
}

#[test]
fn a_mebibyte_and_more_through_every_ring() {
    within(LIMIT, || {
        for worker in rings() {
            for size in [1 << 20, (1 << 20) + 1, 5_000_000] {
                check(&worker, size);
            }
        }
    });
}

#[test]
fn small_after_large_after_small() {
    within(LIMIT, || {
        for worker in rings() {
            let mut random = 12345_usize;
            for _ in 0..600 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let size = (random >> 33) % (1 << ((random >> 20) % 18));
                check(&worker, size);
            }
        }
    });
}

#[test]
fn events_of_every_size() {
    within(LIMIT, || {
        for worker in rings() {
            let back = inbox::<ByteBuf>(&worker, "event");
            let sizes = || (0..400).map(|n| n * 13 % 400 + (n % 40 / 39) * 30_000);
            for size in sizes() {
                worker.emit("event", ByteBuf::from(pattern(size, size))).unwrap();
            }
            for size in sizes() {
                assert!(next(&back) == pattern(size, size));
            }
        }
    });
}

#[test]
fn one_direction_only() {
    within(LIMIT, || {
        for worker in rings() {
            for size in [0, 1, 100, 4000, 4096, 70_000, 1 << 20] {
                let bytes = ByteBuf::from(pattern(size, size));
                assert_eq!(worker.call::<usize>("length", &bytes).unwrap(), size);
                assert!(worker.call::<ByteBuf>("fill", size).unwrap() == bytes);
            }
        }
    });
}

/// Exactly `max_message` passes, one byte more does not, and what is refused leaves no trace.
#[test]
fn max_message_exactly_and_one_over() {
    within(LIMIT, || {
        for capacity in [SMALL_RING, 256 * 1024] {
            for max in [300, 4096, 5000, 70_000] {
                let worker =
                    Builder::new().ring_capacity(capacity).max_message(max).fork(echo).unwrap();
                let largest = (max - 60..=max)
                    .rev()
                    .find(|size| match worker.emit("unheard", ByteBuf::from(vec![1; *size])) {
                        Ok(()) => true,
                        Err(Error::TooLarge { size, max: allowed }) => {
                            assert_eq!(allowed, max);
                            assert!(size > max);
                            false
                        }
                        Err(other) => panic!("{other:?}"),
                    })
                    .expect("a header takes less than 60 bytes");
                let before = worker.stats().bytes_sent;
                worker.emit("unheard", ByteBuf::from(vec![1; largest])).unwrap();
                assert_eq!(
                    worker.stats().bytes_sent - before,
                    max as u64,
                    "encoded to exactly the limit"
                );
                let before = worker.stats();
                for over in [largest + 1, largest + 2, 2 * max, 100 * max] {
                    let bytes = ByteBuf::from(vec![1; over]);
                    assert_matches!(worker.emit("unheard", &bytes), Err(Error::TooLarge { .. }));
                    assert_matches!(
                        worker.try_emit("unheard", &bytes),
                        Err(Error::TooLarge { .. })
                    );
                }
                let after = worker.stats();
                assert_eq!(after.messages_sent, before.messages_sent, "nothing was sent");
                assert_eq!(after.bytes_sent, before.bytes_sent, "nothing was sent");
                check(&worker, largest - 20);
            }
        }
    });
}

/// An answer that is too large is an error for the caller, and for no other call.
#[test]
fn an_answer_larger_than_max_message() {
    within(LIMIT, || {
        let worker = Builder::new().max_message(10_000).fork(echo).unwrap();
        assert_eq!(worker.call::<ByteBuf>("fill", 9_000_usize).unwrap().len(), 9_000);
        let error = worker.call::<ByteBuf>("fill", 20_000_usize).unwrap_err();
        assert_matches!(error, Error::Remote { .. } | Error::TooLarge { .. });
        assert!(error.to_string().contains("large"), "{error}");
        assert_eq!(worker.call::<ByteBuf>("fill", 9_000_usize).unwrap().len(), 9_000);
    });
}

/// A long name counts like everything else.
#[test]
fn a_name_larger_than_max_message() {
    within(LIMIT, || {
        let worker = Builder::new().max_message(1000).fork(echo).unwrap();
        let name = "n".repeat(1001);
        assert_matches!(worker.call::<()>(&name, ()), Err(Error::TooLarge { .. }));
        assert_matches!(worker.emit(&name, ()), Err(Error::TooLarge { .. }));
        // A name that just passes may be too long for the error that repeats the name. The error is
        // an answer nevertheless.
        for length in (900..1001).rev() {
            match worker.call::<()>(&"n".repeat(length), ()) {
                Err(Error::TooLarge { .. }) => {}
                Err(Error::MethodNotFound { method }) => assert_eq!(method.len(), length),
                other => panic!("{other:?}"),
            }
        }
        check(&worker, 10);
    });
}

#[test]
fn stats_count_messages_and_bytes() {
    within(LIMIT, || {
        let worker = coprocess::fork(|parent| {
            parent.serve("length", |bytes: ByteBuf| bytes.len());
            let end = parent.downgrade();
            parent.serve("received", move |()| {
                let stats = end.upgrade().unwrap().stats();
                (stats.messages_received, stats.bytes_received)
            });
        })
        .unwrap();
        for (count, size) in [(1, 0), (10, 100), (3, 10_000), (2, 1_000_000)] {
            let (messages, bytes): (u64, u64) = worker.call("received", ()).unwrap();
            let before = worker.stats();
            for _ in 0..count {
                worker.call::<usize>("length", ByteBuf::from(vec![0; size])).unwrap();
            }
            let after = worker.stats();
            assert_eq!(after.messages_sent - before.messages_sent, count);
            assert_eq!(after.messages_received - before.messages_received, count);
            assert!(after.bytes_sent - before.bytes_sent >= count * size as u64);
            let (messages_after, bytes_after): (u64, u64) = worker.call("received", ()).unwrap();
            assert_eq!(messages_after - messages, count + 1);
            assert!(bytes_after - bytes >= count * size as u64);
        }
    });
}
