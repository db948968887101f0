//! Memory that was not sent does not reach the other side: not by padding, not by recycled buffers
//! and slots, not by messages that were given up. Both processes fill what they free with a byte
//! that they never send, and look for it in all of the shared memory.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use crate::common::{self, LIMIT, alone, within};
use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Builder, Coprocess, Error};
use serde::ser::{Error as _, SerializeTuple};
use serde::{Deserialize, Serialize, Serializer};

/// The byte that is never sent.
const SECRET: u8 = 0xee;
const RING: usize = 64 << 10;
const SLOTS: usize = 4096;
const SLOT: usize = 128;

/// Leaves the secret wherever the heap and the stack are used next.
fn poison() {
    let heap: Vec<Vec<u8>> = (4..18)
        .flat_map(|bits| [1 << bits, (1 << bits) + 24, 3 << (bits - 1)])
        .map(|size| vec![SECRET; size])
        .collect();
    drop(black_box(heap));
    black_box([SECRET; 16 << 10]);
}

/// Returns the bytes of every mapping of shared memory of this process.
fn shared_memory() -> Vec<Vec<u8>> {
    let memory = fs::File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ranges = maps.lines().filter(|line| common::is_shared_memory(line)).map(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let start = u64::from_str_radix(start, 16).unwrap();
        (start, u64::from_str_radix(end, 16).unwrap() - start)
    });
    ranges
        .map(|(start, size)| {
            let mut bytes = vec![0; size as usize];
            memory.read_exact_at(&mut bytes, start).unwrap();
            bytes
        })
        .collect()
}

/// How many of the first bytes of a slot may count something, or may have counted: behind a short
/// message is what a longer one has left there.
const COUNTED: usize = 24;
/// Where a call that has a deadline says when that is: nanoseconds, which may be any bytes.
const DEADLINE: std::ops::Range<usize> = 24..32;

/// Returns where the secret is in the slots of any pair of this process.
fn found() -> Option<usize> {
    shared_memory().iter().find_map(|segment| {
        let slots = &segment[SLOTS..];
        let found = slots.iter().enumerate().find(|(at, byte)| {
            // The first words of a slot may be the header of a frame and of a message. They count
            // frames and calls, so that one byte may have any value. Two in a row mean more than
            // there are here.
            **byte == SECRET
                && !DEADLINE.contains(&(at % SLOT))
                && (at % SLOT >= COUNTED || slots.get(at + 1) == Some(&SECRET))
        });
        // Besides the header and the ten words of the control blocks nothing is ever written before
        // the slots, unless there are events; and, at the end of each control block, a flag and two
        // counts.
        let reported = |at: usize| matches!(at % 1024, 640 | 648..664);
        let written = |at: usize| {
            at < 48
                || (1024..3072).contains(&at) && (at % 1024 < 640 && at % 128 < 8 || reported(at))
                || cfg!(coprocess_second_backend) && at >= 3072
        };
        let stray =
            segment[..SLOTS].iter().enumerate().find(|(at, byte)| **byte != 0 && !written(*at));
        assert_eq!(stray, None);
        found.map(|(at, _)| at)
    })
}

#[track_caller]
fn nothing_found(after: &str) {
    assert_eq!(found(), None, "after {after}");
}

/// Has padding behind each of its fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[repr(C)]
struct Padded {
    small: u8,
    large: u64,
    medium: u16,
    choice: Option<(u8, u32)>,
}

fn padded(n: u8) -> Padded {
    Padded { small: n, large: 7, medium: 7, choice: n.is_multiple_of(2).then_some((n, 7)) }
}

/// Of which some were serialized, when there is an error or a panic.
struct Unfinished {
    secrets: usize,
    panics: bool,
}

impl Serialize for Unfinished {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(3)?;
        tuple.serialize_element(&[SECRET; 20])?;
        tuple.serialize_element(Bytes::new(&vec![SECRET; self.secrets]))?;
        assert!(!self.panics, "in the midst of a message");
        Err(S::Error::custom("no more"))
    }
}

/// Makes `size` bytes amid more of the secret.
fn amid(size: usize) -> ByteBuf {
    let mut bytes = vec![SECRET; size + 4096];
    bytes.truncate(size);
    bytes.fill(7);
    ByteBuf::from(bytes)
}

/// Serves what both ends serve.
fn serve(end: &Coprocess) {
    end.serve("padded", |padded: Vec<Padded>| {
        poison();
        padded
    });
    end.serve("shorter", |bytes: ByteBuf| {
        poison();
        amid(bytes.len() / 3)
    });
    end.serve("text", |text: String| text[..text.len() / 2].to_owned());
    end.serve("unfinished", |(secrets, panics): (usize, bool)| {
        poison();
        Unfinished { secrets, panics }
    });
    end.try_serve("fails", |length: usize| -> Result<(), String> { Err("x".repeat(length)) });
}

/// Sends something in every way, in many sizes.
fn traffic(end: &Coprocess) {
    let sizes = [
        0, 1, 2, 7, 8, 9, 30, 55, 56, 57, 100, 119, 120, 121, 127, 128, 129, 1000, 4001, 20_003,
        33_001, 70_002, 200_005,
    ];
    for (n, size) in (0..).zip(sizes.into_iter().chain(sizes.into_iter().rev())) {
        poison();
        end.call::<ByteBuf>("shorter", amid(size)).unwrap();
        nothing_found("bytes");
        end.call::<String>("text", "y".repeat(size)).unwrap();
        nothing_found("text");
        poison();
        end.call::<Vec<Padded>>("padded", vec![padded(n); size / 16]).unwrap();
        end.call::<Vec<Padded>>("padded", vec![padded(n), padded(n + 1)].into_boxed_slice())
            .unwrap();
        nothing_found("padding");
        end.call::<()>("fails", size).unwrap_err();
        end.call::<()>(&"m".repeat(size % 300), ()).unwrap_err();
        nothing_found("failures");
        end.emit(&"e".repeat(n.into()), (n, amid(size))).unwrap();
        nothing_found("an event");

        for panics in [false, true] {
            let unfinished = Unfinished { secrets: size, panics };
            match panic::catch_unwind(AssertUnwindSafe(|| end.emit("unfinished", &unfinished))) {
                Ok(sent) => assert!(matches!(sent, Err(Error::Encode { .. })), "{sent:?}"),
                Err(_) => assert!(panics),
            }
            nothing_found("an unfinished event");
            match panic::catch_unwind(AssertUnwindSafe(|| end.call::<()>("x", &unfinished))) {
                Ok(sent) => assert!(matches!(sent, Err(Error::Encode { .. })), "{sent:?}"),
                Err(_) => assert!(panics),
            }
            nothing_found("an unfinished call");
            // The other end begins an answer, and gives it up.
            end.call::<()>("unfinished", (size, panics)).unwrap_err();
            nothing_found("an unfinished answer");
        }
        // More than a message may be: nothing of it is sent.
        let too_large = (ByteBuf::from(vec![SECRET; size]), ByteBuf::from(vec![SECRET; 300_000]));
        assert!(matches!(end.emit("too large", &too_large), Err(Error::TooLarge { .. })));
        let too_large = ByteBuf::from(vec![SECRET; 250_000]);
        assert!(matches!(end.emit("too large", &too_large), Err(Error::TooLarge { .. })));
        nothing_found("an event that is too large");
        // Given up for want of room, or of time, perhaps half-way.
        let _ = end.try_emit("large", amid(100_000));
        let _ = end.emit_timeout("large", amid(100_000), Duration::ZERO);
        let _ = end.call_timeout::<()>("x", amid(size), Duration::ZERO);
        nothing_found("messages given up");
    }
}

#[test]
fn are_not_in_the_shared_memory() {
    within(LIMIT, || {
        alone!({
            // Panics on purpose are not worth a report.
            panic::set_hook(Box::new(|_| {}));
            // Also towards the process that this test runs in, which is of no interest here: it
            // holds no secret.
            assert_eq!(found(), None);
            let worker = Builder::new()
                .ring_capacity(RING)
                .max_message(250_000)
                .fork(|parent| {
                    panic::set_hook(Box::new(|_| {}));
                    serve(&parent);
                    let end = parent.downgrade();
                    parent.serve("traffic", move |()| traffic(&end.upgrade().unwrap()));
                })
                .unwrap();
            serve(&worker);
            traffic(&worker);
            worker.call::<()>("traffic", ()).unwrap();
            nothing_found("the worker's messages");

            // That this finds what is there.
            worker.emit("told", [SECRET; 20]).unwrap();
            assert!(found().is_some());
        });
    });
}
