//! Holds what several of the models need.

use loom::thread;

use crate::queue::consumer::Consumer;
use crate::queue::frame::{Frame, FrameKind};
use crate::queue::producer::Producer;

/// Explores `model` with at most three preemptions, or as many as `LOOM_MAX_PREEMPTIONS` says.
pub(super) fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Makes a frame word, by the description in `layout`.
pub(super) fn frame_word(bytes: u64, serial: u64) -> u64 {
    bytes | serial << 19
}

pub(super) fn push(producer: &mut Producer, words: &[u64]) {
    while !producer.push(words, words.len() * 8, FrameKind::Last).unwrap() {
        thread::yield_now();
    }
}

pub(super) fn pop(consumer: &mut Consumer, words: &mut Vec<u64>) -> Frame {
    words.clear();
    loop {
        if let Some(frame) = consumer.pop(words).unwrap() {
            return frame;
        }
        thread::yield_now();
    }
}
