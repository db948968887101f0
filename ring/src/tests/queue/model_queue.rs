//! Compares the channel with a queue: whatever the order of sending, receiving and giving up, what
//! comes out is what went in.

use std::collections::VecDeque;

use proptest::prelude::*;

use crate::tests::common::{Pair, longest_frame, message};
use crate::{Progress, Receiver, Sender, Side, Watch};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Goes on with the message under way, or begins one of this size.
    Send(usize),
    /// Sends messages of this size until there is no space.
    Fill(usize),
    Receive,
    Drain,
    Abandon,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..=64_usize,
        4 => 0..=300_usize,
        2 => 0..=5_000_usize,
        1 => 0..=40_000_usize,
        1 => (1..=4_usize, 0..=16_usize).prop_map(|(n, d)| (n * 128).saturating_sub(d)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => size().prop_map(Step::Send),
        1 => (0..=130_usize).prop_map(Step::Fill),
        6 => Just(Step::Receive),
        1 => Just(Step::Drain),
        1 => Just(Step::Abandon),
    ];
    proptest::collection::vec(step, 1..300)
}

fn pair() -> impl Strategy<Value = Pair> {
    let heap = prop::sample::select(vec![2, 4, 8, 16, 32, 64, 128, 256, 1024])
        .prop_map(|slots| ("heap", slots));
    let segment = prop::sample::select(vec![32, 128, 512]).prop_map(|slots| ("segment", slots));
    prop_oneof![heap, segment].prop_map(|(name, slots)| {
        if name == "heap" { Pair::heap(slots) } else { Pair::segment(slots) }
    })
}

/// The channel, and what should be in it.
struct Run {
    sender: Sender,
    receiver: Receiver,
    ours: Watch,
    theirs: Watch,
    longest_frame: usize,
    queue: VecDeque<(usize, Vec<u64>)>,
    /// The message that `Sender::send` must be called with again.
    under_way: Option<(usize, Vec<u64>)>,
    buffer: Vec<u64>,
    seed: u64,
}

impl Run {
    fn new(pair: &Pair) -> Run {
        let (sender, receiver) = pair.ends(1 << 20);
        Run {
            sender,
            receiver,
            ours: Watch::new(&pair.parent, Side::Parent),
            theirs: Watch::new(&pair.worker, Side::Worker),
            longest_frame: longest_frame(pair.parent.slots(0).len()),
            queue: VecDeque::new(),
            under_way: None,
            buffer: Vec::new(),
            seed: 0,
        }
    }

    /// Returns `true` if the message got through to its end.
    fn send(&mut self, bytes: usize) -> bool {
        self.seed += 1;
        let (bytes, words) =
            self.under_way.take().unwrap_or_else(|| (bytes, message(self.seed, bytes)));
        match self.sender.send(&words, bytes).expect("the receiver is honest") {
            Progress::Sent => {
                assert!(!self.sender.is_under_way());
                self.queue.push_back((bytes, words));
                true
            }
            Progress::NoSpace(space) => {
                // The sender has just looked, and nothing was received since.
                assert!(!self.ours.has_space(space));
                assert!(
                    !self.sender.is_under_way() || bytes > self.longest_frame,
                    "one frame is sent whole or not at all"
                );
                self.under_way = Some((bytes, words));
                false
            }
        }
    }

    /// Returns `true` if something came.
    fn receive(&mut self) -> bool {
        let seen = self.theirs.has_come(self.receiver.next_frame());
        let came = self.receiver.receive(&mut self.buffer).expect("the sender is honest");
        assert!(came.is_none() || seen, "a message came that the watch does not see");
        match (came, self.queue.pop_front()) {
            (Some(bytes), Some((expected, words))) => {
                assert_eq!((bytes, &self.buffer), (expected, &words))
            }
            (None, None) => assert!(!self.theirs.has_come(self.receiver.next_frame())),
            (came, expected) => {
                panic!("received {came:?} bytes, expected {:?}", expected.map(|(bytes, _)| bytes))
            }
        }
        came.is_some()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(bytes) => {
                self.send(bytes);
            }
            Step::Fill(bytes) => while self.send(bytes) {},
            Step::Receive => {
                self.receive();
            }
            Step::Drain => while self.receive() {},
            Step::Abandon => {
                // Whether nothing or half of the message was published, it is not sent again.
                self.sender.abandon();
                self.under_way = None;
            }
        }
    }

    /// Ends the sender in whatever state the steps have left: all of it is received.
    fn end(mut self) {
        self.receiver.expect_end();
        while self.receive() {}
        assert!(self.queue.is_empty());
    }

    /// Goes on from whatever state the steps have left: the message under way gets through, and
    /// then one more.
    fn finish(mut self) {
        let mut left = vec![8, self.longest_frame * 3];
        for _round in 0..100_000 {
            if self.under_way.is_none() && left.is_empty() {
                break;
            }
            let bytes = if self.under_way.is_none() { left.pop().unwrap_or_default() } else { 0 };
            self.send(bytes);
            while self.receive() {}
        }
        assert!(self.under_way.is_none() && left.is_empty(), "nothing moves any more");
        while self.receive() {}
        assert!(self.queue.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn the_channel_is_a_queue(pair in pair(), steps in steps()) {
        let mut run = Run::new(&pair);
        for step in steps {
            run.step(step);
        }
        run.finish();
    }

    #[test]
    fn all_of_it_is_received_after_the_end(pair in pair(), steps in steps()) {
        let mut run = Run::new(&pair);
        for step in steps {
            run.step(step);
        }
        run.end();
    }
}
