//! Values that ask for more than they are: lengths of quintillions, elements without bytes, nesting
//! without end. An end that receives one gets an error, for next to no memory, and the pair lives
//! on.
//!
//! The values come over the wire, from workers that encode them on purpose, and go to workers
//! likewise: without a word about their types, and with the kinds of an honest value.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::common::{
    self, LIMIT, SMALL_RING, alone, assert_matches, at_once, eventually, peak_kib, within,
};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Coprocess, Error, Pending, Reply, TypeCheck, WaitStrategy};
use serde::de::DeserializeOwned;
use serde::ser::SerializeTuple;
use serde::{Deserialize, Serialize, Serializer};

/// Bytes that are to become the encoded value as they are.
#[derive(Clone, Debug, Deserialize)]
struct Raw(ByteBuf);

/// A value with these bytes. Where its type is looked at first, it is an honest one then.
struct Crafted<T> {
    raw: Raw,
    looked_at: Cell<bool>,
    of: PhantomData<fn() -> T>,
}

impl<T> Crafted<T> {
    /// Makes a value that is encoded as `raw`. `types` is the setting of the pair.
    fn new(raw: &Raw, types: TypeCheck) -> Crafted<T> {
        Crafted { raw: raw.clone(), looked_at: Cell::new(types == TypeCheck::Off), of: PhantomData }
    }
}

impl<T: Count> Serialize for Crafted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.looked_at.replace(true) {
            return T::sample().serialize(serializer);
        }
        let mut tuple = serializer.serialize_tuple(self.raw.0.len())?;
        self.raw.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

impl Raw {
    /// Writes a number of variable length, as all lengths are.
    fn number(mut number: u64) -> Raw {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        Raw(bytes.into())
    }

    fn then(mut self, bytes: &[u8]) -> Raw {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// One byte a level.
#[derive(Debug, Serialize, Deserialize)]
enum List {
    End,
    Link(Box<List>),
}

/// One byte a level, another way.
#[derive(Debug, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

/// One byte a level, a third way.
#[derive(Debug, Serialize, Deserialize)]
struct Tree {
    children: Vec<Tree>,
}

/// Three bytes a level.
#[derive(Debug, Serialize, Deserialize)]
struct Maps(BTreeMap<u8, Maps>);

/// Takes no bytes on the wire, and some in memory.
#[derive(Debug, Serialize, Deserialize)]
struct Skipped {
    #[serde(skip, default = "memory")]
    _memory: [u64; 16],
}

impl Default for Skipped {
    fn default() -> Skipped {
        Skipped { _memory: memory() }
    }
}

fn memory() -> [u64; 16] {
    [1; 16]
}

/// How many of each type's bytes or elements there were. Whatever is received is used.
trait Count: Serialize + DeserializeOwned + Send + 'static {
    fn count(&self) -> usize;

    /// Makes a modest value, whose kinds tell all there is to tell.
    fn sample() -> Self;
}

macro_rules! count {
    ($($type:ty),*) => {$(
        impl Count for $type {
            fn count(&self) -> usize {
                self.len()
            }

            fn sample() -> Self {
                std::iter::once(Default::default()).collect()
            }
        }
    )*};
}

count!(Vec<u8>, Vec<u64>, Vec<()>, Vec<Skipped>, Vec<Vec<()>>, Vec<Vec<Skipped>>, Vec<String>);
count!(HashMap<u64, u64>, HashMap<(), ()>, HashSet<()>, BTreeMap<u8, ()>, Vec<HashMap<u64, u64>>);

impl Count for String {
    fn count(&self) -> usize {
        self.len()
    }

    fn sample() -> String {
        String::from("text")
    }
}

impl Count for ByteBuf {
    fn count(&self) -> usize {
        self.len()
    }

    fn sample() -> ByteBuf {
        ByteBuf::from([0])
    }
}

impl Count for List {
    fn sample() -> List {
        List::Link(Box::new(List::Link(Box::new(List::End))))
    }

    fn count(&self) -> usize {
        let mut count = 0;
        let mut at = self;
        while let List::Link(next) = at {
            at = next;
            count += 1;
        }
        count
    }
}

impl Count for Chain {
    fn sample() -> Chain {
        Chain(Some(Box::new(Chain(None))))
    }

    fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |next| 1 + next.count())
    }
}

impl Count for Tree {
    fn sample() -> Tree {
        Tree { children: vec![Tree { children: vec![] }] }
    }

    fn count(&self) -> usize {
        self.children.iter().map(|child| 1 + child.count()).sum()
    }
}

impl Count for Maps {
    fn sample() -> Maps {
        Maps(BTreeMap::from([(7, Maps(BTreeMap::new()))]))
    }

    fn count(&self) -> usize {
        self.0.values().map(|next| 1 + next.count()).sum()
    }
}

/// What is done with values of a type, which has this name.
#[derive(Clone, Copy)]
struct Kind {
    /// Takes one wherever one can arrive.
    take: fn(&Coprocess, &str),
    emit: fn(&Coprocess, &str, &Raw, TypeCheck) -> coprocess::Result<()>,
    call: fn(&Coprocess, &str, &Raw, TypeCheck) -> coprocess::Result<usize>,
    /// Answers with one that is sent to it in a parcel.
    answer: fn(&Coprocess, &str),
}

const fn of<T: Count>() -> Kind {
    Kind {
        take: |end, name| {
            end.serve(name, |value: T| value.count());
            end.serve_deferred(&format!("{name} later"), |value: T, reply: Reply<usize>| {
                reply.send(value.count()).unwrap()
            });
            end.listen(name, |value: T| drop(value));
        },
        emit: |end, name, raw, types| end.emit(name, Crafted::<T>::new(raw, types)),
        call: |end, name, raw, types| end.call(name, Crafted::<T>::new(raw, types)),
        answer: |end, name| {
            end.serve(&format!("answer {name}"), |raw: (Raw,)| Crafted::<T>::new(&raw.0, types()));
            end.serve_deferred(
                &format!("answer {name} later"),
                |raw: (Raw,), reply: Reply<Crafted<T>>| {
                    drop(thread::spawn(move || reply.send(Crafted::new(&raw.0, types()))));
                },
            );
        },
    }
}

/// Visits each type: its name, and what must not be accepted as one.
fn for_each_type(mut visit: impl FnMut(&str, Kind, &[Raw])) {
    let lengths: Vec<Raw> =
        [1 << 20, 1 << 32, 1 << 60, (1 << 60) + 1, u64::MAX].map(Raw::number).to_vec();
    // Something is there, but much less.
    let with_some: Vec<Raw> =
        lengths.iter().map(|length| length.clone().then(&[0; 3000])).collect();
    // Within a sequence whose own length is right, each with the length of all.
    let inner = Raw::number(1 << 16).0;
    let nested: Vec<Raw> = [2, 1000, 100_000]
        .map(|count| Raw::number(count).then(&inner.repeat(count as usize)))
        .to_vec();
    let deep = |level: &[u8]| {
        [129, 5000, 100_000, 3_000_000]
            .map(|levels| Raw(level.repeat(levels / level.len() + 129).into()))
            .to_vec()
    };

    for values in [lengths, with_some] {
        visit("bytes", of::<Vec<u8>>(), &values);
        visit("numbers", of::<Vec<u64>>(), &values);
        visit("units", of::<Vec<()>>(), &values);
        visit("skipped", of::<Vec<Skipped>>(), &values);
        visit("texts", of::<Vec<String>>(), &values);
        visit("text", of::<String>(), &values);
        visit("byte buffer", of::<ByteBuf>(), &values);
        visit("map", of::<HashMap<u64, u64>>(), &values);
        visit("map of units", of::<HashMap<(), ()>>(), &values);
        visit("set of units", of::<HashSet<()>>(), &values);
        visit("ordered map", of::<BTreeMap<u8, ()>>(), &values);
    }
    visit("units in sequences", of::<Vec<Vec<()>>>(), &nested);
    visit("skipped in sequences", of::<Vec<Vec<Skipped>>>(), &nested);
    visit("maps in sequences", of::<Vec<HashMap<u64, u64>>>(), &nested);
    visit("list", of::<List>(), &deep(&[1]));
    visit("chain", of::<Chain>(), &deep(&[1]));
    visit("tree", of::<Tree>(), &deep(&[1]));
    visit("maps", of::<Maps>(), &deep(&[1, 7]));
}

const TYPES: &str = "HOSTILE_VALUES_TYPES";

/// Returns the setting of the pair, in a worker.
fn types() -> TypeCheck {
    match std::env::var(TYPES).unwrap().as_str() {
        "off" => TypeCheck::Off,
        "always" => TypeCheck::Always,
        other => unreachable!("{other}"),
    }
}

/// Forks a worker that takes every type, and sends back what it is given.
fn worker((capacity, strategy, types_checked): Setup) -> Coprocess {
    let name = if types_checked == TypeCheck::Off { "off" } else { "always" };
    let worker = common::patient()
        .ring_capacity(capacity)
        .wait(strategy)
        .check_types(types_checked)
        .env(TYPES, name)
        .fork(|parent| {
            let mut kinds = HashMap::new();
            for_each_type(|name, kind, _| {
                (kind.take)(&parent, name);
                (kind.answer)(&parent, name);
                kinds.insert(name.to_owned(), kind);
            });
            let kinds = Arc::new(kinds);
            let (end, of) = (parent.downgrade(), kinds.clone());
            parent.serve("emit", move |(name, raw): (String, Raw)| {
                (of[&name].emit)(&end.upgrade().unwrap(), &name, &raw, types()).unwrap();
            });
            let (end, of) = (parent.downgrade(), kinds);
            parent.serve("call", move |(name, raw): (String, Raw)| {
                match (of[&name].call)(&end.upgrade().unwrap(), &name, &raw, types()) {
                    Err(Error::Remote { message, .. }) => message,
                    other => panic!("{other:?}"),
                }
            });
            let end = parent.downgrade();
            parent
                .serve("undecodable", move |()| end.upgrade().unwrap().stats().events_undecodable);
            parent.serve("peak", |()| peak_kib());
        });
    worker.unwrap()
}

/// Wraps a raw value for its way to a worker that is to send it. On that way it is still a byte
/// string.
fn parcel(raw: &Raw) -> &Bytes {
    Bytes::new(&raw.0)
}

type Setup = (usize, WaitStrategy, TypeCheck);

/// A message through a small ring takes many turns; then there are fewer of them.
const SETUPS: [Setup; 3] = [
    (SMALL_RING, WaitStrategy::Block, TypeCheck::Off),
    (256 * 1024, WaitStrategy::Adaptive, TypeCheck::Off),
    (256 * 1024, WaitStrategy::Adaptive, TypeCheck::Always),
];

/// What the largest message, a few copies of it, and all the small ones may take, and no more.
const ALLOWANCE_KIB: u64 = 128 * 1024;

/// As arguments of calls, in handlers that answer at once and later, and as events.
#[test]
fn sent_to_a_worker() {
    within(LIMIT, || {
        for setup in SETUPS {
            let (worker, types) = (worker(setup), setup.2);
            let before: u64 = worker.call("peak", ()).unwrap();
            let mut events = 0;
            for_each_type(|name, kind, values| {
                for raw in values {
                    for method in [name, &format!("{name} later")] {
                        let error =
                            at_once(|| (kind.call)(&worker, method, raw, types)).unwrap_err();
                        assert_matches!(error, Error::Remote { ref message, .. } if message.contains("do not decode"));
                        let error = at_once(|| worker.call_bytes(method, &raw.0)).unwrap_err();
                        assert_matches!(error, Error::Remote { ref message, .. } if message.contains("do not decode"));
                    }
                    (kind.emit)(&worker, name, raw, types).unwrap();
                    worker.emit_bytes(name, &raw.0).unwrap();
                    events += 2;
                }
            });
            assert_eq!(worker.call::<u64>("undecodable", ()).unwrap(), events);
            let grown = worker.call::<u64>("peak", ()).unwrap() - before;
            assert!(grown < ALLOWANCE_KIB, "{grown} KiB");
            assert!(worker.close().unwrap().unwrap().success());
        }
    });
}

struct Idle;

impl Wake for Idle {
    fn wake(self: Arc<Self>) {}
}

/// Awaits a call, the plain way.
fn awaited<T: DeserializeOwned>(mut call: Pending<T>) -> Result<T, Error> {
    let waker = Waker::from(Arc::new(Idle));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = std::pin::Pin::new(&mut call).poll(&mut context) {
            return result;
        }
        eventually("it is ready", || call.is_ready());
    }
}

fn refuse<T: Count>(worker: &Coprocess, name: &str, raw: &Raw) {
    for method in [&*format!("answer {name}"), &*format!("answer {name} later")] {
        let refused = |result: Result<T, Error>| match result {
            Err(Error::Decode { what, .. }) => assert_eq!(what, method),
            Err(error) => panic!("{error}"),
            Ok(value) => panic!("{} of them", value.count()),
        };
        refused(at_once(|| worker.call(method, (parcel(raw),))));
        refused(at_once(|| worker.start(method, (parcel(raw),)).and_then(Pending::wait)));
        refused(at_once(|| worker.start(method, (parcel(raw),)).and_then(awaited)));
        let (sender, result) = std::sync::mpsc::channel();
        worker
            .call_with(method, (parcel(raw),), move |result| sender.send(result).unwrap())
            .unwrap();
        refused(common::next(&result));
    }
}

/// As results of calls, however they are waited for.
#[test]
fn sent_as_an_answer() {
    within(LIMIT, || {
        alone!({
            for setup in SETUPS {
                let worker = worker(setup);
                let before = peak_kib();
                for_each_type(|name, _, values| {
                    for raw in values {
                        match name {
                            "bytes" => refuse::<Vec<u8>>(&worker, name, raw),
                            "units" => refuse::<Vec<()>>(&worker, name, raw),
                            "skipped" => refuse::<Vec<Skipped>>(&worker, name, raw),
                            "map" => refuse::<HashMap<u64, u64>>(&worker, name, raw),
                            "byte buffer" => refuse::<ByteBuf>(&worker, name, raw),
                            "units in sequences" => refuse::<Vec<Vec<()>>>(&worker, name, raw),
                            "list" => refuse::<List>(&worker, name, raw),
                            "tree" => refuse::<Tree>(&worker, name, raw),
                            // What differs is the types, which the other directions try.
                            _ => {}
                        }
                    }
                });
                let grown = peak_kib() - before;
                assert!(grown < ALLOWANCE_KIB, "{grown} KiB");
                assert!(worker.close().unwrap().unwrap().success());
            }
        });
    });
}

/// As arguments of calls and as events, to handlers that run on the thread that waits or in the
/// background.
#[test]
fn sent_by_a_worker() {
    within(LIMIT, || {
        alone!({
            for setup in SETUPS {
                let worker = worker(setup);
                let before = peak_kib();
                for_each_type(|name, kind, _| (kind.take)(&worker, name));
                let mut events = 0;
                for_each_type(|name, _, values| {
                    for raw in values {
                        let message: String =
                            at_once(|| worker.call("call", (name, parcel(raw)))).unwrap();
                        assert!(message.contains("do not decode"), "{message}");
                        // Sent without a thread that waits for it: the background thread, with its
                        // smaller stack, receives the event.
                        drop(worker.start::<()>("emit", (name, parcel(raw))).unwrap());
                        events += 1;
                        eventually("the event has come", || {
                            worker.stats().events_undecodable == events
                        });
                    }
                });
                let grown = peak_kib() - before;
                assert!(grown < ALLOWANCE_KIB, "{grown} KiB");
                assert!(worker.close().unwrap().unwrap().success());
            }
        });
    });
}

/// What is nested as deeply as it may be, or has elements without bytes, in moderation, arrives.
#[test]
fn within_the_bounds() {
    within(LIMIT, || {
        let worker = worker((SMALL_RING, WaitStrategy::Adaptive, TypeCheck::Always));
        let deepest = Raw([vec![1; 127], vec![0]].concat().into());
        for (name, kind) in
            [("list", of::<List>()), ("chain", of::<Chain>()), ("tree", of::<Tree>())]
        {
            for method in [name, &format!("{name} later")] {
                assert_eq!((kind.call)(&worker, method, &deepest, TypeCheck::Always).unwrap(), 127);
                assert_eq!(worker.call_bytes(method, &deepest.0).unwrap(), [127]);
            }
        }
        assert_eq!(worker.call::<usize>("units", vec![(); 5000]).unwrap(), 5000);
        assert_eq!(worker.call::<usize>("bytes", vec![7_u8; 1 << 20]).unwrap(), 1 << 20);
        let many = vec![String::new(); 1 << 20];
        assert_eq!(worker.call::<usize>("texts", &many).unwrap(), many.len());
    });
}
