//! More than any parent can take: calls whose answers are never read, events, answers, endless
//! messages.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::survives;
use crate::kit::Captive;
use crate::kit::memory::{CONTROL, URGENT};
use crate::kit::wire::{ABORT, ANSWER, CANCEL, FAILED, MORE, Message, WITHDRAW};
use crate::parent::Parent;

/// Sends what it is told to, as quickly as the parent takes it.
pub(crate) fn floods(what: &str) -> ! {
    let mut captive = Captive::attached();
    let writer = &mut captive.writer;
    let urgent = captive.memory.half(CONTROL[1] + URGENT);
    for serial in 1.. {
        match what {
            "calls" => writer.message(&Message::call(serial, "echo", b"\x0chello, hello").encode()),
            "large calls" => writer.message(
                &Message::call(serial, "echo", &[&[0xa0, 0x1f][..], &[7; 4000]].concat()).encode(),
            ),
            "calls of nothing" => {
                writer.message(&Message::call(serial, "nothing of the kind", b"").encode())
            }
            "calls that call" => writer.message(&Message::call(serial, "nested", b"\x07").encode()),
            // Each time the parent looks through what it has not looked through.
            "urgent calls" => {
                urgent.store(serial as u32, Relaxed);
                writer.message(&Message::call(serial, "echo", b"\x0chello, hello").encode())
            }
            // Of calls that were made, before or after, and of others.
            "urgent cancels" => {
                let call = Message::call(serial, "later", b"\x07");
                writer.message(&call.encode());
                urgent.store(serial as u32, Relaxed);
                let serial = serial.wrapping_sub(serial % 5).wrapping_add(2);
                writer.message(
                    &Message {
                        kind: if serial % 2 == 0 { CANCEL } else { WITHDRAW },
                        serial,
                        name: Vec::new(),
                        value: Vec::new(),
                        ..Message::call(serial, "", b"")
                    }
                    .encode(),
                )
            }
            "calls for later" => writer.message(&Message::call(serial, "later", b"\x07").encode()),
            "events" => writer.message(&Message::event("text", b"\x05hello").encode()),
            "empty events" => writer.message(&Message::event("", b"").encode()),
            "answers" => {
                let kind = if serial % 2 == 0 { ANSWER } else { FAILED };
                let answer = Message {
                    kind,
                    entry: serial as u32,
                    serial: serial % 7,
                    name: Vec::new(),
                    value: b"\x05hello".to_vec(),
                };
                writer.message(&answer.encode())
            }
            "fragments" => writer.frame(&[serial; 30], 240, MORE),
            "aborts" => writer.frame(&[], 0, ABORT),
            "skips" => writer.frame(&[], 0, MORE | ABORT),
            "aborted fragments" => writer.frame(&[7; 15], 120, MORE) && writer.frame(&[], 0, ABORT),
            other => unreachable!("{other}"),
        };
    }
    unreachable!("serials do not end")
}

/// Makes a parent with a large ring, which lets the parent fall far behind.
fn patient() -> Parent {
    Parent { ring_capacity: 1 << 20, time: Duration::from_millis(1000), ..Parent::default() }
}

macro_rules! floods {
    ($($test:ident: $what:literal;)*) => {
        $(#[test] fn $test() {
            survives!(concat!("flood/", $what));
            survives!(concat!("flood/", $what), patient(), |_| {});
        })*
    };
}

floods! {
    of_calls_whose_answers_are_not_read: "calls";
    of_large_calls: "large calls";
    of_calls_that_are_urgent: "urgent calls";
    of_cancels_that_are_urgent: "urgent cancels";
    of_calls_of_nothing: "calls of nothing";
    of_calls_that_call_back: "calls that call";
    of_calls_that_are_answered_elsewhere: "calls for later";
    of_events: "events";
    of_empty_events: "empty events";
    of_answers_to_nothing: "answers";
    of_fragments_without_end: "fragments";
    of_aborts: "aborts";
    of_skips: "skips";
    of_messages_given_up: "aborted fragments";
}
