//! Checks whole messages: what is read equals what was composed.

use super::header::*;
use super::message::Message;
use crate::error::Error;
use crate::limits::{MAX_KINDS, MAX_NAME};
use crate::wire::deserializer::decode;

fn encode(header: Header<'_>, value: &[u8], max: usize) -> crate::Result<Message<'static>> {
    let mut message = Message::new();
    message.encode(header, serde_bytes::Bytes::new(value), max, "x")?;
    Ok(message)
}

fn round_trip(header: Header<'_>, value: &[u8], max: usize) {
    let message = encode(header, value, max).expect("fits");
    let all: &[u8] = bytemuck::cast_slice(message.words());
    assert!(
        all[message.bytes()..].iter().all(|b| *b == 0),
        "what fills the last word must be zero"
    );
    let (decoded, rest) = split(message.words(), message.bytes()).expect("splits");
    assert_eq!(decoded, header);
    assert_eq!(rest, postcard::to_stdvec(serde_bytes::Bytes::new(value)).expect("encodes"));
    assert_eq!(decode::<serde_bytes::ByteBuf>(rest).expect("decodes").as_slice(), value);
}

#[test]
fn every_length_and_alignment_is_encoded_as_postcard_does() {
    let bytes: Vec<u8> = (0..2000u32).map(|i| i as u8 | 1).collect();
    for name in ["", "a", "abcdefg", "abcdefgh", "a rather long name of an event", &"n".repeat(200)]
    {
        for length in (0..300).chain([1000, 1999]) {
            round_trip(
                Header::Event(Subject::Named(name.as_bytes())),
                &bytes[..length],
                usize::MAX,
            );
            round_trip(
                Header::Call(
                    CallId { entry: u32::MAX, serial: 1 << 40 },
                    None,
                    Subject::Named(name.as_bytes()),
                ),
                &bytes[..length],
                4000,
            );
            round_trip(
                Header::Call(
                    CallId { entry: 1, serial: 2 },
                    Some(1 << 50),
                    Subject::Named(name.as_bytes()),
                ),
                &bytes[..length],
                4000,
            );
        }
        for length in [0, 50, 500] {
            round_trip(
                Header::Gauge(u32::MAX, Subject::Named(name.as_bytes())),
                &bytes[..length],
                4000,
            );
            let id = CallId { entry: u32::MAX, serial: u64::MAX };
            let mut message = encode(
                Header::Call(CallId::NONE, None, Subject::Named(name.as_bytes())),
                &bytes[..length],
                4000,
            )
            .expect("fits");
            message.address(id);
            let addressed = encode(
                Header::Call(id, None, Subject::Named(name.as_bytes())),
                &bytes[..length],
                4000,
            )
            .expect("fits");
            assert_eq!((message.words(), message.bytes()), (addressed.words(), addressed.bytes()));
            let mut message = encode(
                Header::Call(CallId::NONE, Some(1 << 50), Subject::Named(name.as_bytes())),
                &bytes[..length],
                4000,
            )
            .expect("fits");
            message.address(id);
            let addressed = encode(
                Header::Call(id, Some(1 << 50), Subject::Named(name.as_bytes())),
                &bytes[..length],
                4000,
            )
            .expect("fits");
            assert_eq!((message.words(), message.bytes()), (addressed.words(), addressed.bytes()));
        }
    }
    round_trip(Header::Answer(CallId { entry: 7, serial: u64::MAX }), &bytes[..100], 4000);
}

#[test]
fn failures_carry_their_text_as_it_is() {
    let id = CallId { entry: 3, serial: 9 };
    for text in ["", "no", "fünf Bücher und mehr, als in einen Schlitz passen: ".repeat(9).as_str()]
    {
        let mut message = Message::new();
        message.encode(Header::Failure(id, Failure::Remote(text)), &(), 4000, "x").expect("fits");
        assert_eq!(
            split(message.words(), message.bytes()),
            Some((Header::Failure(id, Failure::Remote(text)), &[][..]))
        );
    }
    for failure in [Failure::NotFound, Failure::Overloaded] {
        let mut message = Message::new();
        message.encode(Header::Failure(id, failure), &(), 4000, "x").expect("fits");
        assert_eq!(
            split(message.words(), message.bytes()),
            Some((Header::Failure(id, failure), &[][..]))
        );
    }
    for header in [Header::Cancel(id), Header::Withdraw(id)] {
        let mut message = Message::new();
        message.encode(header, &(), 4000, "x").expect("fits");
        assert!(message.is_urgent());
        assert_eq!(split(message.words(), message.bytes()), Some((header, &[][..])));
    }
}

#[test]
fn a_call_says_by_when_it_is_to_be_answered() {
    for length in [0, 10, 1000] {
        let mut message = encode(
            Header::Call(CallId::NONE, Some(u64::MAX), Subject::Named(b"name")),
            &vec![9; length],
            4000,
        )
        .expect("fits");
        message.address(CallId { entry: 3, serial: 9 });
        let (header, args) = split(message.words(), message.bytes()).expect("splits");
        assert_eq!(
            header,
            Header::Call(CallId { entry: 3, serial: 9 }, Some(u64::MAX), Subject::Named(b"name"))
        );
        assert_eq!(decode::<serde_bytes::ByteBuf>(args).expect("decodes").len(), length);
    }
}

#[test]
fn a_receipt_names_its_gauge() {
    let mut message = Message::new();
    message.encode(Header::Receipt(u32::MAX), &(), 4000, "x").expect("fits");
    assert_eq!(split(message.words(), message.bytes()), Some((Header::Receipt(u32::MAX), &[][..])));
}

#[test]
fn a_message_over_the_bound_is_counted_but_not_kept() {
    let value = vec![1u8; 10_000];
    // Header, name, length, value.
    let exact = 8 + 8 + 2 + value.len();
    assert!(encode(Header::Event(Subject::Named(b"ab")), &value, exact).is_ok());
    match encode(Header::Event(Subject::Named(b"ab")), &value, exact - 1) {
        Err(Error::TooLarge { size, max }) => assert_eq!((size, max), (exact, exact - 1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_large_byte_string_is_sent_from_where_it_lies() {
    let value: Vec<u8> = (0..100_000u32).map(|i| i as u8 | 1).collect();
    for length in (40_000..40_020).chain([99_999]) {
        for name in ["", "n", &"long".repeat(50)] {
            let (header, value) =
                (Header::Event(Subject::Named(name.as_bytes())), &value[..length]);
            let encoded = encode(header, &vec![0; length], usize::MAX).expect("fits").bytes();
            let mut message = Message::new();
            let kept =
                message.deliver(header, serde_bytes::Bytes::new(value), encoded, "x", |message| {
                    assert_eq!((message.bytes(), message.bytes % 8), (encoded, 0));
                    let (words, rest) = (message.words().to_vec(), message.rest);
                    assert!(value.ends_with(rest) && rest.len() + 8 >= length);
                    let kept = message.take();
                    assert!(
                        as_bytes(kept.words(), encoded)
                            == [as_bytes(&words, usize::MAX), rest].concat()
                    );
                    kept
                });
            let kept = kept.expect("fits");
            assert_eq!(kept.bytes(), encoded);
            let (decoded, bytes) = split(kept.words(), kept.bytes()).expect("splits");
            assert!(
                decoded == header
                    && decode::<serde_bytes::ByteBuf>(bytes).expect("decodes") == value
            );

            let mut message = Message::new();
            let refused =
                message.deliver(header, serde_bytes::Bytes::new(value), encoded - 1, "x", |_| {
                    panic!("too large to be sent")
                });
            assert!(matches!(
                refused.map_err(|e| *e),
                Err(Error::TooLarge { size, max }) if (size, max) == (encoded, encoded - 1)
            ));
        }
    }
}

#[test]
fn a_name_of_any_length_is_encoded_or_refused() {
    let longest = vec![b'n'; MAX_NAME];
    let message = encode(Header::Event(Subject::Named(&longest)), &[], usize::MAX).expect("fits");
    assert!(matches!(
        split(message.words(), message.bytes()),
        Some((Header::Event(Subject::Named(name)), [0])) if name == longest
    ));
    match encode(Header::Event(Subject::Named(&vec![b'n'; MAX_NAME + 1])), &[], usize::MAX) {
        Err(Error::TooLarge { size, max }) => assert_eq!((size, max), (MAX_NAME + 1, MAX_NAME)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_honest_end_sends_is_not_split() {
    let header =
        |kind: u64, length: u64, entry: u64| kind | length << NAME_SHIFT | entry << ENTRY_SHIFT;
    for (words, bytes) in [
        (vec![], 0),
        (vec![header(0, 0, 0), 1], 16),
        (vec![header(15, 0, 0), 1], 16),
        (vec![header(INTRODUCE, 9, 0), 1], 16),
        (vec![header(INTRODUCE | KNOWN, 0, 0), 1], 16),
        (vec![header(INTRODUCE | DESCRIBED, 0, 0), 1], 16),
        (vec![header(REFUSE, 0, 0), 1, 1], 24),
        (vec![header(REFUSE, 0, 0), 1 << 32], 16),
        (vec![header(REFUSE | KNOWN, 0, 0), 0], 16),
        (vec![header(WELCOME | DESCRIBED, 0, 1), 1], 16),
        (vec![header(WELCOME, 0, 0), 1], 16),
        (vec![header(WELCOME | KNOWN, 0, 0), 0], 16),
        (vec![header(MISTYPED, 0, 1), 1, 0xff], 17),
        (vec![header(EVENT | ASKS | DESCRIBED, 1, 0), 0], 16),
        (vec![header(EVENT | ASKS | KNOWN, 1, 0)], 8),
        (vec![header(EVENT | KNOWN | DESCRIBED, 0, 0), 0], 16),
        (vec![header(EVENT | DESCRIBED, 0, 0)], 8),
        (vec![header(EVENT | DESCRIBED, 1, 0), 0, 0], 16),
        (vec![header(EVENT | DESCRIBED, 0, 0), 9, 0], 24),
        (vec![header(EVENT | DESCRIBED, 0, 0), MAX_KINDS as u64 + 1, 0], 24),
        (vec![header(CALL | ASKS, 0, 0), 0], 16),
        (vec![header(CALL | KNOWN | DESCRIBED, 0, 0), 0, 0], 24),
        (vec![header(CALL_BY | KNOWN, 0, 0), 0], 16),
        (vec![header(ANSWER | KNOWN, 0, 0), 0, 0], 24),
        (vec![header(ANSWER | DESCRIBED, 0, 0), 0], 16),
        (vec![header(ANSWER | DESCRIBED, 0, 0), 0, u64::MAX], 24),
        (vec![header(ANSWER | DESCRIBED, 0, 0), 0, 9, 0], 32),
        (vec![header(CANCEL | ASKS, 0, 1), 1], 16),
        (vec![header(WITHDRAW, 1, 1), 1, 0], 24),
        (vec![header(WITHDRAW, 0, 1), 1, 0], 17),
        (vec![header(CANCEL, 1, 1), 1, 0], 24),
        (vec![header(CANCEL, 0, 1)], 8),
        (vec![header(CANCEL, 0, 1), 1, 0], 17),
        (vec![header(CALL_BY, 0, 1), 1], 16),
        (vec![header(CALL_BY, 0, 1), 1, 5], 23),
        (vec![header(CALL_BY, 1, 1), 1, 5], 24),
        (vec![header(EVENT, 0, 0)], 7),
        (vec![header(EVENT, 1, 0)], 8),
        (vec![header(EVENT, 1, 1)], 8),
        (vec![header(RECEIPT, 0, 1)], 8),
        (vec![header(RECEIPT, 0, 1), 1], 16),
        (vec![header(RECEIPT, 0, 1), 0, 0], 24),
        (vec![header(RECEIPT, 1, 1), 0, 0], 24),
        (vec![header(EVENT, 9, 0), 0, 0], 23),
        (vec![header(EVENT, MAX_NAME as u64, 0), 0], 16),
        (vec![header(CALL, 0, 1)], 8),
        (vec![header(CALL, 0, 1), 1], 15),
        (vec![header(CALL, 1, 1), 1], 16),
        (vec![header(ANSWER, 1, 1), 1, 0], 24),
        (vec![header(ANSWER, 0, 1)], 8),
        (vec![header(NOT_FOUND, 0, 1), 1, 0], 17),
        (vec![header(OVERLOADED, 0, 1), 1, 0], 17),
        (vec![header(OVERLOADED, 1, 1), 1, 0], 24),
        (vec![header(FAILED, 0, 1), 1, 0xff], 17),
    ] {
        assert_eq!(split(&words, bytes), None, "{words:x?} {bytes}");
        assert_eq!(split_frequent(&words, bytes), None, "{words:x?} {bytes}");
    }
}

#[test]
fn refusals_and_welcomes_come_in_turns() {
    for refused in [
        Refused::Number(0),
        Refused::Number(u32::MAX),
        Refused::Unnumbered(0),
        Refused::Unnumbered(u64::MAX),
    ] {
        for turn in [0, 1, 1 << 23, u32::MAX].map(RefusalTurn::new) {
            for header in [
                Header::Refuse(refused, turn, u32::MAX),
                Header::Refuse(refused, turn, 0),
                Header::Welcome(refused, turn),
            ] {
                let mut message = Message::new();
                message.encode_bytes(header, &[], 16).expect("fits");
                assert!(message.is_urgent() && message.words().len() == URGENT_WORDS);
                assert_eq!(split(message.words(), message.bytes()), Some((header, &[][..])));
            }
        }
    }
    let turns = |turns: [u32; 2]| turns.map(RefusalTurn::new);
    for [earlier, later] in [[0, 1], [5, 1000], [0xff_ffff, 0], [0xff_ff00, 0x100]].map(turns) {
        assert!(later.is_after(earlier) && !earlier.is_after(later) && !later.is_after(later));
    }
}

#[test]
fn frequent_messages_are_what_they_are_among_all() {
    let mut found = [0_u32; 256];
    for (kind, length) in
        (0..256_u64).flat_map(|kind| [0, 1, 8, 9, 1000].map(|length| (kind, length)))
    {
        for (entry, bytes) in [0, 1]
            .into_iter()
            .flat_map(|entry| [8, 16, 17, 24, 32, 100].map(|bytes| (entry, bytes)))
        {
            let words = [
                kind | length << NAME_SHIFT | entry << ENTRY_SHIFT,
                u64::from_le_bytes(*b"a name, "),
                7,
                8,
                9,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
            ];
            let (frequent, any) = (split_frequent(&words, bytes), split(&words, bytes));
            let is_frequent = match any {
                Some((Header::Event(subject) | Header::Call(_, None, subject), _)) => {
                    !subject.asks() && !matches!(subject, Subject::Described { .. })
                }
                Some((header, _)) => matches!(header, Header::Answer(_)),
                None => false,
            };
            assert_eq!(frequent, if is_frequent { any } else { None }, "{words:x?} {bytes}");
            found[kind as usize] += u32::from(frequent.is_some());
        }
    }
    let kinds: Vec<u64> = (0..256).filter(|kind| found[*kind as usize] > 0).collect();
    assert_eq!(kinds, [EVENT, CALL, ANSWER, EVENT | KNOWN, CALL | KNOWN]);
}
