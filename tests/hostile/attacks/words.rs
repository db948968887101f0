//! Words that no honest side writes: at random everywhere, single bits, positions, serials,
//! lengths; at rest and while the parent works.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use super::survives;
use crate::common::{LIMIT, alone, within};
use crate::kit::memory::{
    CLOSED, CONTROL, DATA_BELL, Memory, REGISTERED, ROOM_BELL, SLOT, UNDECODABLE, UNHEARD, URGENT,
};
use crate::kit::random::{Numbers, rounds, seed};
use crate::kit::wire::{ABORT, JUMP, MORE, Message, SERIAL_SHIFT};
use crate::kit::{Captive, for_ever};
use crate::parent::{Parent, report};

/// Writes what a saboteur writes that sends through ring `own`.
pub(crate) fn sabotage(kind: &str, memory: Memory, own: usize, numbers: &mut Numbers) {
    let control = CONTROL[numbers.below(2)];
    match kind {
        "anywhere" => memory.word(numbers.below(memory.bytes())).store(numbers.word(), Relaxed),
        "controls" => {
            let at = control
                + [0, DATA_BELL, ROOM_BELL, CLOSED, URGENT, REGISTERED, UNHEARD, UNDECODABLE]
                    [numbers.below(8)];
            memory.word(at).store(numbers.word(), Relaxed);
        }
        "frames" => {
            // One that could be: it is near the serials of now.
            let slot = memory.slot(own, numbers.next());
            let serial = (memory.word(slot).load(Relaxed) >> SERIAL_SHIFT)
                .wrapping_add_signed(numbers.below(80) as i64 - 40);
            let marks = [0, 0, MORE, JUMP, ABORT, MORE | ABORT, MORE | JUMP][numbers.below(7)];
            let bytes = [numbers.below(200), numbers.below(0x1_0000)][numbers.below(2)] as u64;
            memory.word(slot).store(bytes | marks | serial << SERIAL_SHIFT, Relaxed);
        }
        "payload" => {
            let slot = memory.slot(own, numbers.next());
            memory.word(slot + 8 + numbers.below(SLOT - 8)).store(numbers.word(), Relaxed);
        }
        "bits" => {
            let places = [
                control,
                control + DATA_BELL,
                control + ROOM_BELL,
                memory.slot(own, numbers.next()),
            ];
            memory.word(places[numbers.below(4)]).fetch_xor(1 << numbers.below(64), Relaxed);
        }
        "head" => {
            let by = numbers.below(3 * memory.slots() as usize) as i64 - memory.slots() as i64;
            let head = memory.word(CONTROL[1 - own]);
            let to = if numbers.below(4) == 0 {
                numbers.word()
            } else {
                head.load(Relaxed).wrapping_add_signed(by)
            };
            head.store(to, Relaxed);
        }
        "old slots" => {
            let (from, to) = (memory.slot(own, numbers.next()), memory.slot(own, numbers.next()));
            for at in (0..SLOT).step_by(8) {
                memory.word(to + at).store(memory.word(from + at).load(Relaxed), Relaxed);
            }
        }
        other => unreachable!("{other}"),
    }
}

/// Answers calls in good order, while another of its threads writes what it likes: all the time, or
/// now and then.
pub(crate) fn saboteur(kind: &'static str, seed: u64) -> ! {
    let mut captive = Captive::attached();
    let mut numbers = Numbers::new(seed);
    let memory = captive.memory;
    let pause = Duration::from_micros([0, 0, 20, 300][numbers.below(4)]);
    thread::spawn(move || {
        captive.be_honest(LIMIT);
        for_ever()
    });
    loop {
        sabotage(kind, memory, 1, &mut numbers);
        if !pause.is_zero() {
            let until = Instant::now() + pause;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
    }
}

/// Runs rounds of one kind of sabotage, with parents of all kinds.
fn rounds_of(kind: &str) {
    for round in 0..rounds() {
        let seed = seed().wrapping_add(round);
        let ring_capacity = [4096, 4096, 256 << 10][round as usize % 3];
        let parent = Parent {
            ring_capacity,
            runs: round % 2 == 1,
            time: Duration::from_millis(60),
            ..Parent::default()
        };
        let seen = parent.meets(&format!("sabotage/{kind}/{seed}"));
        report(&format!("{kind}, seed {seed}"), &seen);
    }
}

macro_rules! sabotages {
    ($($test:ident: $kind:literal;)*) => {
        $(#[test] fn $test() { within(LIMIT, || alone!({ rounds_of($kind); })); })*

        pub(crate) const KINDS: &[&str] = &[$($kind),*];

        /// Returns the kind of sabotage of this name.
        pub(crate) fn kind(name: &str) -> &'static str {
            match name { $($kind => $kind,)* other => unreachable!("{other}") }
        }
    };
}

sabotages! {
    random_words_anywhere: "anywhere";
    random_words_in_the_control_blocks: "controls";
    frames_out_of_nothing: "frames";
    bytes_that_change_while_they_are_read: "payload";
    single_bits_of_headers_and_positions: "bits";
    positions_that_move_back_and_far_ahead: "head";
    old_slots_again: "old slots";
}

/// Writes one wrong word after a bit of honest work. The last part of the role names what is wrong.
pub(crate) fn one_word(what: &str) -> ! {
    let mut captive = Captive::attached();
    captive.be_honest(Duration::from_millis(10));
    let memory = captive.memory;
    // More than the parent can have sent without a look at the position. On a loaded machine it
    // sends little in so short a time, and a position of zero would be a true one.
    while what == "head back" && memory.word(CONTROL[0]).load(Relaxed) <= memory.slots() {
        captive.be_honest(Duration::from_millis(1));
    }
    let writer = &mut captive.writer;
    match what {
        "serial of the future" => writer.serial += 5,
        "serial of the past" => writer.serial -= 1,
        "serial all ones" => writer.serial = u64::MAX >> SERIAL_SHIFT,
        "head back" => memory.word(CONTROL[0]).store(0, Relaxed),
        "head ahead" => drop(memory.word(CONTROL[0]).fetch_add(memory.slots() * 4, Relaxed)),
        "head far ahead" => drop(memory.word(CONTROL[0]).fetch_add(1 << 63, Relaxed)),
        "longest length" => drop(writer.frame(&[0; 15], 0xffff, 0)),
        "empty fragment" => drop(writer.frame(&[], 0, MORE)),
        "odd fragment" => drop(writer.frame(&[1], 3, MORE)),
        "skip with payload" => drop(writer.frame(&[1], 8, MORE | ABORT)),
        "closed" => memory.half(CONTROL[1] + CLOSED).store(1, Relaxed),
        other => unreachable!("{other}"),
    }
    loop {
        captive.writer.message(&Message::event("text", b"\x02hi").encode());
        thread::sleep(Duration::from_millis(1));
    }
}

macro_rules! single_words {
    ($($test:ident: $what:literal => $expected:literal;)*) => {
        $(#[test] fn $test() {
            survives!(concat!("word/", $what), Parent { wants: Some($expected), ..Parent::default() }, |seen| {
                assert!(seen.has($expected), "{seen}");
            });
        })*
    };
}

single_words! {
    a_serial_of_the_future: "serial of the future" => "misbehaved (Serial)";
    a_serial_far_ahead: "serial all ones" => "misbehaved (Serial)";
    // Not told from a slot that was never written: nothing comes, as from a side that is silent.
    a_serial_of_the_past: "serial of the past" => "timeout";
    a_position_that_goes_back: "head back" => "misbehaved (Position)";
    a_position_ahead: "head ahead" => "misbehaved (Position)";
    a_position_half_way_round: "head far ahead" => "misbehaved (Position)";
    a_length_that_no_frame_has: "longest length" => "misbehaved (Length)";
    a_fragment_without_anything: "empty fragment" => "misbehaved (Fragment)";
    a_fragment_that_ends_in_a_word: "odd fragment" => "misbehaved (Fragment)";
    a_skip_that_carries_something: "skip with payload" => "misbehaved (Fragment)";
    a_claim_to_have_closed: "closed" => "disconnected (Closed)";
}
