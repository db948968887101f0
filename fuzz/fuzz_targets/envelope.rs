//! Messages of a hostile peer into an end: taking apart, decoding, handlers, nested calls, answers to calls that were and were not made.
//!
//! An independent reading of the format says what must come of each message: an end that goes on, or one that is over with `Misbehaved`. Every call
//! is answered exactly once, unless it is given up, and nothing else is.

#![no_main]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use coprocess::{Backpressure, Coprocess, Error, Pending, Reply};
use coprocess_fuzz::messages::{
    ANSWER, CALL, CALL_BY, CANCEL, EVENT, FAILED, Id, NOT_FOUND, OVERLOADED, RECEIPT, WITHDRAW, call_by, message, parse, words,
};
use coprocess_fuzz::segment::Segment;
use coprocess_ring::{Progress, Receiver, Region, Sender, Side};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde_bytes::ByteBuf;

const CAPACITY: usize = 64 * 1024;
const MAX_MESSAGE: usize = 40 * 1024;

const EVENTS: [&str; 6] = ["text", "bytes", "settle", "nested", "listening", "nobody"];
/// The number of this side's one gauge.
const GAUGE: u32 = 1;
const METHODS: [&str; 11] = ["add", "echo", "bytes", "map", "tree", "numbers", "choice", "fails", "later", "nested", "nobody"];

#[derive(Arbitrary, Debug)]
enum Step {
    /// A message as it is.
    Raw(Vec<u8>),
    /// A message in good form, but for a byte of it perhaps.
    Event {
        name: u8,
        value: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    /// An event of which the peer wants a receipt.
    Gauge {
        number: u32,
        name: u8,
        value: Vec<u8>,
    },
    /// For an event of this side's gauge, if one is on the way.
    Receipt,
    /// For one that there is not.
    FalseReceipt(u32),
    Call {
        id: Id,
        name: u8,
        args: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    /// A call that has a deadline.
    CallBy {
        id: Id,
        nanos: u64,
        name: u8,
        args: Vec<u8>,
        flip: Option<(u8, u8)>,
    },
    /// The peer gives up a call that it has made.
    Cancel(u8),
    Withdraw(u8),
    /// Says that there is something urgent, rightly or not.
    Urge,
    /// Or perhaps has not made.
    CancelAny(Id),
    /// A call or an event, with a name of the peer's choice.
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
    /// A long one, in fragments.
    Long {
        call: bool,
        name: u8,
        byte: u8,
        length: u16,
    },
    /// This side calls: for a result of one of several types.
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
    /// The peer says that nothing follows.
    PeerCloses,
}

/// A call to answer.
#[derive(Arbitrary, Debug)]
enum To {
    /// One that was made, and perhaps answered before.
    Made(u8),
    /// With another serial.
    Near(u8, i8),
    Any(Id),
}

type Tree = Vec<(u8, Vec<(char, [u16; 2])>)>;

/// A call of this side's, by the type of its result.
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

/// The other side: what it has asked, and what it was asked.
struct Peer {
    sender: Sender,
    receiver: Receiver,
    buffer: Vec<u64>,
    /// How often each call of the peer's is still to be answered.
    asked: HashMap<Id, usize>,
    /// The same calls, in their order.
    calls: Vec<Id>,
    /// Those of them that need not be answered as often as they were made: given up, or made anew before they were answered.
    given_up: HashSet<Id>,
    /// Calls of this side's.
    made: Vec<Id>,
    /// How often each gauge of the peer's awaits a receipt.
    awaited: HashMap<u32, usize>,
    /// A value of this side's gauge has come, and its receipt was not sent.
    latest: bool,
    /// The other side has said something that nobody honest says.
    spoilt: bool,
    /// It may have sent something that no honest side sends: if anybody has looked.
    doubtful: bool,
    /// The other side has said that nothing follows.
    closed: bool,
}

impl Peer {
    fn send(&mut self, bytes: &[u8]) {
        if let Some(parsed) = parse(bytes)
            && (parsed.kind, parsed.id.0) == (RECEIPT, GAUGE)
            && !std::mem::take(&mut self.latest)
        {
            // Whether this is nonsense depends on what the end has not sent yet.
            return;
        }
        if self.closed {
            return;
        }
        match self.sender.send(&words(bytes), bytes.len()).expect("the end never moves its position outside") {
            Progress::Sent => {}
            // More than the ring: this side is to take the fragments first, and it does not matter whether the rest follows.
            Progress::NoRoom(_) => return self.sender.abandon(),
        }
        match parse(bytes) {
            Some(parsed) if parsed.kind == EVENT && parsed.id.0 > 0 => *self.awaited.entry(parsed.id.0).or_default() += 1,
            Some(parsed) if matches!(parsed.kind, CALL | CALL_BY) => {
                let left = self.asked.entry(parsed.id).or_default();
                let deadline = (parsed.kind == CALL_BY).then(|| u64::from_le_bytes(bytes[16..24].try_into().unwrap()));
                // Within a lifetime: it may have passed, and then the call is not served.
                if *left > 0 || deadline.is_some_and(|nanos| nanos < 1 << 62) {
                    self.given_up.insert(parsed.id);
                }
                *left += 1;
                self.calls.push(parsed.id);
            }
            Some(parsed) if matches!(parsed.kind, CANCEL | WITHDRAW) => drop(self.given_up.insert(parsed.id)),
            _ => {}
        }
        match parse(bytes) {
            // Unless it is not served: then nobody looks at its name.
            Some(parsed) if matches!(parsed.kind, CALL | CALL_BY) => self.doubtful |= is_nonsense(bytes),
            _ => self.spoilt |= is_nonsense(bytes),
        }
    }

    /// Takes what the end has sent.
    fn take(&mut self) {
        while let Some(bytes) = self.receiver.receive(&mut self.buffer).expect("honest frames") {
            let message: Vec<u8> = self.buffer.iter().flat_map(|word| word.to_le_bytes()).take(bytes).collect();
            let parsed = parse(&message).expect("an honest message");
            match parsed.kind {
                CALL | CALL_BY => self.made.push(parsed.id),
                CANCEL | WITHDRAW => assert!(self.made.contains(&parsed.id), "a call is given up that was not made"),
                EVENT if parsed.id.0 == GAUGE => {
                    assert!(!self.latest, "two values of a gauge are on the way");
                    self.latest = true;
                }
                RECEIPT => {
                    let left = self.awaited.get_mut(&parsed.id.0).filter(|left| **left > 0);
                    *left.expect("a receipt for an event that was sent") -= 1;
                }
                ANSWER | NOT_FOUND | OVERLOADED | FAILED => {
                    let left = self.asked.get_mut(&parsed.id).filter(|left| **left > 0);
                    *left.expect("an answer to a call that was made, and not answered") -= 1;
                }
                _ => {}
            }
        }
    }

    fn id(&self, to: &To) -> Id {
        let made = |i: u8| self.made.get(usize::from(i) % self.made.len().max(1)).copied().unwrap_or_default();
        match to {
            To::Made(i) => made(*i),
            To::Near(i, by) => (made(*i).0, made(*i).1.wrapping_add_signed(i64::from(*by))),
            To::Any(id) => *id,
        }
    }
}

/// Whether an end must not go on after this message. A name that is not UTF-8 is that of no handler here.
fn is_nonsense(bytes: &[u8]) -> bool {
    parse(bytes).is_none_or(|parsed| std::str::from_utf8(parsed.name).is_err() || parsed.kind == RECEIPT && parsed.id.0 != GAUGE)
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
            // Dropped unanswered.
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
            Step::Event { name: i, value, flip } => peer.send(&flipped(message(EVENT, (0, 0), name(&EVENTS, i), &value), flip)),
            Step::Gauge { number, name: i, value } => peer.send(&message(EVENT, (number, 0), name(&EVENTS, i), &value)),
            Step::Receipt => peer.send(&message(RECEIPT, (GAUGE, 0), &[], &[])),
            Step::FalseReceipt(number) => peer.send(&message(RECEIPT, (number, 0), &[], &[])),
            Step::Call { id, name: i, args, flip } => peer.send(&flipped(message(CALL, id, name(&METHODS, i), &args), flip)),
            Step::CallBy { id, nanos, name: i, args, flip } => {
                peer.send(&flipped(call_by(nanos, id, name(&METHODS, i), &args), flip));
            }
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
            Step::Answer { to, result, flip } => peer.send(&flipped(message(ANSWER, peer.id(&to), &[], &result), flip)),
            Step::NotFound(to) => peer.send(&message(NOT_FOUND, peer.id(&to), &[], &[])),
            Step::Overloaded(to) => peer.send(&message(OVERLOADED, peer.id(&to), &[], &[])),
            Step::Failed { to, text } => peer.send(&message(FAILED, peer.id(&to), &[], &text)),
            Step::Long { call, name: i, byte, length } => {
                let payload = vec![byte; usize::from(length) % (MAX_MESSAGE - 64)];
                let (kind, names) = if call { (CALL, &METHODS[..]) } else { (EVENT, &EVENTS[..]) };
                peer.send(&message(kind, (0, 0), name(names, i), &payload));
            }
            // There is room: what the end has sent is taken at once.
            Step::Start(kind) => match kind % 4 {
                0 => calls.extend(co.start("number", ()).map(Call::Number)),
                1 => calls.extend(co.start("text", "why").map(Call::Text)),
                2 => calls.extend(co.start("bytes", 1).map(Call::Bytes)),
                _ => calls.extend(co.start("unit", ()).map(Call::Unit)),
            },
            Step::CallWith => drop(co.call_with("number", (), |result: coprocess::Result<u64>| drop(result))),
            Step::Wait(i) if !calls.is_empty() => drop(calls.swap_remove(usize::from(i) % calls.len()).wait()),
            Step::Forget(i) if !calls.is_empty() => drop(calls.swap_remove(usize::from(i) % calls.len())),
            Step::IsReady(i) if !calls.is_empty() => drop(calls[usize::from(i) % calls.len()].is_ready()),
            Step::Wait(_) | Step::Forget(_) | Step::IsReady(_) => {}
            Step::Emit(value) => drop(co.try_emit("event", vec![value; value.into()])),
            Step::EmitLatest(value) => drop(latest.emit(value)),
            Step::Unlisten(i) => drop(co.unlisten(EVENTS[usize::from(i) % EVENTS.len()])),
            Step::Listen(i) => drop(co.listen(EVENTS[usize::from(i) % EVENTS.len()], |_: (u8, String)| {})),
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
        assert!(peer.awaited.values().all(|left| *left == 0), "receipts were not sent: {:?}", peer.awaited);
        peer.asked.retain(|id, left| *left > 0 && !peer.given_up.contains(id));
        assert!(peer.asked.is_empty(), "calls were not answered: {:?}", peer.asked);
    }
    drop(calls);
    co.close().expect("a close without a worker");
}

fuzz_target!(|steps: Vec<Step>| fuzz(steps));
