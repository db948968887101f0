//! The seam behind which lies what puts a side to sleep and wakes it. Nothing above it knows which one it is.
//!
//! A futex does it where the kernel has one. Where there is none, or it is not wanted, an event of the package `raw_sync` knocks at the other
//! process, and `relay` does the rest. What a bell needs is the same from both: a sleeper that looks at its word once more and sleeps only if
//! the mark is still up, with nothing in between; wake-ups that name the marks they mean; deadlines that hold.

use std::io;
#[cfg(not(loom))]
use std::sync::Arc;
use std::time::Instant;

#[cfg(not(loom))]
use crate::error::SegmentError;
use crate::futex;
#[cfg(not(loom))]
use crate::region::{Backing, Side};
use crate::sync::atomic::AtomicU32;

/// How the sides of a pair are woken.
///
/// # Examples
///
/// ```
/// assert_eq!(coprocess_ring::Wakeup::default(), coprocess_ring::Wakeup::Futex);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wakeup {
    /// By the futex system call: the default. Nothing that a side does while it dies keeps the other one.
    Futex,
    /// By events of the package `raw_sync`, which are made of POSIX mutexes and conditions; needs the feature `raw-sync`. For systems that have
    /// no futexes: on Linux the C library makes these of futexes, so that there is no reason to choose them but to try them.
    ///
    /// **The other side is trusted** with this process's memory: the C library believes what it finds in a mutex. Both programs need the same C library. Slower, two
    /// threads more for each side, and one wake-up a second while it sleeps. A side that ends inside an event costs the other one those two threads, a descriptor and the memory of
    /// the pair: until the last handle goes, with some C libraries until the process ends.
    Event,
}

impl Default for Wakeup {
    fn default() -> Wakeup {
        // The tests are built with another default, too, so that all of them run over both.
        if cfg!(coprocess_second_backend) { Wakeup::Event } else { Wakeup::Futex }
    }
}

#[cfg(not(loom))]
impl Wakeup {
    /// As it is written in the header of a segment: the number, above it what the C library calls an event, where that matters.
    pub(crate) fn word(self) -> u64 {
        match self {
            Wakeup::Futex => 0,
            #[cfg(feature = "raw-sync")]
            Wakeup::Event => crate::event::kind() << 8 | u64::from(self.number()),
            #[cfg(not(feature = "raw-sync"))]
            Wakeup::Event => self.number().into(),
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Wakeup::Futex => 0,
            Wakeup::Event => 1,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Wakeup> {
        match number {
            0 => Some(Wakeup::Futex),
            1 => Some(Wakeup::Event),
            _ => None,
        }
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Woken, or the word was different to begin with, or for no reason at all: look again.
    Look,
    /// The deadline passed.
    #[cfg_attr(all(loom, not(test)), expect(dead_code, reason = "there is no time under the model checker"))]
    TimedOut,
}

/// Which of the four bells of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u8);

impl Place {
    pub(crate) fn data(ring: usize) -> Place {
        Place(if ring == 0 { 0 } else { 2 })
    }
    pub(crate) fn room(ring: usize) -> Place {
        Place(if ring == 0 { 1 } else { 3 })
    }
    #[cfg_attr(not(any(feature = "raw-sync", all(loom, test))), expect(dead_code, reason = "a futex is known by its address"))]
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }
}

/// What does it, for one side of one pair.
#[derive(Debug, Clone)]
pub(crate) enum Doorbell {
    Futex,
    #[cfg(any(feature = "raw-sync", all(loom, test)))]
    Event(crate::relay::Relay),
}

impl Doorbell {
    #[cfg(not(loom))]
    #[cfg_attr(not(feature = "raw-sync"), expect(unused_variables, reason = "a futex needs nothing but its word"))]
    pub(crate) fn new(wakeup: Wakeup, backing: &Arc<Backing>, side: Side) -> Result<Doorbell, SegmentError> {
        match wakeup {
            Wakeup::Futex => Ok(Doorbell::Futex),
            #[cfg(feature = "raw-sync")]
            Wakeup::Event => Ok(Doorbell::Event(crate::relay::Relay::start(backing.clone(), side)?)),
            #[cfg(not(feature = "raw-sync"))]
            Wakeup::Event => Err(SegmentError::FeatureMissing("raw-sync")),
        }
    }

    /// Sleeps while `word` is `mark`, until a wake-up that means this mark, at most until `deadline`.
    #[cfg_attr(not(any(feature = "raw-sync", all(loom, test))), expect(unused_variables, reason = "a futex is known by its address"))]
    pub(crate) fn wait(&self, place: Place, word: &AtomicU32, mark: u32, deadline: Option<Instant>) -> io::Result<Ended> {
        match self {
            Doorbell::Futex => futex::wait(word, mark, mark, deadline),
            #[cfg(any(feature = "raw-sync", all(loom, test)))]
            Doorbell::Event(relay) => Ok(relay.wait(place, word, mark, deadline)),
        }
    }

    /// Wakes the sleepers of the other side with one of `marks`, which were taken off the word.
    #[cfg_attr(not(any(feature = "raw-sync", all(loom, test))), expect(unused_variables, reason = "a futex is known by its address"))]
    pub(crate) fn wake_other(&self, place: Place, word: &AtomicU32, marks: u32) -> io::Result<()> {
        match self {
            Doorbell::Futex => futex::wake(word, marks).map(drop),
            #[cfg(any(feature = "raw-sync", all(loom, test)))]
            Doorbell::Event(relay) => {
                relay.wake_other(place, marks);
                Ok(())
            }
        }
    }

    /// Wakes the sleepers of this side with `mark`. Returns how many there were.
    #[cfg_attr(not(any(feature = "raw-sync", all(loom, test))), expect(unused_variables, reason = "a futex is known by its address"))]
    pub(crate) fn wake_own(&self, place: Place, word: &AtomicU32, mark: u32) -> io::Result<usize> {
        match self {
            Doorbell::Futex => futex::wake(word, mark),
            #[cfg(any(feature = "raw-sync", all(loom, test)))]
            Doorbell::Event(relay) => Ok(relay.wake_own(place, mark)),
        }
    }
}
