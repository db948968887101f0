//! Arrays of plain numbers as blocks: within any value, aligned, of whole elements only.

use coprocess::serde_bytes::{ByteBuf, Bytes};
use coprocess::{Block, Error, block};
use serde::{Deserialize, Serialize};

use crate::common::{LIMIT, assert_matches, inbox, next, within};

#[derive(
    Debug, Clone, Copy, PartialEq, coprocess::bytemuck::Pod, coprocess::bytemuck::Zeroable,
)]
#[bytemuck(crate = "coprocess::bytemuck")]
#[repr(C)]
struct Point {
    at: [f32; 3],
    weight: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Cloud {
    name: String,
    points: Block<Point>,
    #[serde(with = "coprocess::block")]
    order: Vec<u64>,
    labels: Vec<Option<Block<u16>>>,
    nested: (Block<i128>, Block<f64>),
}

fn cloud(size: usize) -> Cloud {
    let points: Block<Point> = (0..size)
        .map(|n| Point { at: [n as f32, -0.0, f32::INFINITY], weight: n as u32 })
        .collect();
    Cloud {
        name: "c".repeat(size % 9),
        points,
        order: (0..size as u64).rev().collect(),
        labels: vec![None, Some(vec![1; size].into()), Some(Block::default())],
        nested: ((0..size).map(|n| -(n as i128) << 64).collect(), [f64::MIN, f64::MAX][..].into()),
    }
}

fn worker(parent: coprocess::Coprocess) {
    parent.serve("cloud", |cloud: Cloud| {
        assert!(
            cloud.points.as_ptr().is_aligned()
                && cloud.nested.0.as_ptr().is_aligned()
                && cloud.order.as_ptr().is_aligned()
        );
        cloud
    });
    parent.serve("sum", |numbers: Block<u64>| numbers.iter().sum::<u64>());
    parent.serve("bytes", |bytes: ByteBuf| bytes);
    parent.serve("points", |points: Block<Point>| points.len());
    parent.serve("plain", |numbers: Vec<u64>| numbers.len());
    let back = parent.downgrade();
    parent.listen("floats", move |floats: Block<f32>| {
        back.upgrade().unwrap().emit("back", floats).unwrap()
    });
}

#[test]
fn blocks_within_a_value_come_back_as_they_were_sent() {
    within(LIMIT, || {
        let co = coprocess::fork(worker).unwrap();
        for size in (0..40).chain([1000, 100_000]) {
            let sent = cloud(size);
            let back: Cloud = co.call("cloud", &sent).unwrap();
            assert!(back == sent, "{size}");
        }
        co.close().unwrap();
    });
}

#[test]
fn a_block_that_is_all_there_is_comes_back_as_it_was_sent() {
    within(LIMIT, || {
        let co = coprocess::fork(worker).unwrap();
        let back = inbox::<Block<f32>>(&co, "back");
        for size in [0, 1, 5, 8191, 8192, 8193, 1 << 20] {
            let floats: Vec<f32> = (0..size).map(|n| n as f32 / 7.0).collect();
            co.emit("floats", block(&floats)).unwrap();
            assert!(next(&back)[..] == floats[..], "a slice of {size}");
            co.emit("floats", Block::from(&floats[..])).unwrap();
            assert!(Vec::from(next(&back)) == floats, "a block of {size}");
        }
        // No number but its bits: also those that are none.
        let odd = [f32::from_bits(0x7fa0_0001), -0.0, f32::NEG_INFINITY];
        co.emit("floats", block(&odd)).unwrap();
        assert_eq!(
            next(&back).iter().map(|f| f.to_bits()).collect::<Vec<_>>(),
            odd.map(f32::to_bits)
        );
        co.close().unwrap();
    });
}

#[test]
fn a_block_is_a_byte_string_of_whole_elements() {
    within(LIMIT, || {
        let co = coprocess::fork(worker).unwrap();
        assert_eq!(
            co.call::<u64>("sum", Bytes::new(&[1, 0, 0, 0, 0, 0, 0, 1])).unwrap(),
            1 + (1 << 56)
        );
        let bytes: ByteBuf = co.call("bytes", block(&[0x0102_u16, 0x0304])).unwrap();
        assert_eq!(bytes.as_slice(), [2, 1, 4, 3]);
        for length in [1, 7, 9, 4095] {
            let refused = co.call::<u64>("sum", Bytes::new(&vec![0; length]));
            assert_matches!(&refused, Err(Error::Remote { message, .. }) if message.contains("do not decode"));
        }
        // Bytes say nothing of what they are of.
        assert_matches!(
            co.call::<usize>("points", Bytes::new(&[0; 20])),
            Err(Error::Remote { .. })
        );
        assert_eq!(co.call::<usize>("points", Bytes::new(&[0; 32])).unwrap(), 2);
        assert_matches!(
            co.call::<Block<u32>>("bytes", Bytes::new(&[0; 6])),
            Err(Error::Decode { .. })
        );
        // What is too short for its length, and what is none of the elements that its bytes are
        // taken for.
        assert_matches!(co.call_bytes("sum", &[200, 1]), Err(Error::Remote { .. }));
        let of_numbers = [&[24][..], &[0xff; 24]].concat();
        assert_matches!(co.call_bytes("plain", &of_numbers), Err(Error::Remote { .. }));
        co.close().unwrap();
    });
}

#[test]
fn a_block_of_other_elements_is_refused() {
    within(LIMIT, || {
        let co = coprocess::fork(worker).unwrap();
        let refused = |result: coprocess::Result<u64>, what: &str, takes: &str| {
            assert_matches!(result, Err(Error::Types { sent, wanted, .. }) if (&*sent, &*wanted) == (what, takes));
        };
        let (floats, points) = (
            "block of f32, 4 bytes at multiples of 4",
            "block of Point, 16 bytes at multiples of 4",
        );
        for length in [5, 8] {
            refused(co.call("points", block(&vec![1.0_f32; length])), floats, points);
        }
        let numbers = "block of u64, 8 bytes at multiples of 8";
        refused(co.call("sum", (200_u8, 1_u8)), "(u8, u8)", numbers);
        refused(co.call("plain", block(&[u64::MAX; 3])), numbers, "[_]");
        co.close().unwrap();
    });
}

#[test]
fn a_block_is_a_slice_and_a_vector() {
    let mut numbers: Block<u32> = vec![3, 1, 2].into();
    numbers.sort_unstable();
    numbers[0] += 6;
    assert_eq!(
        (numbers.as_ref(), numbers.len(), format!("{numbers:?}").as_str()),
        (&[7, 2, 3][..], 3, "[7, 2, 3]")
    );
    let vector = numbers.clone().into_vec();
    let (before, length) = (vector.as_ptr(), vector.len());
    let back = Block::from(vector).into_vec();
    assert_eq!((back.as_ptr(), back.len()), (before, length), "without a copy");
    assert!(Block::<u8>::default().is_empty() && numbers == Block::from(back));
}
