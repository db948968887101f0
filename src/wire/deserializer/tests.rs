use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use serde::Serialize;

use super::*;

#[derive(Debug, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Text(String),
    SentType(Box<Tree>, Option<Box<Tree>>),
    Forest { trees: Vec<Tree>, names: BTreeMap<u8, Tree> },
}

#[derive(Debug, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Serialize, Deserialize)]
struct Everything {
    small: (u8, i8, u16, i16, bool, char),
    large: (u32, i32, u64, i64, u128, i128),
    real: (f32, f64),
    nothing: ((), Unit, [u8; 0]),
    trees: Vec<Tree>,
    bytes: serde_bytes::ByteBuf,
    choice: Option<std::result::Result<[u16; 3], String>>,
}

fn leaf() -> Box<Tree> {
    Box::new(Tree::Leaf)
}

fn everything() -> Vec<u8> {
    let forest = Tree::Forest {
        trees: vec![Tree::Text("some text".to_owned())],
        names: BTreeMap::from([(7, Tree::SentType(leaf(), None))]),
    };
    let value = Everything {
        small: (1, -1, 300, -300, true, 'ß'),
        large: (1 << 31, i32::MIN, u64::MAX, i64::MIN, u128::MAX, i128::MIN),
        real: (1.5, -0.0),
        nothing: ((), Unit, []),
        trees: vec![Tree::SentType(Box::new(forest), Some(leaf())), Tree::Leaf],
        bytes: serde_bytes::ByteBuf::from(vec![9; 40]),
        choice: Some(Ok([1, 2, 3])),
    };
    postcard::to_stdvec(&value).expect("encodes")
}

/// Compares values by what they print, since some are NaN.
#[track_caller]
fn as_postcard<T: DeserializeOwned + Debug>(bytes: &[u8]) -> std::result::Result<(), DecodeError> {
    let theirs = postcard::take_from_bytes::<T>(bytes);
    let ours = decode::<T>(bytes);
    match (&ours, &theirs) {
        (Ok(ours), Ok((theirs, []))) => assert_eq!(format!("{ours:?}"), format!("{theirs:?}")),
        (Err(ours), theirs) => match (&*ours.0, theirs) {
            (Cause::Trailing(left), Ok((_, rest))) => assert_eq!(*left, rest.len()),
            (Cause::Malformed(ours), Err(theirs)) => assert_eq!(ours, theirs),
            (Cause::Custom(_), Err(postcard::Error::SerdeDeCustom)) | (Cause::TooMany, Err(_)) => {}
            _ => panic!("{bytes:?}: {ours:?}, postcard: {theirs:?}"),
        },
        _ => panic!("{bytes:?}: {ours:?}, postcard: {theirs:?}"),
    }
    ours.map(drop)
}

#[test]
fn every_kind_of_value_is_read_as_postcard_reads_it() {
    let bytes = everything();
    as_postcard::<Everything>(&bytes).expect("decodes");
    for length in 0..bytes.len() {
        as_postcard::<Everything>(&bytes[..length]).expect_err("something is missing");
    }
    as_postcard::<Everything>(&[&bytes[..], &[0]].concat()).expect_err("something is left over");
}

#[test]
fn damaged_messages_are_read_as_postcard_reads_them() {
    let bytes = everything();
    for at in 0..bytes.len() {
        for value in 0..=u8::MAX {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            // Whether the message still decodes depends on the byte.
            let _ = as_postcard::<Everything>(&damaged);
        }
    }
}

#[test]
fn trailing_bytes_are_an_error() {
    assert_eq!(cause(decode::<u8>(&[1, 2])), Cause::Trailing(1));
}

#[test]
fn nesting_is_bounded() {
    // Each pair takes one byte, and one more that tells whether the pair has a second part.
    let nested = |levels: usize| [vec![2; levels], vec![0], vec![0; levels]].concat();
    assert!(decode::<Tree>(&nested(MAX_NESTING as usize - 1)).is_ok());
    for levels in [MAX_NESTING as usize, 1000, 10_000_000] {
        assert_eq!(cause(decode::<Tree>(&nested(levels))), Cause::TooDeep);
    }
    // Side by side, any number of values is fine.
    assert!(decode::<Vec<Tree>>(&[vec![0xe8, 0x07], [2, 0, 0].repeat(1000)].concat()).is_ok());
}

#[test]
fn an_error_within_a_value_does_not_use_levels_up() {
    /// Ignores an error of what it reads.
    struct Lenient;
    impl<'de> Deserialize<'de> for Lenient {
        fn deserialize<D: Deserializer<'de>>(
            deserializer: D,
        ) -> std::result::Result<Lenient, D::Error> {
            drop(Option::<u128>::deserialize(deserializer));
            Ok(Lenient)
        }
    }
    let broken = [[1].as_slice(), &[0xff; 19]].concat().repeat(1000);
    assert!(decode::<Vec<Lenient>>(&[&[0xe8, 0x07], &broken[..]].concat()).is_ok());
}

#[track_caller]
fn cause<T>(decoded: Result<T>) -> Cause {
    *decoded.map(drop).expect_err("does not decode").0
}

fn length(of: u64) -> Vec<u8> {
    postcard::to_stdvec(&of).expect("encodes")
}

#[test]
fn announced_lengths_are_bounded() {
    #[derive(Debug, Default, Deserialize)]
    struct Skipped {
        #[serde(skip)]
        _large: [u64; 32],
    }
    for of in [1 << 17, 1 << 32, 1 << 60, u64::MAX] {
        let bytes = length(of);
        assert_eq!(cause(decode::<Vec<u8>>(&bytes)), Cause::TooMany);
        assert_eq!(cause(decode::<Vec<u64>>(&bytes)), Cause::TooMany);
        assert_eq!(cause(decode::<Vec<()>>(&bytes)), Cause::TooMany);
        assert_eq!(cause(decode::<Vec<Skipped>>(&bytes)), Cause::TooMany);
        assert_eq!(cause(decode::<HashMap<(), ()>>(&bytes)), Cause::TooMany);
        assert_eq!(cause(decode::<HashMap<u64, u64>>(&bytes)), Cause::TooMany);
        assert_eq!(
            cause(decode::<String>(&bytes)),
            Cause::Malformed(postcard::Error::DeserializeUnexpectedEnd)
        );
        assert_eq!(
            cause(decode::<serde_bytes::ByteBuf>(&bytes)),
            Cause::Malformed(postcard::Error::DeserializeUnexpectedEnd)
        );
    }
    // The bound is for all lists together, not for each one.
    let many = [length(1000), length(1000).repeat(1000)].concat();
    assert_eq!(cause(decode::<Vec<Vec<()>>>(&many)), Cause::TooMany);
    assert_eq!(decode::<Vec<()>>(&length(1000)).expect("few enough").len(), 1000);
}

/// Checks that a message may have as many elements as its bytes allow, nested or not.
#[test]
fn honest_elements_are_never_too_many() {
    let flat = vec![0_u8; 1 << 20];
    let nested = vec![vec![vec![0_u8]; 3]; 1 << 18];
    assert!(decode::<Vec<u8>>(&postcard::to_stdvec(&flat).expect("encodes")).is_ok());
    assert_eq!(
        decode::<Vec<Vec<Vec<u8>>>>(&postcard::to_stdvec(&nested).expect("encodes"))
            .expect("decodes"),
        nested
    );
}
