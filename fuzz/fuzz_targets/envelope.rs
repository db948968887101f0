//! Feeds messages of a hostile peer to an end: to parsing, decoding, handlers, nested calls, and
//! answers to calls that were made or were not.
//!
//! An independent reader of the format says what must come of each message: the end goes on, or
//! ends with `Misbehaved`. Each call is answered exactly once, unless it is given up. Nothing else
//! is answered.

#![no_main]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use coprocess::{Backpressure, Coprocess, Error, Pending, Reply};
use coprocess_fuzz::kinds::are_kinds;
use coprocess_fuzz::messages::{
    ANSWER, ASKS, CALL, CALL_BY, CANCEL, EVENT, FAILED, INTRODUCE, Id, MISTYPED, NOT_FOUND,
    OF_CALL, OVERLOADED, Parsed, RECEIPT, REFUSE, WELCOME, WITHDRAW, by, described, message,
    numbered, parse, words,
};
use coprocess_fuzz::segment::Segment;
use coprocess_ring::{Progress, Receiver, Region, Sender, Side};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde_bytes::ByteBuf;

const CAPACITY: usize = 64 * 1024;
const MAX_MESSAGE: usize = 40 * 1024;

const EVENTS: [&str; 6] = ["text", "bytes", "settle", "nested", "listening", "nobody"];
/// Identifies the only gauge of the end under test.
const GAUGE: u32 = 1;
/// Lists kinds that fit a handler, or nearly do.
const KINDS: [&[u8]; 16] = [
    b"s",
    b"y",
    b"u",
    b"H",
    b"(\x02kk",
    b"(\x02kj",
    b"(\x02KK",
    b"[\x01H",
    b"[\0",
    b"{\x01so[\x81j",
    b"[\x81(\x02H[\x81(\x02c(\x02II",
    b"(\x08bhLlfduoK",
    b"E\x06Result\0\x02Ok(\x02Is",
    b"N\x04Textu",
    b"S\x04Pair\x02\x01ak\x01bk",
    b"?",
];
/// Counts the numbers that can be introduced.
const NUMBERS: u32 = 64 * 1024;
/// Bounds the numbers that the end under test introduces. It has not introduced a greater one.
const MOST_OF_OURS: u32 = 1000;
/// Bounds the bytes of names and kinds that can be introduced.
const INTRODUCED_BYTES: usize = 8 << 20;

const METHODS: [&str; 11] = [
    "add", "echo", "bytes", "map", "tree", "numbers", "choice", "fails", "later", "nested",
    "nobody",
];

#[derive(Arbitrary, Debug)]
enum Step {
    /// A message of any bytes.
    Raw(Vec<u8>),
    /// An event in good form, or with one byte changed.
    Event {
        name: u8,
        value: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    /// An event for which the peer wants a receipt.
    Gauge {
        number: u32,
        name: u8,
        value: Vec<u8>,
    },
    /// A receipt for an event of the end's gauge, if such an event is on its way.
    Receipt,
    /// A receipt for a gauge with any number, which mostly does not exist.
    FalseReceipt(u32),
    Call {
        id: Id,
        name: u8,
        args: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    /// A call with a deadline.
    CallBy {
        id: Id,
        nanos: u64,
        name: u8,
        args: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    /// The peer introduces what a number stands for.
    Introduce {
        number: Number,
        of_call: bool,
        name: Name,
        kinds: Kinds,
        flip: Option<(u8, u8)>,
    },
    NumberedEvent {
        gauge: Option<u32>,
        number: Number,
        value: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    DescribedEvent {
        gauge: Option<u32>,
        name: Name,
        kinds: Kinds,
        value: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    NumberedCall {
        id: Id,
        nanos: Option<u64>,
        asks: bool,
        number: Number,
        args: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    DescribedCall {
        id: Id,
        nanos: Option<u64>,
        asks: bool,
        name: Name,
        kinds: Kinds,
        args: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    DescribedAnswer {
        to: To,
        kinds: Kinds,
        result: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    Mistyped {
        to: To,
        text: Vec<u8>,
    },
    /// A refusal of a number that the end under test has introduced, if there is one.
    Refuse {
        number: u8,
        wanted: u64,
    },
    Welcome(u8),
    /// A refusal of any number.
    RefuseAny(u32, u64),
    WelcomeAny(u32),
    /// The peer gives up a call that it has made.
    Cancel(u8),
    Withdraw(u8),
    /// The peer announces an urgent message, whether there is one or not.
    Urge,
    /// The peer gives up a call that it may not have made.
    CancelAny(Id),
    /// A call or event with any name.
    Named {
        call: bool,
        name: Vec<u8>,
        payload: Vec<u8>,
    },
    Answer {
        to: To,
        result: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    NotFound(To),
    Overloaded(To),
    Failed {
        to: To,
        text: Vec<u8>,
    },
    /// A long message, in fragments.
    Long {
        call: bool,
        name: u8,
        byte: u8,
        length: u16,
    },
    /// The end under test calls, for a result of one of several types.
    Start(u8),
    CallWith,
    Wait(u8),
    Forget(u8),
    IsReady(u8),
    Emit(u8),
    EmitLatest(u8),
    Unlisten(u8),
    Listen(u8),
    Poll,
    /// The peer closes: nothing follows.
    PeerCloses,
}

/// Chooses a call to answer.
#[derive(Arbitrary, Debug)]
enum To {
    /// A call that was made, and perhaps answered before.
    Made(u8),
    /// A call that was made, with another serial.
    Near(u8, i8),
    Any(Id),
}

/// Chooses a number of the peer's.
#[derive(Arbitrary, Debug)]
enum Number {
    /// The next number that the peer has not introduced.
    New,
    /// A number that the peer has introduced, if there is any.
    Introduced(u8),
    Any(u32),
}

#[derive(Arbitrary, Debug)]
enum Name {
    Event(u8),
    Method(u8),
    Any(Vec<u8>),
}

impl Name {
    fn bytes(&self) -> &[u8] {
        match self {
            Name::Event(i) => EVENTS[usize::from(*i) % EVENTS.len()].as_bytes(),
            Name::Method(i) => METHODS[usize::from(*i) % METHODS.len()].as_bytes(),
            Name::Any(name) => name,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Kinds {
    Known(u8),
    Any(Vec<u8>),
    /// Kinds that are nested so deeply.
    Deep(u8),
}

impl Kinds {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Kinds::Known(i) => KINDS[usize::from(*i) % KINDS.len()].to_vec(),
            Kinds::Any(kinds) => kinds.clone(),
            Kinds::Deep(levels) => [&vec![b'o'; usize::from(*levels)][..], b"H"].concat(),
        }
    }
}

type Tree = Vec<(u8, Vec<(char, [u16; 2])>)>;

/// Holds a call of the end under test, by the type of its result.
enum Call {
    Number(Pending<u64>),
    Text(Pending<String>),
    Bytes(Pending<ByteBuf>),
    Unit(Pending<()>),
}

impl Call {
    fn wait(self) -> coprocess::Result<()> {
        match self {
            Call::Number(call) => call.wait_timeout(Duration::ZERO).map(drop),
            Call::Text(call) => call.wait_timeout(Duration::ZERO).map(drop),
            Call::Bytes(call) => call.wait_timeout(Duration::ZERO).map(drop),
            Call::Unit(call) => call.wait_timeout(Duration::ZERO),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Call::Number(call) => call.is_ready(),
            Call::Text(call) => call.is_ready(),
            Call::Bytes(call) => call.is_ready(),
            Call::Unit(call) => call.is_ready(),
        }
    }
}

/// Plays the peer: records what the peer has asked and what the peer was asked.
struct Peer {
    sender: Sender,
    receiver: Receiver,
    buffer: Vec<u64>,
    /// Counts how often each call of the peer's must still be answered.
    asked: HashMap<Id, usize>,
    /// Lists the peer's calls in order.
    calls: Vec<Id>,
    /// Holds the peer's calls that may have fewer answers than they were made. They were given up,
    /// or made anew before they were answered.
    given_up: HashSet<Id>,
    /// Lists the calls of the end under test.
    made: Vec<Id>,
    /// Lists the numbers that the peer has introduced, in order.
    introduced: Vec<u32>,
    /// Counts the bytes of their names and kinds.
    introduced_bytes: usize,
    /// Lists the numbers that the end under test has introduced.
    numbers: Vec<u32>,
    /// Counts how often each gauge of the peer's awaits a receipt.
    awaited: HashMap<u32, usize>,
    /// Is `true` while a value of the end's gauge has arrived and its receipt was not sent.
    latest: bool,
    /// Is `true` once the peer has sent a message that no honest peer sends.
    spoilt: bool,
    /// Is `true` once the peer may have sent such a message: it counts only if the end has looked
    /// at it.
    doubtful: bool,
    /// Is `true` once the peer has closed.
    closed: bool,
}

impl Peer {
    fn send(&mut self, bytes: &[u8]) {
        if let Some(parsed) = parse(bytes)
            && (parsed.kind, parsed.id.0) == (RECEIPT, GAUGE)
            && !std::mem::take(&mut self.latest)
        {
            // Not sent: whether this is a violation depends on what the end has not sent yet.
            return;
        }
        if let Some(parsed) = parse(bytes)
            && matches!((parsed.kind, parsed.flags), (REFUSE | WELCOME, 0))
            && !self.numbers.contains(&parsed.id.0)
            && parsed.id.0 < MOST_OF_OURS
        {
            // Not sent: the end may still introduce this number.
            return;
        }
        if self.closed {
            return;
        }
        match self
            .sender
            .send(&words(bytes), bytes.len())
            .expect("the end never moves its position outside")
        {
            Progress::Sent => {}
            // The message is larger than the ring. The end must first receive the fragments, and it
            // does not matter whether the rest follows.
            Progress::NoSpace(_) => return self.sender.abandon(),
        }
        match parse(bytes) {
            Some(parsed) if parsed.kind == EVENT && parsed.id.0 > 0 => {
                *self.awaited.entry(parsed.id.0).or_default() += 1
            }
            Some(parsed) if matches!(parsed.kind, CALL | CALL_BY) => {
                let left = self.asked.entry(parsed.id).or_default();
                let deadline = (parsed.kind == CALL_BY)
                    .then(|| u64::from_le_bytes(bytes[16..24].try_into().unwrap()));
                // The deadline is within a lifetime. It may have passed, and then the call is not
                // served.
                if *left > 0 || deadline.is_some_and(|nanos| nanos < 1 << 62) {
                    self.given_up.insert(parsed.id);
                }
                *left += 1;
                self.calls.push(parsed.id);
            }
            Some(parsed) if matches!(parsed.kind, CANCEL | WITHDRAW) => {
                self.given_up.insert(parsed.id);
            }
            _ => {}
        }
        match parse(bytes) {
            // Only in doubt: if the call is not served, its name is not looked at.
            Some(parsed) if matches!(parsed.kind, CALL | CALL_BY) => {
                self.doubtful |= self.is_violation(bytes)
            }
            Some(parsed) if parsed.kind == INTRODUCE && !self.is_violation(bytes) => {
                self.introduced.push(parsed.id.0);
                self.introduced_bytes += parsed.name.len() + parsed.payload.len();
            }
            _ => self.spoilt |= self.is_violation(bytes),
        }
    }

    /// Returns `true` if an end must not go on after this message. No handler here has a name that
    /// is not UTF-8.
    fn is_violation(&self, bytes: &[u8]) -> bool {
        let Some(parsed) = parse(bytes) else { return true };
        let is_known = parsed.number.is_none_or(|number| self.introduced.contains(&number));
        let makes_sense = match parsed.kind {
            RECEIPT => parsed.id.0 == GAUGE,
            REFUSE | WELCOME => parsed.flags != 0 || self.numbers.contains(&parsed.id.0),
            INTRODUCE => {
                parsed.id.0 < NUMBERS
                    && !self.introduced.contains(&parsed.id.0)
                    && self.introduced_bytes + parsed.name.len() + parsed.payload.len()
                        <= INTRODUCED_BYTES
                    && are_kinds(parsed.payload)
            }
            _ => true,
        };
        std::str::from_utf8(parsed.name).is_err() || !is_known || !makes_sense
    }

    /// Checks what a message of the end under test says of types: it must be honest.
    fn note_types(&mut self, parsed: &Parsed<'_>) {
        if let Some(number) = parsed.number {
            assert!(self.numbers.contains(&number), "{number} was not introduced");
        }
        if let Some(kinds) = parsed.kinds {
            assert!(are_kinds(kinds), "{kinds:?} are no kinds");
        }
        match parsed.kind {
            INTRODUCE => {
                let number = parsed.id.0;
                assert!(
                    !self.numbers.contains(&number) && number < MOST_OF_OURS,
                    "{number} is introduced again, or too great"
                );
                assert!(std::str::from_utf8(parsed.name).is_ok() && are_kinds(parsed.payload));
                self.numbers.push(number);
            }
            REFUSE | WELCOME if parsed.flags != 0 => {}
            REFUSE | WELCOME => {
                assert!(self.introduced.contains(&parsed.id.0), "{} is not the peer's", parsed.id.0)
            }
            _ => {}
        }
    }

    fn number(&self, number: &Number) -> u32 {
        match number {
            Number::New => {
                (0..).find(|number| !self.introduced.contains(number)).unwrap_or_default()
            }
            Number::Introduced(i) => self
                .introduced
                .get(usize::from(*i) % self.introduced.len().max(1))
                .copied()
                .unwrap_or_default(),
            Number::Any(number) => *number,
        }
    }

    /// Receives and checks what the end has sent.
    fn take(&mut self) {
        while let Some(bytes) = self.receiver.receive(&mut self.buffer).expect("honest frames") {
            let message: Vec<u8> =
                self.buffer.iter().flat_map(|word| word.to_le_bytes()).take(bytes).collect();
            let parsed = parse(&message).expect("an honest message");
            self.note_types(&parsed);
            match parsed.kind {
                CALL | CALL_BY => self.made.push(parsed.id),
                CANCEL | WITHDRAW => {
                    assert!(self.made.contains(&parsed.id), "a call is given up that was not made")
                }
                EVENT if parsed.id.0 == GAUGE => {
                    assert!(!self.latest, "two values of a gauge are on the way");
                    self.latest = true;
                }
                RECEIPT => {
                    let left = self.awaited.get_mut(&parsed.id.0).filter(|left| **left > 0);
                    *left.expect("a receipt for an event that was sent") -= 1;
                }
                ANSWER | NOT_FOUND | OVERLOADED | FAILED | MISTYPED => {
                    let left = self.asked.get_mut(&parsed.id).filter(|left| **left > 0);
                    *left.expect("an answer to a call that was made, and not answered") -= 1;
                }
                _ => {}
            }
        }
    }

    fn id(&self, to: &To) -> Id {
        let made = |i: u8| {
            self.made.get(usize::from(i) % self.made.len().max(1)).copied().unwrap_or_default()
        };
        match to {
            To::Made(i) => made(*i),
            To::Near(i, by) => (made(*i).0, made(*i).1.wrapping_add_signed(i64::from(*by))),
            To::Any(id) => *id,
        }
    }
}

fn timed(nanos: Option<u64>, call: Vec<u8>) -> Vec<u8> {
    match nanos {
        Some(nanos) => by(nanos, call),
        None => call,
    }
}

fn flipped(mut bytes: Vec<u8>, flip: Option<(u8, u8)>) -> Vec<u8> {
    if let Some((at, bits)) = flip
        && let Some(byte) = bytes.get_mut(usize::from(at))
    {
        *byte ^= bits;
    }
    bytes
}

fn register(co: &Coprocess, replies: &Arc<Mutex<Vec<Reply<u64>>>>) {
    co.serve("add", |(a, b): (i64, i64)| a.wrapping_add(b));
    co.serve("echo", |text: String| text);
    co.serve("bytes", |bytes: ByteBuf| bytes);
    co.serve("map", |map: BTreeMap<String, Option<Vec<i32>>>| map.len());
    co.serve("tree", |tree: Tree| tree);
    co.serve("numbers", |numbers: (bool, i8, u128, i128, f32, f64, (), Option<u64>)| numbers);
    co.serve("choice", |choice: Result<(u16, String), Option<bool>>| choice);
    co.try_serve("fails", |text: String| Err::<(), _>(text));
    let kept = replies.clone();
    co.serve_deferred("later", move |(), reply| kept.lock().unwrap().push(reply));
    let weak = co.downgrade();
    co.serve("nested", move |name: u8| {
        let co = weak.upgrade()?;
        co.call_timeout::<u64>(METHODS[usize::from(name) % METHODS.len()], (), Duration::ZERO).ok()
    });
    co.listen("text", |_: String| {});
    co.listen("bytes", |_: ByteBuf| {});
    let weak = co.downgrade();
    co.listen("nested", move |(): ()| {
        if let Some(co) = weak.upgrade() {
            let _ = co.poll();
        }
    });
    let kept = replies.clone();
    co.listen("settle", move |how: u8| {
        let reply = kept.lock().unwrap().pop();
        match (reply, how % 3) {
            (Some(reply), 0) => drop(reply.send(how.into())),
            (Some(reply), 1) => drop(reply.fail("no")),
            // The reply is dropped unanswered.
            _ => {}
        }
    });
}

fn fuzz(steps: Vec<Step>) {
    static SEGMENT: OnceLock<(Region, Region, Segment)> = OnceLock::new();
    let (ours, theirs, segment) = SEGMENT.get_or_init(|| {
        let (region, file) = Region::create(CAPACITY).expect("create");
        let theirs = Region::attach(&file, CAPACITY).expect("attach");
        (region, theirs, Segment::map(&file, CAPACITY))
    });
    segment.reset(0);
    let co = coprocess::fuzzing::end(ours, Side::Parent, MAX_MESSAGE);
    let replies = Arc::default();
    register(&co, &replies);
    let mut peer = Peer {
        sender: Sender::new(theirs, Side::Worker),
        receiver: Receiver::new(theirs, Side::Worker, 1 << 20),
        buffer: Vec::new(),
        asked: HashMap::new(),
        calls: Vec::new(),
        given_up: HashSet::new(),
        made: Vec::new(),
        introduced: Vec::new(),
        introduced_bytes: 0,
        numbers: Vec::new(),
        awaited: HashMap::new(),
        latest: false,
        spoilt: false,
        doubtful: false,
        closed: false,
    };
    let latest = co.event("latest").backpressure(Backpressure::KeepLatest);
    let mut calls: Vec<Call> = Vec::new();
    let name = |names: &[&'static str], i: u8| names[usize::from(i) % names.len()].as_bytes();

    for step in steps {
        match step {
            Step::Raw(bytes) => peer.send(&bytes),
            Step::Event { name: i, value, flip } => {
                peer.send(&flipped(message(EVENT, (0, 0), name(&EVENTS, i), &value), flip))
            }
            Step::Gauge { number, name: i, value } => {
                peer.send(&message(EVENT, (number, 0), name(&EVENTS, i), &value))
            }
            Step::Receipt => peer.send(&message(RECEIPT, (GAUGE, 0), &[], &[])),
            Step::FalseReceipt(number) => peer.send(&message(RECEIPT, (number, 0), &[], &[])),
            Step::Call { id, name: i, args, flip } => {
                peer.send(&flipped(message(CALL, id, name(&METHODS, i), &args), flip))
            }
            Step::CallBy { id, nanos, name: i, args, flip } => {
                peer.send(&flipped(by(nanos, message(CALL, id, name(&METHODS, i), &args)), flip));
            }
            Step::Introduce { number, of_call, name, kinds, flip } => {
                let kind = INTRODUCE | if of_call { OF_CALL } else { 0 };
                peer.send(&flipped(
                    message(kind, (peer.number(&number), 0), name.bytes(), &kinds.bytes()),
                    flip,
                ));
            }
            Step::NumberedEvent { gauge, number, value, flip } => {
                peer.send(&flipped(
                    numbered(EVENT, (gauge.unwrap_or(0), 0), peer.number(&number), &value),
                    flip,
                ));
            }
            Step::DescribedEvent { gauge, name, kinds, value, flip } => {
                peer.send(&flipped(
                    described(EVENT, (gauge.unwrap_or(0), 0), name.bytes(), &kinds.bytes(), &value),
                    flip,
                ));
            }
            Step::NumberedCall { id, nanos, asks, number, args, flip } => {
                let call =
                    numbered(CALL | if asks { ASKS } else { 0 }, id, peer.number(&number), &args);
                peer.send(&flipped(timed(nanos, call), flip));
            }
            Step::DescribedCall { id, nanos, asks, name, kinds, args, flip } => {
                let call = described(
                    CALL | if asks { ASKS } else { 0 },
                    id,
                    name.bytes(),
                    &kinds.bytes(),
                    &args,
                );
                peer.send(&flipped(timed(nanos, call), flip));
            }
            Step::DescribedAnswer { to, kinds, result, flip } => {
                peer.send(&flipped(
                    described(ANSWER, peer.id(&to), &[], &kinds.bytes(), &result),
                    flip,
                ));
            }
            Step::Mistyped { to, text } => peer.send(&message(MISTYPED, peer.id(&to), &[], &text)),
            Step::Refuse { number, wanted } if !peer.numbers.is_empty() => {
                let number = peer.numbers[usize::from(number) % peer.numbers.len()];
                peer.send(&message(REFUSE, (number, wanted), &[], &[]));
            }
            Step::Welcome(number) if !peer.numbers.is_empty() => {
                let number = peer.numbers[usize::from(number) % peer.numbers.len()];
                peer.send(&message(WELCOME, (number, 0), &[], &[]));
            }
            Step::Refuse { .. } | Step::Welcome(_) => {}
            Step::RefuseAny(number, wanted) => {
                peer.send(&message(REFUSE, (number, wanted), &[], &[]))
            }
            Step::WelcomeAny(number) => peer.send(&message(WELCOME, (number, 0), &[], &[])),
            Step::Cancel(i) if !peer.calls.is_empty() => {
                let id = peer.calls[usize::from(i) % peer.calls.len()];
                peer.send(&message(CANCEL, id, &[], &[]));
            }
            Step::Withdraw(i) if !peer.calls.is_empty() => {
                let id = peer.calls[usize::from(i) % peer.calls.len()];
                peer.send(&message(WITHDRAW, id, &[], &[]));
            }
            Step::Cancel(_) | Step::Withdraw(_) => {}
            Step::Urge => peer.sender.urge(),
            Step::CancelAny(id) => peer.send(&message(CANCEL, id, &[], &[])),
            Step::Named { call, name, payload } => {
                peer.send(&message(if call { CALL } else { EVENT }, (0, 0), &name, &payload));
            }
            Step::Answer { to, result, flip } => {
                peer.send(&flipped(message(ANSWER, peer.id(&to), &[], &result), flip))
            }
            Step::NotFound(to) => peer.send(&message(NOT_FOUND, peer.id(&to), &[], &[])),
            Step::Overloaded(to) => peer.send(&message(OVERLOADED, peer.id(&to), &[], &[])),
            Step::Failed { to, text } => peer.send(&message(FAILED, peer.id(&to), &[], &text)),
            Step::Long { call, name: i, byte, length } => {
                let payload = vec![byte; usize::from(length) % (MAX_MESSAGE - 64)];
                let (kind, names) = if call { (CALL, &METHODS[..]) } else { (EVENT, &EVENTS[..]) };
                peer.send(&message(kind, (0, 0), name(names, i), &payload));
            }
            // There is space for the message, since what the end has sent is received at once.
            Step::Start(kind) => match kind % 4 {
                0 => calls.extend(co.start("number", ()).map(Call::Number)),
                1 => calls.extend(co.start("text", "why").map(Call::Text)),
                2 => calls.extend(co.start("bytes", 1).map(Call::Bytes)),
                _ => calls.extend(co.start("unit", ()).map(Call::Unit)),
            },
            Step::CallWith => {
                drop(co.call_with("number", (), |result: coprocess::Result<u64>| drop(result)))
            }
            Step::Wait(i) if !calls.is_empty() => {
                drop(calls.swap_remove(usize::from(i) % calls.len()).wait())
            }
            Step::Forget(i) if !calls.is_empty() => {
                drop(calls.swap_remove(usize::from(i) % calls.len()))
            }
            Step::IsReady(i) if !calls.is_empty() => {
                calls[usize::from(i) % calls.len()].is_ready();
            }
            Step::Wait(_) | Step::Forget(_) | Step::IsReady(_) => {}
            Step::Emit(value) => drop(co.try_emit("event", vec![value; value.into()])),
            Step::EmitLatest(value) => drop(latest.emit(value)),
            Step::Unlisten(i) => drop(co.unlisten(EVENTS[usize::from(i) % EVENTS.len()])),
            Step::Listen(i) => {
                co.listen(EVENTS[usize::from(i) % EVENTS.len()], |_: (u8, String)| {});
            }
            Step::Poll => while matches!(co.poll(), Ok(1..)) {},
            Step::PeerCloses => {
                peer.closed = true;
                peer.sender.close().expect("wake");
            }
        }
        peer.take();
    }

    let ended = loop {
        match co.poll() {
            Ok(0) => break None,
            Ok(_) => peer.take(),
            Err(error) => break Some(error),
        }
    };
    let misbehaved = matches!(ended, Some(Error::Misbehaved(_)));
    assert!(misbehaved == peer.spoilt || misbehaved && peer.doubtful, "{ended:?}");
    drop(replies.lock().unwrap().drain(..).collect::<Vec<_>>());
    peer.take();
    if ended.is_none() {
        assert!(
            peer.awaited.values().all(|left| *left == 0),
            "receipts were not sent: {:?}",
            peer.awaited
        );
        peer.asked.retain(|id, left| *left > 0 && !peer.given_up.contains(id));
        assert!(peer.asked.is_empty(), "calls were not answered: {:?}", peer.asked);
    }
    drop(calls);
    co.close().expect("a close without a worker");
}

fuzz_target!(|steps: Vec<Step>| fuzz(steps));
