//! The hot paths, through the public surface only.
//!
//! The counted process is a worker whose function has not returned. Only what that function calls
//! dispatches, so the worker has no second thread. A parent that must not read has no thread that
//! reads, either: it has no handlers, and waits for no answer.
//!
//! Everything is done twice and counted the second time. The first time fills caches and grows
//! tables.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::process::exit;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Coprocess, Pending, Readiness, Reply};
use coprocess_bench::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::callgrind::counted_by_callgrind;
use crate::turns::Turns;

/// Is the number of messages that callgrind counts.
pub(crate) const COUNT: u32 = 1000;

/// Is the number of messages before them, which callgrind does not count. A ring whose reader keeps
/// up returns to its start, so the counted messages may get only the space that these have used.
/// There are more of these, so that all counted messages fit.
const WARM_UP: u32 = 2 * COUNT;

/// Bounds how long the parent waits for space, or for a call that was made.
const LIMIT: Duration = Duration::from_secs(10);

/// A path whose cost per message is counted in one process.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// Runs in the counted process.
    pub(crate) worker: fn(Coprocess),
    /// Makes what the parent does in its turns.
    pub(crate) parent: fn(&Coprocess) -> Part,
}

/// Does the parent's part of one turn, with a number of messages.
type Part = Box<dyn FnMut(u32) -> Result<()>>;

pub(crate) const PATHS: &[Path] = &[
    Path {
        name: "emit 32 B: encode and publish",
        worker: |co| finish(|_| emit(&co, reading)),
        parent: nothing,
    },
    Path {
        name: "emit 1 KiB: encode and publish",
        worker: |co| finish(|_| emit(&co, |_| Bytes::new(&KIB))),
        parent: nothing,
    },
    Path {
        name: "call u64: encode and publish",
        worker: |co| finish(|turns| start(&co, turns)),
        parent: serves,
    },
    Path {
        name: "event 32 B: consume and dispatch",
        worker: |co| finish(|turns| listen::<Reading>(&co, turns)),
        parent: |co| emits(co, reading),
    },
    Path {
        name: "event 1 KiB: consume and dispatch",
        worker: |co| finish(|turns| listen::<ByteBuf>(&co, turns)),
        parent: |co| emits(co, |_| Bytes::new(&KIB)),
    },
    Path {
        name: "call u64: consume, dispatch and answer",
        worker: |co| finish(|turns| serve(&co, turns)),
        parent: starts,
    },
    Path {
        name: "typed u64: encode and publish",
        worker: |co| finish(|turns| start_typed(&co, turns)),
        parent: serves_typed,
    },
    Path {
        name: "typed u64: consume, dispatch and answer",
        worker: |co| finish(|turns| serve_typed(&co, turns)),
        parent: starts_typed,
    },
    Path {
        name: "answer u64: consume",
        worker: |co| finish(|turns| wait(&co, turns)),
        parent: answers,
    },
];

/// A struct of 32 bytes in memory. It takes about as many when encoded, since the time needs all
/// its bytes.
#[derive(Serialize, Deserialize)]
struct Reading {
    at_nanos: u64,
    value: f64,
    mean: f64,
    peak: f64,
}

/// Declares `echo` as a method of an interface. On the wire the name, `a.id`, is as long as `echo`.
///
/// The method has a type of its own, with the encoding of a `u64`. With `u64` itself both paths
/// would share functions, which the compiler would inline in neither: the figures of the other path
/// would change.
#[coprocess::interface(name = "a")]
trait Identity {
    fn id(&self, value: Nanos) -> Nanos;
}

#[derive(Serialize, Deserialize)]
struct Nanos(u64);

struct Echo;

impl Identity for Echo {
    fn id(&self, value: Nanos) -> Nanos {
        value
    }
}

/// A current time in nanoseconds.
const EPOCH: u64 = 1_700_000_000_000_000_000;

const KIB: [u8; 1024] = [0xa5; 1024];

fn reading(turn: u32) -> Reading {
    Reading { at_nanos: EPOCH + u64::from(turn), value: f64::from(turn), mean: 0.5, peak: 1.5 }
}

// ---- the counted process ------------------------------------------------------------------------

/// Joins the turns, does `work`, and ends the process with an error if that fails.
fn finish(work: impl FnOnce(&Turns) -> Result<()>) {
    let done = Turns::join().and_then(|turns| {
        work(&turns)?;
        turns.done()
    });
    if let Err(error) = done {
        eprintln!("the counted worker: {error}");
        exit(1);
    }
}

/// Does `work` twice, with what `prepare` makes for a number of messages, and counts the second
/// time.
fn count<T>(
    mut prepare: impl FnMut(u32) -> Result<T>,
    work: &mut dyn FnMut(u32, &mut T) -> Result<()>,
) -> Result<()> {
    work(WARM_UP, &mut prepare(WARM_UP)?)?;
    let mut prepared = prepare(COUNT)?;
    counted_by_callgrind(&mut || work(COUNT, &mut prepared))
}

fn emit<T: Serialize>(co: &Coprocess, value: impl Fn(u32) -> T) -> Result<()> {
    count(|_| Ok(()), &mut |messages, ()| {
        Ok((0..messages).try_for_each(|turn| co.emit("reading", value(black_box(turn))))?)
    })
}

fn start_one(co: &Coprocess, turn: u32) -> coprocess::Result<Pending<u64>> {
    co.start("echo", EPOCH + u64::from(turn))
}

fn start(co: &Coprocess, turns: &Turns) -> Result<()> {
    answered(co, turns, || start_one(co, 0))?;
    let prepare = |messages| Ok(Vec::with_capacity(messages as usize));
    count(prepare, &mut |messages, pending| {
        for turn in 0..messages {
            pending.push(start_one(co, black_box(turn))?);
        }
        Ok(())
    })
}

/// Takes an answer that is not counted. This takes another way than counted answers, so that the
/// compiler treats those as if there were no others.
fn uncounted<R: DeserializeOwned>(co: &Coprocess, pending: &mut Pending<R>) -> Result<()> {
    // The answer has arrived: once everything was received, the first poll finds the answer.
    co.poll()?;
    match Pin::new(pending).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Ok(result.map(drop)?),
        Poll::Pending => Err("no answer is there".into()),
    }
}

/// Has one call answered, since calls in a steady stream are: until then each call asks for the
/// type of its result.
fn answered<R: DeserializeOwned>(
    co: &Coprocess,
    turns: &Turns,
    call: impl FnOnce() -> coprocess::Result<Pending<R>>,
) -> Result<()> {
    let mut pending = call()?;
    turns.pass(1)?;
    uncounted(co, &mut pending)
}

fn start_typed(co: &Coprocess, turns: &Turns) -> Result<()> {
    let identity = IdentityClient::unchecked(co);
    answered(co, turns, || identity.pipelined().id(Nanos(EPOCH)))?;
    let prepare = |messages| Ok(Vec::with_capacity(messages as usize));
    count(prepare, &mut |messages, pending| {
        for turn in 0..messages {
            pending.push(identity.pipelined().id(Nanos(EPOCH + u64::from(black_box(turn))))?);
        }
        Ok(())
    })
}

/// Dispatches what the parent has sent.
fn dispatch(co: &Coprocess, messages: u32) -> Result<()> {
    let mut left = messages as usize;
    while left > 0 {
        match co.poll()? {
            0 => return Err(format!("{left} of {messages} messages have not arrived").into()),
            dispatched => left = left.saturating_sub(dispatched),
        }
    }
    Ok(())
}

fn listen<T: DeserializeOwned + 'static>(co: &Coprocess, turns: &Turns) -> Result<()> {
    let handled = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&handled);
    co.listen("reading", move |value: T| {
        black_box(&value);
        // Not fetch_add: only this handler writes the counter.
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    });
    count(|messages| turns.pass(messages), &mut |messages, ()| dispatch(co, messages))?;
    match handled.load(Relaxed) {
        all if all == WARM_UP + COUNT => Ok(()),
        some => Err(format!("{some} of {} events were handled", WARM_UP + COUNT).into()),
    }
}

fn serve(co: &Coprocess, turns: &Turns) -> Result<()> {
    co.serve("echo", |value: u64| value);
    count(|messages| turns.pass(messages), &mut |messages, ()| dispatch(co, messages))
}

fn serve_typed(co: &Coprocess, turns: &Turns) -> Result<()> {
    Echo.serve(co);
    count(|messages| turns.pass(messages), &mut |messages, ()| dispatch(co, messages))
}

fn wait(co: &Coprocess, turns: &Turns) -> Result<()> {
    let prepare = |messages| {
        let pending =
            (0..messages).map(|turn| start_one(co, turn)).collect::<coprocess::Result<Vec<_>>>()?;
        turns.pass(messages)?;
        Ok(pending)
    };
    count(prepare, &mut |messages, pending| {
        for (turn, answer) in (0..messages).zip(pending.drain(..)) {
            if answer.wait()? != EPOCH + u64::from(turn) {
                return Err("calls are mixed up".into());
            }
        }
        Ok(())
    })
}

// ---- its parent ---------------------------------------------------------------------------------

fn nothing(_: &Coprocess) -> Part {
    Box::new(|_| Ok(()))
}

fn emits<T: Serialize>(co: &Coprocess, value: impl Fn(u32) -> T + 'static) -> Part {
    let co = co.clone();
    Box::new(move |messages| {
        Ok((0..messages).try_for_each(|turn| co.emit_timeout("reading", value(turn), LIMIT))?)
    })
}

fn starts(co: &Coprocess) -> Part {
    let co = co.clone();
    let mut pending = Vec::new();
    Box::new(move |messages| {
        take(&co, &mut pending)?;
        for turn in 0..messages {
            pending.push(start_one(&co, turn)?);
        }
        Ok(())
    })
}

fn starts_typed(co: &Coprocess) -> Part {
    let (co, identity) = (co.clone(), IdentityClient::unchecked(co));
    let mut pending = Vec::new();
    Box::new(move |messages| {
        take(&co, &mut pending)?;
        for turn in 0..messages {
            pending.push(identity.pipelined().id(Nanos(EPOCH + u64::from(turn)))?);
        }
        Ok(())
    })
}

/// Takes the answers to the calls of the last turn, which have arrived.
fn take<R: DeserializeOwned>(co: &Coprocess, pending: &mut Vec<Pending<R>>) -> Result<()> {
    pending.drain(..).try_for_each(|mut call| uncounted(co, &mut call))
}

/// Serves what has arrived in each turn of the parent, and nothing in between.
fn serves(co: &Coprocess) -> Part {
    let readiness = co.readiness();
    // In another way than the counted process.
    co.serve_deferred("echo", |value: u64, reply: Reply<u64>| drop(reply.send(value)));
    polls(co, readiness)
}

fn serves_typed(co: &Coprocess) -> Part {
    let readiness = co.readiness();
    Echo.serve(co);
    polls(co, readiness)
}

fn polls(co: &Coprocess, readiness: coprocess::Result<Readiness>) -> Part {
    let co = co.clone();
    Box::new(move |_| match &readiness {
        Ok(_) => dispatch(&co, 1),
        Err(error) => Err(error.to_string().into()),
    })
}

/// Answers calls that were made before. All answers have been sent when the turn ends, since each
/// is sent from here.
fn answers(co: &Coprocess) -> Part {
    let (sender, calls) = mpsc::channel();
    co.serve_deferred("echo", move |value: u64, reply: Reply<u64>| {
        // If the receiver is gone, the reply is dropped, which the worker learns.
        let _ = sender.send((value, reply));
    });
    Box::new(move |messages| {
        for _ in 0..messages {
            let (value, reply) = calls.recv_timeout(LIMIT)?;
            reply.send(value)?;
        }
        Ok(())
    })
}
