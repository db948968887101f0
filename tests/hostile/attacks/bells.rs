//! Wake-ups: for ever, and never.

use std::sync::atomic::Ordering::Relaxed;

use super::survives;
use crate::kit::memory::{CONTROL, DATA_BELL, ROOM_BELL};
use crate::kit::{Captive, for_ever};

const BELLS: [usize; 4] = [
    CONTROL[0] + DATA_BELL,
    CONTROL[0] + ROOM_BELL,
    CONTROL[1] + DATA_BELL,
    CONTROL[1] + ROOM_BELL,
];

/// Says that it sleeps, and wakes every sleeper, all the time.
pub(crate) fn rings_for_ever() -> ! {
    let memory = Captive::attached().memory;
    for mark in (1..).cycle() {
        for bell in BELLS {
            memory.wake(bell);
            memory.half(bell).store(mark, Relaxed);
        }
    }
    for_ever()
}

/// Takes back what the parent says of its sleep, so that its own threads do not find each other.
pub(crate) fn silences() -> ! {
    let memory = Captive::attached().memory;
    loop {
        for bell in BELLS {
            memory.half(bell).store(0, Relaxed);
        }
    }
}

/// Writes the other's mark.
pub(crate) fn confuses() -> ! {
    let memory = Captive::attached().memory;
    loop {
        for bell in BELLS {
            memory.half(bell).fetch_xor(3, Relaxed);
        }
    }
}

/// Reads nothing, sends nothing, says nothing.
pub(crate) fn sits_still() -> ! {
    let _captive = Captive::attached();
    for_ever()
}

#[test]
fn wake_ups_for_ever() {
    survives!("rings for ever");
}

#[test]
fn wake_ups_taken_back() {
    survives!("silences");
}

#[test]
fn wake_ups_for_another_sleeper() {
    survives!("confuses");
}

#[test]
fn a_worker_that_never_consumes() {
    survives!("sits still");
}
