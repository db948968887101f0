//! Feeds any kinds and any bytes to the decoder that reads a value beside kinds.
//!
//! With kinds, a value that decodes without them may become an error. Bytes that do not decode
//! without kinds must not become a value, and no value may become another one. The kinds that the
//! recorder makes of a value of the same type must change nothing.

#![no_main]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::{Bound, Range};
use std::time::Duration;

use coprocess::Block;
use coprocess::fuzzing::{kinds_of, read};
use coprocess_fuzz::kinds::are_kinds;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde_bytes::ByteBuf;

#[derive(Arbitrary, Debug)]
struct Input {
    of: u8,
    kinds: Vec<u8>,
    bytes: Vec<u8>,
    /// Encodes another value of the type, if these bytes decode.
    other: Vec<u8>,
}

/// Formats a result for comparison. All errors of decoding are equal here, and NaN equals itself.
fn shown<T: Debug>(read: &Result<T, (bool, String)>) -> String {
    match read {
        Ok(value) => format!("{value:?}"),
        Err((is_mismatch, _)) => {
            assert!(!is_mismatch, "without kinds nothing differs");
            String::from("an error")
        }
    }
}

macro_rules! check {
    ($type:ty, $input:expr) => {{
        let Input { kinds, bytes, other, .. } = $input;
        let plain = shown(&read::<$type>(bytes, None));
        match read::<$type>(bytes, Some(kinds)) {
            Err((true, text)) => assert!(text.len() < 4096, "{text}"),
            checked => assert_eq!(shown(&checked), plain),
        }
        if let Ok(value) = read::<$type>(other, None) {
            let honest = kinds_of(&value).expect("what was decoded can be serialized");
            assert!(are_kinds(&honest), "{honest:?}");
            let checked = read::<$type>(bytes, Some(&honest));
            assert_eq!(shown(&checked), plain, "{honest:?}");
        }
    }};
}

fuzz_target!(|input: Input| match input.of % 16 {
    0 => check!(u64, &input),
    1 => check!((bool, i8, u8, i16, u32, i64, u128, i128), &input),
    2 => check!((f32, f64, char, String, ()), &input),
    3 => check!(Vec<Option<u16>>, &input),
    4 => check!(BTreeMap<String, Vec<Option<i32>>>, &input),
    5 => check!(Result<(u16, String), Option<bool>>, &input),
    6 => check!(Vec<Vec<Vec<u8>>>, &input),
    7 => check!((ByteBuf, Vec<u8>, ByteBuf), &input),
    8 => check!(Vec<Bound<Range<i64>>>, &input),
    9 => check!(Option<Option<Duration>>, &input),
    10 => check!(Vec<(IpAddr, [u8; 4])>, &input),
    11 => check!((Block<u32>, Option<Block<[u16; 2]>>), &input),
    12 => check!(BTreeMap<u8, BTreeMap<(), Bound<u8>>>, &input),
    13 => check!((NonZeroU16, std::num::Wrapping<i16>, Box<[Option<()>]>), &input),
    14 => check!([Result<Vec<()>, Bound<char>>; 3], &input),
    _ => check!(String, &input),
});
