//! Well-framed messages that lie: answers to calls that were not made, lengths that are not there,
//! names that are none.

use super::survives;
use crate::kit::random::Numbers;
use crate::kit::wire::{
    ANSWER, ASKS, CALL, CALL_BY, CANCEL, DESCRIBED, EVENT, FAILED, MISTYPED, Message, NOT_FOUND,
    NUMBERED, OVERLOADED, REFUSE, WELCOME, WITHDRAW,
};
use crate::kit::{Captive, for_ever};
use crate::parent::Parent;

/// Writes a number as postcard does.
fn varint(mut number: u128) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Answers the parent's calls in many wrong ways.
pub(crate) fn answers(how: &str) -> ! {
    let mut captive = Captive::attached();
    let mut numbers = Numbers::new(7);
    let mut old: Vec<Message> = Vec::new();
    loop {
        let call = captive.call();
        let right = Message::answer(&call);
        let writer = &mut captive.writer;
        match how {
            "never made" => {
                for entry in [
                    call.entry,
                    call.entry + 1,
                    63,
                    64,
                    65,
                    1 << 20,
                    u32::MAX - 64,
                    u32::MAX,
                    numbers.next() as u32,
                ] {
                    for serial in [
                        0,
                        1,
                        call.serial + 1,
                        1 << 61,
                        1 << 62,
                        u64::MAX - 1,
                        u64::MAX,
                        numbers.next(),
                    ] {
                        writer.message(&Message { entry, serial, ..right.clone() }.encode());
                    }
                }
                writer.message(&right.encode());
            }
            "twice" => {
                for kind in [ANSWER, ANSWER, FAILED, NOT_FOUND, OVERLOADED] {
                    let value = if kind == ANSWER { right.value.clone() } else { Vec::new() };
                    writer.message(&Message { kind, value, ..right.clone() }.encode());
                }
            }
            "to other calls" => {
                if let Some(before) = old.pop() {
                    writer.message(
                        &Message { value: before.value.clone(), ..right.clone() }.encode(),
                    );
                    writer.message(&Message { value: right.value.clone(), ..before }.encode());
                } else {
                    old.push(right);
                }
            }
            "to old calls" => {
                old.push(right.clone());
                for answer in old.iter().rev().take(40) {
                    writer.message(&answer.encode());
                }
            }
            "of other types" => {
                let value = (0..numbers.below(40)).map(|_| numbers.next() as u8).collect();
                writer.message(&Message { value, ..right }.encode());
            }
            "with failures" => {
                let kind = [FAILED, NOT_FOUND, OVERLOADED][numbers.below(3)];
                let value = if kind == FAILED { b"no".to_vec() } else { Vec::new() };
                writer.message(&Message { kind, value, ..right }.encode());
            }
            "with other types" => {
                let texts = [
                    &b"i32\nu64"[..],
                    b"",
                    b"\n",
                    b"no line",
                    b"\x1b[2J\n\r\x07\n\n",
                    &[b't'; 2000],
                ];
                writer.message(
                    &Message {
                        kind: MISTYPED,
                        value: texts[numbers.below(texts.len())].to_vec(),
                        ..right
                    }
                    .encode(),
                );
            }
            "with kinds" => {
                let kinds = match numbers.below(4) {
                    0 => (0..numbers.below(60))
                        .map(|_| b"bhHjKfsyu?o[{(SNEB\x01\x81"[numbers.below(20)])
                        .collect(),
                    1 => (0..numbers.below(60)).map(|_| numbers.next() as u8).collect(),
                    2 => vec![b'o'; numbers.below(16 * 1024)],
                    _ => b"B\x05\x1b[2J\n".to_vec(),
                };
                let mut value = (kinds.len() as u64).to_le_bytes().to_vec();
                value.extend(kinds);
                value.resize(value.len().next_multiple_of(8), 0);
                value.extend(&right.value);
                writer.message(&Message { kind: ANSWER | DESCRIBED, value, ..right }.encode());
            }
            "of lengths" => {
                let value = varint(1_u128 << numbers.below(72));
                writer.message(&Message { value, ..right }.encode());
            }
            "with cancellations" => {
                let serial = if numbers.below(2) == 0 {
                    right.serial
                } else {
                    numbers.below(1 << 40) as u64
                };
                writer.message(
                    &Message { kind: CANCEL, serial, value: Vec::new(), ..right }.encode(),
                );
            }
            other => unreachable!("{other}"),
        };
    }
}

/// Announces, in events and calls, as much as a number can say.
pub(crate) fn announces() -> ! {
    let mut captive = Captive::attached();
    for round in 0_u64.. {
        for bits in 0..70 {
            for less in [0, 1] {
                let mut value = varint((1_u128 << bits) - less);
                value.extend([1; 5]);
                for name in ["text", "bytes", "numbers", "map"] {
                    captive.writer.message(&Message::event(name, &value).encode());
                }
                for name in ["echo", "nested"] {
                    captive.writer.message(&Message::call(round, name, &value).encode());
                }
                // A worker that reads nothing gets no room for answers, and none is asked for here.
                while captive.reader.message().is_some() {}
            }
        }
    }
    for_ever()
}

/// Sends one message that no honest side sends, after some that one does.
pub(crate) fn malformed(what: &str) -> ! {
    let mut captive = Captive::attached();
    captive.be_honest(std::time::Duration::from_millis(5));
    let event = Message::event("text", b"\x02hi");
    let kind = |kind| Message { kind, ..Message::call(1, "", b"") }.encode();
    let with_name = |length: u64, kind: u8| {
        let mut bytes = Message { kind, ..Message::call(1, "text", b"\x02hi") }.encode();
        bytes[1..4].copy_from_slice(&length.to_le_bytes()[..3]);
        bytes
    };
    let introduction =
        |number, name: &[u8], kinds: &[u8]| Message::introduction(number, name, kinds).encode();
    // With so many bytes of kinds announced.
    let kinds = |message: &Message, length: u64| {
        let mut bytes = Message { kind: message.kind | DESCRIBED, ..message.clone() }.encode();
        let at = if message.kind == EVENT { 8 } else { 16 };
        bytes.splice(at..at, length.to_le_bytes());
        bytes
    };
    let message = match what {
        "nothing" => Vec::new(),
        "half a head" => event.encode()[..7].to_vec(),
        "a call without its number" => kind(CALL)[..8].to_vec(),
        "kind 0" => kind(0),
        "kind 15" => kind(15),
        "a cancellation without its number" => kind(CANCEL)[..8].to_vec(),
        "a cancellation, and more" => {
            Message { kind: CANCEL, ..Message::call(1, "", b"more") }.encode()
        }
        "a cancellation with a name" => with_name(1, CANCEL),
        "a withdrawal, and more" => {
            Message { kind: WITHDRAW, ..Message::call(1, "", b"more") }.encode()
        }
        "a withdrawal with a name" => with_name(1, WITHDRAW),
        "a call without its time" => kind(CALL_BY),
        "kind 255" => kind(255),
        "a name beyond the end" => with_name(100, EVENT),
        "the longest name" => with_name(0xff_ffff, CALL),
        "an answer with a name" => with_name(1, ANSWER),
        "a receipt for no gauge" => Message::receipt(2).encode(),
        "a receipt for gauge zero" => Message::receipt(0).encode(),
        "a receipt with a serial" => Message { serial: 1, ..Message::receipt(1) }.encode(),
        "a receipt that says more" => Message { value: vec![0], ..Message::receipt(1) }.encode(),
        // Sooner or later there is no value on the way.
        "receipts without end" => loop {
            captive.writer.message(&Message::receipt(1).encode());
        },
        "a name that is no text" => Message { name: vec![0xff; 9], ..event }.encode(),
        "a method that is no text" => {
            Message { name: vec![0xff; 9], ..Message::call(1, "", b"") }.encode()
        }
        "not found, and more" => {
            Message { kind: NOT_FOUND, ..Message::call(1, "", b"more") }.encode()
        }
        "overloaded, and more" => {
            Message { kind: OVERLOADED, ..Message::call(1, "", b"more") }.encode()
        }
        "a failure that is no text" => {
            Message { kind: FAILED, value: vec![0xff; 9], ..Message::call(1, "", b"") }.encode()
        }
        "types that are no text" => {
            Message { kind: MISTYPED, value: vec![0xff; 9], ..Message::call(1, "", b"") }.encode()
        }
        "an unknown flag" => Message { kind: EVENT | 128, ..event }.encode(),
        "an event that asks" => Message { kind: EVENT | ASKS, ..event }.encode(),
        "a call that asks for what it does not tell" => {
            Message { kind: CALL | ASKS, ..Message::call(1, "text", b"") }.encode()
        }
        "an event with a number that is not introduced" => with_name(3, EVENT | NUMBERED),
        "a call with a number that is not introduced" => with_name(3, CALL | NUMBERED),
        "a number and kinds" => with_name(0, EVENT | NUMBERED | DESCRIBED),
        "an introduction without kinds" => introduction(7, b"text", b""),
        "an introduction of what are no kinds" => introduction(7, b"text", b"(\x02s"),
        "an introduction of kinds of two values" => introduction(7, b"text", b"ss"),
        "an introduction of kinds that are nested too deeply" => {
            introduction(7, b"text", &[vec![b'o'; 128], vec![b's']].concat())
        }
        "an introduction of too many kinds" => {
            introduction(7, b"text", &[&b"(\x80\x80\x01"[..], &[b's'; 16 * 1024]].concat())
        }
        "an introduction of a name that is no text" => introduction(7, &[0xff; 9], b"s"),
        "an introduction of too large a number" => introduction(64 * 1024, b"text", b"s"),
        "an introduction of the largest number" => introduction(u32::MAX, b"text", b"s"),
        "an introduction again" => {
            captive.writer.message(&introduction(7, b"text", b"s"));
            introduction(7, b"text", b"s")
        }
        "introductions without end" => {
            for number in 0..8 << 10 {
                captive.writer.message(&introduction(number, &[b'n'; 1024], b"s"));
            }
            introduction(8 << 10, b"", b"s")
        }
        "kinds beyond the end" => kinds(&Message::event("text", b""), 9),
        "kinds without their length" => with_name(0, CALL | DESCRIBED)[..16].to_vec(),
        "more kinds than there may be" => {
            kinds(&Message::event("text", &[b's'; 20_000]), 16 * 1024 + 1)
        }
        "as many kinds as a number can say" => kinds(&Message::event("text", b"s"), u64::MAX),
        "an answer with kinds beyond its end" => {
            kinds(&Message { kind: ANSWER, ..Message::call(1, "", b"s") }, 9)
        }
        "a refusal of what was not introduced" => {
            Message { kind: REFUSE, entry: 60_000, ..Message::call(0, "", b"") }.encode()
        }
        "a refusal, and more" => Message { kind: REFUSE, ..Message::call(0, "", b"more") }.encode(),
        "a welcome of what was not introduced" => {
            Message { kind: WELCOME, entry: 60_000, ..Message::call(0, "", b"") }.encode()
        }
        "a welcome with a serial" => {
            Message { kind: WELCOME, ..Message::call(1, "", b"") }.encode()
        }
        other => unreachable!("{other}"),
    };
    captive.writer.message(&message);
    for_ever()
}

macro_rules! answers {
    ($($test:ident: $how:literal;)*) => { $(#[test] fn $test() { survives!(concat!("answers/", $how)); })* };
}

answers! {
    answers_to_calls_never_made: "never made";
    answers_twice: "twice";
    answers_to_other_calls: "to other calls";
    answers_to_old_calls: "to old calls";
    answers_of_other_types: "of other types";
    answers_that_are_failures: "with failures";
    answered_with_cancellations: "with cancellations";
    answers_that_announce_lengths: "of lengths";
    answers_that_speak_of_other_types: "with other types";
    answers_with_kinds: "with kinds";
}

#[test]
fn lengths_up_to_the_largest_number() {
    survives!("announces");
}

macro_rules! malformed {
    ($($test:ident: $what:literal;)*) => {
        $(#[test] fn $test() {
            survives!(concat!("malformed/", $what), Parent { wants: Some("misbehaved (Envelope)"), ..Parent::default() }, |seen| {
                assert!(seen.has("misbehaved (Envelope)"), "{seen}");
            });
        })*
    };
}

malformed! {
    a_message_of_nothing: "nothing";
    half_a_head: "half a head";
    a_call_without_its_number: "a call without its number";
    a_kind_of_zero: "kind 0";
    a_kind_that_is_unknown: "kind 15";
    a_cancellation_without_its_number: "a cancellation without its number";
    a_cancellation_and_more: "a cancellation, and more";
    a_cancellation_with_a_name: "a cancellation with a name";
    a_withdrawal_and_more: "a withdrawal, and more";
    a_withdrawal_with_a_name: "a withdrawal with a name";
    a_call_without_its_time: "a call without its time";
    a_kind_of_ones: "kind 255";
    a_name_beyond_the_end: "a name beyond the end";
    the_longest_name: "the longest name";
    an_answer_with_a_name: "an answer with a name";
    a_receipt_for_no_gauge: "a receipt for no gauge";
    a_receipt_for_gauge_zero: "a receipt for gauge zero";
    a_receipt_with_a_serial: "a receipt with a serial";
    a_receipt_that_says_more: "a receipt that says more";
    receipts_without_end: "receipts without end";
    a_name_that_is_no_text: "a name that is no text";
    a_method_that_is_no_text: "a method that is no text";
    a_not_found_that_says_more: "not found, and more";
    an_overload_that_says_more: "overloaded, and more";
    a_failure_that_is_no_text: "a failure that is no text";
    types_that_are_no_text: "types that are no text";
    an_unknown_flag: "an unknown flag";
    an_event_that_asks: "an event that asks";
    a_call_that_asks_for_what_it_does_not_tell: "a call that asks for what it does not tell";
    an_event_with_a_number_that_is_not_introduced: "an event with a number that is not introduced";
    a_call_with_a_number_that_is_not_introduced: "a call with a number that is not introduced";
    a_number_and_kinds: "a number and kinds";
    an_introduction_without_kinds: "an introduction without kinds";
    an_introduction_of_what_are_no_kinds: "an introduction of what are no kinds";
    an_introduction_of_kinds_of_two_values: "an introduction of kinds of two values";
    an_introduction_of_kinds_that_are_nested_too_deeply: "an introduction of kinds that are nested too deeply";
    an_introduction_of_too_many_kinds: "an introduction of too many kinds";
    an_introduction_of_a_name_that_is_no_text: "an introduction of a name that is no text";
    an_introduction_of_too_large_a_number: "an introduction of too large a number";
    an_introduction_of_the_largest_number: "an introduction of the largest number";
    an_introduction_again: "an introduction again";
    introductions_without_end: "introductions without end";
    kinds_beyond_the_end: "kinds beyond the end";
    kinds_without_their_length: "kinds without their length";
    more_kinds_than_there_may_be: "more kinds than there may be";
    as_many_kinds_as_a_number_can_say: "as many kinds as a number can say";
    an_answer_with_kinds_beyond_its_end: "an answer with kinds beyond its end";
    a_refusal_of_what_was_not_introduced: "a refusal of what was not introduced";
    a_refusal_and_more: "a refusal, and more";
    a_welcome_of_what_was_not_introduced: "a welcome of what was not introduced";
    a_welcome_with_a_serial: "a welcome with a serial";
}
