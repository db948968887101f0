//! Holds what several of the tests need.

use crate::shm::layout::SLOT_BYTES;
use crate::{Backend, Progress, Receiver, Region, Segment, SegmentError, Sender, Side, Wakeup};

/// One pair of rings as its two sides see it.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) parent: Region,
    pub(super) worker: Region,
}

impl Pair {
    pub(super) fn heap(slots: usize) -> Pair {
        let region = Region::heap(slots);
        Pair { name: "heap", parent: region.clone(), worker: region }
    }

    /// Makes a pair whose two sides have the same file at different addresses, as two processes do.
    pub(super) fn segment(slots: usize) -> Pair {
        Pair::of(Backend::Memfd, Wakeup::Futex, slots)
    }

    /// Makes a pair over the given memory and with the given wake-ups.
    pub(super) fn of(backend: Backend, wakeup: Wakeup, slots: usize) -> Pair {
        let (parent, segment) =
            Segment::create(backend, wakeup, slots * SLOT_BYTES).expect("create a segment");
        let file = segment.file().map(|file| file.try_clone_to_owned().expect("copy it"));
        let worker = Segment::attach(segment.kind(), segment.name(), file, slots * SLOT_BYTES)
            .expect("attach it");
        segment.attached(&parent).expect("make it final");
        let name = match (backend, wakeup) {
            (Backend::Memfd, Wakeup::Futex) => "segment",
            (Backend::Memfd, Wakeup::Event) => "segment, by events",
            (Backend::Named, Wakeup::Futex) => "named segment",
            (Backend::Named, Wakeup::Event) => "named segment, by events",
        };
        Pair { name, parent, worker }
    }

    pub(super) fn ends(&self, max_message: usize) -> (Sender, Receiver) {
        (
            Sender::new(&self.parent, Side::Parent),
            Receiver::new(&self.worker, Side::Worker, max_message),
        )
    }
}

/// Returns the backends that this build can make segments of.
pub(super) fn backends() -> &'static [Backend] {
    if cfg!(feature = "named") { &[Backend::Memfd, Backend::Named] } else { &[Backend::Memfd] }
}

/// Returns the wake-ups that this build has.
pub(super) fn wakeups() -> &'static [Wakeup] {
    if cfg!(feature = "raw-sync") { &[Wakeup::Futex, Wakeup::Event] } else { &[Wakeup::Futex] }
}

/// Makes segments of all kinds.
pub(super) fn segments(slots: usize) -> Vec<Pair> {
    let of_backend = |backend: &Backend| {
        wakeups().iter().map(|wakeup| Pair::of(*backend, *wakeup, slots)).collect::<Vec<_>>()
    };
    backends().iter().flat_map(of_backend).collect()
}

/// Makes the same ring over all kinds of memory. A segment has 32 slots at least.
pub(super) fn pairs(slots: usize) -> Vec<Pair> {
    [vec![Pair::heap(slots)], segments(slots)].concat()
}

/// Returns the payload bytes of the longest frame, computed without `queue`: half the slots, at
/// most 256, less one word.
pub(super) fn longest_frame(slots: usize) -> usize {
    (slots / 2).min(256) * SLOT_BYTES - 8
}

/// Fails unless a segment was refused as `Foreign`, for a reason that `says` this.
#[track_caller]
pub(super) fn is_foreign(attached: Result<Region, SegmentError>, says: &str) {
    match attached {
        Err(SegmentError::Foreign(what)) if what.contains(says) => {}
        other => panic!("expected an error about {says:?}, got {other:?}"),
    }
}

/// A source of numbers that are the same in every run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// Returns the next number, by SplitMix64.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Makes message number `seed` of `bytes` bytes. Every word differs from those of any other
/// message; the rest of the last word is zero.
pub(super) fn message(seed: u64, bytes: usize) -> Vec<u64> {
    let mut numbers = Numbers(seed);
    let mut words: Vec<u64> = (0..bytes.div_ceil(8)).map(|_| numbers.next()).collect();
    if let (Some(last), rest @ 1..) = (words.last_mut(), bytes % 8) {
        *last &= (1 << (rest * 8)) - 1;
    }
    words
}

/// Sends a message to its end, and receives what stands in the way. Returns the lengths and
/// contents of what came meanwhile.
pub(super) fn send_all(
    sender: &mut Sender,
    receiver: &mut Receiver,
    words: &[u64],
    bytes: usize,
) -> Vec<(usize, Vec<u64>)> {
    let mut came = Vec::new();
    // A message has fewer frames than words, so this many rounds without an end mean that nothing
    // moves.
    for _ in 0..words.len() + 2 {
        if sender.send(words, bytes).expect("send") == Progress::Sent {
            return came;
        }
        came.extend(receive_all(receiver));
    }
    panic!("a message of {bytes} bytes does not get through");
}

pub(super) fn receive_all(receiver: &mut Receiver) -> Vec<(usize, Vec<u64>)> {
    let mut came = Vec::new();
    let mut buffer = Vec::new();
    while let Some(bytes) = receiver.receive(&mut buffer).expect("receive") {
        came.push((bytes, std::mem::take(&mut buffer)));
    }
    came
}
