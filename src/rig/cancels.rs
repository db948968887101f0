//! Calls that are given up before, while and after they are served.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::{Journal, Rig};
use crate::Reply;

/// Polls a call for the first time, which sends it.
fn send(call: impl Future<Output = crate::Result<u32>>) {
    let mut call = pin!(call);
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending), "{polled:?}");
    // Dropped here: the call is withdrawn.
}

#[test]
fn a_call_withdrawn_before_its_turn_is_not_served() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.serve(&rig.worker, "call");
    journal.listen(&rig.worker, "event");
    rig.settle();
    send(rig.parent.call_async("call", 1_u32));
    rig.parent.emit("event", 2_u32).unwrap();
    rig.settle();
    assert_eq!(journal.take(), ["event 2"], "the event is not affected");
    assert_eq!(rig.worker.stats().calls_skipped, 1);
    assert_eq!(rig.parent.stats().cancels_sent, 1);
    assert_eq!(rig.worker.stats().cancels_received, 1);
}

#[test]
fn a_reply_learns_that_its_call_is_withdrawn() {
    let rig = Rig::new();
    let kept = Arc::new(Mutex::new(None::<Reply<u32>>));
    let keep = kept.clone();
    rig.worker.serve_deferred("later", move |_: u32, reply| *keep.lock().unwrap() = Some(reply));
    rig.settle();
    let mut call = Box::pin(rig.parent.call_async::<u32>("later", 1_u32));
    let mut context = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    rig.settle();
    let reply = kept.lock().unwrap().take().expect("served");
    assert!(reply.is_wanted());
    drop(call);
    assert!(!reply.is_wanted(), "a reply looks for cancels ahead of their turn");
    reply.send(2).unwrap();
    rig.settle();
    assert_eq!(rig.parent.stats().answers_dropped, 0, "no answer was sent");
}

#[test]
fn a_call_that_is_only_forgotten_is_served() {
    let (rig, journal) = (Rig::new(), Journal::default());
    journal.serve(&rig.worker, "call");
    rig.settle();
    drop(rig.parent.start::<u32>("call", 1_u32).unwrap());
    rig.settle();
    assert_eq!(journal.take(), ["call 1"]);
    assert_eq!(rig.worker.stats().calls_skipped, 0);
}
