//! Runs two threads over a real segment, with real sleep: nothing is lost, mixed up, or waits for
//! ever.

use std::thread;
use std::time::{Duration, Instant};

use crate::tests::common::{Numbers, Pair, message, segments};
use crate::{Progress, Receiver, Sender, Side, Sleeper, Spin, WaitStrategy, Watch};

/// One end with what it needs to wait. A wait that reaches `deadline` ends by a panic: a wake-up
/// was lost.
struct End<T> {
    end: T,
    watch: Watch,
    spin: Spin,
    deadline: Instant,
}

impl<T> End<T> {
    fn new(end: T, region: &crate::Region, side: Side, strategy: WaitStrategy) -> End<T> {
        let deadline = Instant::now() + Duration::from_secs(60);
        End {
            end,
            watch: Watch::new(region, side),
            spin: Spin::new(strategy, std::process::id()),
            deadline,
        }
    }
}

impl End<Sender> {
    /// Sends one message to its end, or gives it up if it has not got through in `patience` rounds.
    /// Returns `true` if it was sent.
    fn send(&mut self, words: &[u64], bytes: usize, patience: usize) -> bool {
        for _ in 0..patience {
            let space = match self.end.send(words, bytes).expect("the receiver is honest") {
                Progress::Sent => return true,
                Progress::NoSpace(space) => space,
            };
            if self.spin.spin(Some(self.deadline), || self.watch.has_space(space)) {
                continue;
            }
            self.watch.arm_for_space();
            if !self.watch.has_space(space) {
                let start = Instant::now();
                assert!(
                    self.watch.sleep_for_space(Some(self.deadline)).expect("futex"),
                    "no wake-up said that there is space"
                );
                self.spin.slept(start.elapsed());
            }
            self.watch.disarm_for_space();
        }
        self.end.abandon();
        false
    }
}

impl End<Receiver> {
    /// Receives the next message. Returns `None` after the last.
    fn receive(&mut self, buffer: &mut Vec<u64>) -> Option<usize> {
        loop {
            let ended = self.end.is_closed();
            if let Some(bytes) = self.end.receive(buffer).expect("the sender is honest") {
                return Some(bytes);
            }
            if ended {
                return None;
            }
            let next = self.end.next_frame();
            let is_there = || self.watch.has_come(next) || self.watch.is_closed();
            if self.spin.spin(Some(self.deadline), is_there) {
                continue;
            }
            self.watch.arm(Sleeper::Driver);
            if !is_there() {
                let start = Instant::now();
                assert!(
                    self.watch.sleep(Sleeper::Driver, Some(self.deadline)).expect("futex"),
                    "no wake-up said that a frame came"
                );
                self.spin.slept(start.elapsed());
            }
            self.watch.disarm();
        }
    }
}

/// Makes message `seed`, as both threads know it, and its size. Its number is its first word.
fn numbered(seed: u64, most: usize) -> (Vec<u64>, usize) {
    let mut numbers = Numbers(!seed);
    let bound = if numbers.below(30) == 0 { most } else { 400 };
    let bytes = 8 + numbers.below(bound);
    let mut words = message(seed, bytes);
    words[0] = seed;
    (words, bytes)
}

/// Sends messages one way and compares. Returns the wake-up calls of the sender and of the
/// receiver.
fn stream(
    slots: usize,
    count: u64,
    most: usize,
    strategy: WaitStrategy,
    patience: usize,
) -> (u64, u64) {
    let all =
        segments(slots).into_iter().map(|pair| stream_over(pair, count, most, strategy, patience));
    all.reduce(|(a, b), (c, d)| (a + c, b + d)).expect("a kind of segment")
}

fn stream_over(
    pair: Pair,
    count: u64,
    most: usize,
    strategy: WaitStrategy,
    patience: usize,
) -> (u64, u64) {
    let (sender, receiver) = pair.ends(1 << 20);
    let mut sender = End::new(sender, &pair.parent, Side::Parent, strategy);
    let mut receiver = End::new(receiver, &pair.worker, Side::Worker, strategy);
    // Both sides dawdle now and then, so that the ring is empty at times and full at times.
    let dawdle = |numbers: &mut Numbers| match numbers.below(3_000) {
        0 => thread::sleep(Duration::from_micros(500)),
        1..20 => thread::yield_now(),
        _ => {}
    };
    let ((given_up, woke_receiver), (received, woke_sender)) = thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let mut numbers = Numbers(11);
            let mut given_up = Vec::new();
            for seed in 0..count {
                let (words, bytes) = numbered(seed, most);
                if !sender.send(&words, bytes, patience) {
                    given_up.push(seed);
                }
                dawdle(&mut numbers);
            }
            sender.end.close().expect("wake");
            (given_up, sender.end.wakeups())
        });
        let receiving = scope.spawn(move || {
            let mut numbers = Numbers(22);
            let mut buffer = Vec::new();
            let mut received = Vec::new();
            while let Some(bytes) = receiver.receive(&mut buffer) {
                let seed = buffer[0];
                let (words, expected) = numbered(seed, most);
                assert_eq!(bytes, expected, "length of message {seed}");
                assert!(buffer == words, "content of message {seed}");
                received.push(seed);
                dawdle(&mut numbers);
            }
            (received, receiver.end.wakeups())
        });
        (sending.join().expect("sender"), receiving.join().expect("receiver"))
    });
    let mut given_up = given_up.into_iter().peekable();
    let expected = (0..count).filter(|seed| given_up.next_if_eq(seed).is_none());
    assert!(
        received.iter().copied().eq(expected),
        "every message that was sent arrives once and in order"
    );
    (woke_receiver, woke_sender)
}

#[test]
fn a_stream_through_a_small_ring_with_sleep() {
    let (woke_receiver, woke_sender) = stream(32, 30_000, 30_000, WaitStrategy::Block, usize::MAX);
    assert!(
        woke_receiver > 0 && woke_sender > 0,
        "both sides should have slept: {woke_receiver}, {woke_sender}"
    );
}

#[test]
fn a_stream_through_a_large_ring_with_sleep() {
    let (woke_receiver, _) = stream(1024, 60_000, 100_000, WaitStrategy::Block, usize::MAX);
    assert!(woke_receiver > 0);
}

#[test]
fn a_stream_of_which_some_is_given_up() {
    stream(32, 20_000, 60_000, WaitStrategy::Block, 3);
}

#[test]
fn a_stream_with_learned_spinning() {
    stream(128, 30_000, 30_000, WaitStrategy::Adaptive, usize::MAX);
}

#[test]
fn a_stream_without_sleep() {
    let woken = stream(128, 5_000, 30_000, WaitStrategy::Spin, usize::MAX);
    assert_eq!(woken, (0, 0));
}

#[test]
fn an_exchange_with_a_sleep_for_every_message() {
    for pair in &segments(128) {
        exchange(pair, 3_000);
    }
}

fn exchange(pair: &Pair, rounds: u64) {
    let ends = |region, side| {
        let sender = End::new(Sender::new(region, side), region, side, WaitStrategy::Block);
        (sender, End::new(Receiver::new(region, side, 1 << 16), region, side, WaitStrategy::Block))
    };
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut sender, mut receiver) = ends(&pair.worker, Side::Worker);
            let mut buffer = Vec::new();
            while let Some(bytes) = receiver.receive(&mut buffer) {
                assert!(sender.send(&buffer, bytes, usize::MAX));
            }
        });
        let (mut sender, mut receiver) = ends(&pair.parent, Side::Parent);
        let mut buffer = Vec::new();
        for seed in 0..rounds {
            let (words, bytes) = numbered(seed, 20_000);
            assert!(sender.send(&words, bytes, usize::MAX));
            assert_eq!(receiver.receive(&mut buffer), Some(bytes));
            assert!(buffer == words, "message {seed}");
        }
        sender.end.close().expect("wake");
    });
}
