//! Panics in the program's own code while the library encodes and decodes its values. Nothing of a
//! message is sent unless all of it is. A caller that waits for an answer gets one, and the pair
//! lives on.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::common::meant::{MEANT, alive, panics, quiet, remote};
use crate::common::{self, LIMIT, assert_matches, at_once, eventually, within};
use coprocess::serde_bytes::ByteBuf;
use coprocess::{Coprocess, Error, Pending, Reply, TypeCheck};
use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

/// Below a slot, in several slots, in several turns of a small ring, and in several of a large one.
const SIZES: [u64; 5] = [0, 50, 2000, 50_000, 700_000];

/// So many bytes, and then a panic.
#[derive(Clone, Copy)]
struct Fuse(u64);

impl Serialize for Fuse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_seq(Some(2 * self.0 as usize))?;
        (0..self.0).try_for_each(|at| bytes.serialize_element(&(at as u8)))?;
        panic!("{MEANT}")
    }
}

/// One byte string, and a panic once it was handed over.
#[derive(Clone, Copy)]
struct LateFuse(u64);

impl Serialize for LateFuse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&vec![7; self.0 as usize])?;
        panic!("{MEANT}")
    }
}

/// Panics, or fails, when it is decoded: behind some bytes.
#[derive(Debug, PartialEq)]
struct Trap;

const PANICS: u8 = 1;
const FAILS: u8 = 2;

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Trap, D::Error> {
        match <(ByteBuf, u8, String)>::deserialize(deserializer)?.1 {
            PANICS => panic!("{MEANT}"),
            FAILS => Err(D::Error::custom("not today")),
            _ => Ok(Trap),
        }
    }
}

fn bait(size: u64, kind: u8) -> (ByteBuf, u8, &'static str) {
    (ByteBuf::from(vec![0; size as usize]), kind, "and some more")
}

fn worker(capacity: usize) -> Coprocess {
    checking(capacity, TypeCheck::default())
}

fn checking(capacity: usize, types: TypeCheck) -> Coprocess {
    let worker = common::patient().ring_capacity(capacity).check_types(types).fork(|parent| {
        quiet();
        parent
            .serve("length", |bytes: ByteBuf| bytes.len())
            .serve("fuse", Fuse)
            .try_serve("fuse or error", |size| Ok::<_, String>(Fuse(size)))
            .serve_deferred("fuse in hand", |size, reply: Reply<Fuse>| {
                reply.send(Fuse(size)).unwrap()
            })
            .serve_deferred("fuse later", |size, reply: Reply<Fuse>| {
                drop(thread::spawn(move || reply.send(Fuse(size))))
            })
            .serve("late fuse", LateFuse)
            .serve("trap", |_: Trap| ())
            .serve_deferred("trap later", |_: Trap, reply: Reply<()>| {
                drop(thread::spawn(move || reply.send(())))
            })
            .listen("trap", |_: Trap| ())
            .serve("bait", |(size, kind): (u64, u8)| bait(size, kind));
        let end = parent.downgrade();
        parent.serve("emit a fuse", move |size: u64| {
            end.upgrade().unwrap().emit("event", Fuse(size)).unwrap()
        });
        let end = parent.downgrade();
        parent.serve("call with a fuse", move |size: u64| {
            end.upgrade().unwrap().call::<()>("event", Fuse(size)).unwrap()
        });
        let end = parent.downgrade();
        parent.try_serve("ask", move |size: u64| end.upgrade().unwrap().call::<()>("nested", size));
        let received = Arc::new(AtomicU64::new(0));
        let count = received.clone();
        parent.listen("bytes", move |bytes: ByteBuf| {
            count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        });
        parent.serve("received", move |()| received.load(Ordering::SeqCst));
        let end = parent.downgrade();
        parent.serve("event panics", move |()| end.upgrade().unwrap().stats().event_panics);
    });
    worker.unwrap()
}

fn each(body: impl Fn(&Coprocess, u64)) {
    common::meant::each(worker, SIZES, body);
}

/// Nothing of it is sent.
#[test]
fn while_arguments_and_events_are_encoded() {
    within(LIMIT, || {
        each(|worker, size| {
            let sent = worker.stats().messages_sent;
            panics(|| worker.call::<()>("length", Fuse(size)));
            panics(|| worker.call::<()>("length", (vec![0_u8; 3000], Some(Fuse(size)))));
            panics(|| worker.call_timeout::<()>("length", Fuse(size), LIMIT));
            panics(|| worker.start::<()>("length", Fuse(size)));
            panics(|| {
                worker.call_with("length", Fuse(size), |_: coprocess::Result<()>| {
                    unreachable!("nothing was sent")
                })
            });
            panics(|| worker.emit("bytes", Fuse(size)));
            panics(|| worker.emit("bytes", [Ok(1), Err(Fuse(size))]));
            panics(|| worker.try_emit("bytes", Fuse(size)));
            panics(|| worker.emit_timeout("bytes", Fuse(size), LIMIT));
            assert_eq!(worker.stats().messages_sent, sent);
            // From several threads at once, between good messages.
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        panics(|| worker.emit("bytes", Fuse(size)));
                        alive(worker);
                        panics(|| worker.call::<()>("length", Fuse(size)));
                    });
                }
            });
            assert_eq!(worker.stats().messages_sent, sent + 3);
        });
    });
}

/// In handlers, of either end, that call and emit in turn.
#[test]
fn while_a_handler_sends() {
    within(LIMIT, || {
        each(|worker, size| {
            let end = worker.downgrade();
            worker.serve("nested", move |size: u64| {
                end.upgrade().unwrap().call::<()>("length", Fuse(size)).unwrap()
            });
            remote(worker.call::<()>("emit a fuse", size), MEANT);
            remote(worker.call::<()>("call with a fuse", size), MEANT);
            remote(worker.call::<()>("ask", size), MEANT);
        });
    });
}

/// The caller hears of it.
#[test]
fn while_a_result_is_encoded() {
    within(LIMIT, || {
        each(|worker, size| {
            for method in ["fuse", "fuse or error", "fuse in hand"] {
                remote(at_once(|| worker.call::<ByteBuf>(method, size)), MEANT);
            }
            remote(at_once(|| worker.call::<ByteBuf>("fuse later", size)), "without an answer");
            let calls: Vec<Pending<ByteBuf>> =
                (0..10).map(|_| worker.start("fuse later", size).unwrap()).collect();
            for call in calls {
                remote(call.wait(), "without an answer");
            }
        });
    });
}

/// A byte string that is sent from where it lies has been sent when its own code panics; a smaller
/// one has not. If its type is checked, its code runs once before the send, and panics then.
#[test]
fn after_a_byte_string_was_handed_over() {
    let received_with = |types: TypeCheck| {
        let received = AtomicU64::new(0);
        common::meant::each(
            |capacity| checking(capacity, types),
            SIZES,
            |worker, size| {
                let before: u64 = worker.call("received", ()).unwrap();
                panics(|| worker.emit("bytes", LateFuse(size)));
                panics(|| worker.call::<usize>("length", LateFuse(size)));
                panics(|| worker.start::<usize>("length", LateFuse(size)));
                let came = worker.call::<u64>("received", ()).unwrap() - before;
                assert!(came == 0 || came == size, "{came} of {size}");
                received.fetch_add(came, Ordering::SeqCst);
                match worker.call::<ByteBuf>("late fuse", size) {
                    Ok(bytes) => assert_eq!(bytes.len() as u64, size),
                    Err(error) => remote::<()>(Err(error), MEANT),
                }
            },
        );
        received.into_inner()
    };
    within(LIMIT, move || {
        assert_ne!(received_with(TypeCheck::Off), 0);
        assert_eq!(received_with(TypeCheck::FirstUse), 0);
        assert_eq!(received_with(TypeCheck::Always), 0);
    });
}

/// Awaits a call, the plain way.
fn awaited<T: serde::de::DeserializeOwned>(call: Pending<T>) -> coprocess::Result<T> {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = call.as_mut().poll(&mut context) {
            return result;
        }
        eventually("it is ready", || call.is_ready());
    }
}

#[test]
fn while_a_value_is_decoded() {
    within(LIMIT, || {
        each(|worker, size| {
            let before: u64 = worker.call("event panics", ()).unwrap();
            for method in ["trap", "trap later"] {
                worker.call::<()>(method, bait(size, 0)).unwrap();
                remote(at_once(|| worker.call::<()>(method, bait(size, PANICS))), MEANT);
                remote(at_once(|| worker.call::<()>(method, bait(size, FAILS))), "do not decode");
            }
            worker.emit("trap", bait(size, PANICS)).unwrap();
            worker.emit("trap", bait(size, FAILS)).unwrap();
            assert_eq!(worker.call::<u64>("event panics", ()).unwrap(), before + 1);

            assert_eq!(worker.call::<Trap>("bait", (size, 0_u8)).unwrap(), Trap);
            assert_matches!(worker.call::<Trap>("bait", (size, FAILS)), Err(Error::Decode { .. }));
            // It is the caller's own code, on the caller's own thread.
            panics(|| worker.call::<Trap>("bait", (size, PANICS)));
            let start = |kind| worker.start::<Trap>("bait", (size, kind)).unwrap();
            panics(|| start(PANICS).wait());
            panics(|| awaited(start(PANICS)));
            // On a thread of the library's it stays there.
            let (before, released) = (worker.stats().event_panics, Arc::new(()));
            let held = released.clone();
            worker
                .call_with("bait", (size, PANICS), move |_: coprocess::Result<Trap>| drop(held))
                .unwrap();
            eventually("the callback is over", || {
                worker.stats().event_panics == before + 1 && Arc::strong_count(&released) == 1
            });
        });
    });
}
