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
#[cfg(not(loom))]
use crate::shm::memory::Backing;
#[cfg(not(loom))]
use crate::side::Side;
use crate::sync::atomic::AtomicU32;
use crate::wake::doorbell_id::Place;
#[cfg(any(feature = "raw-sync", all(loom, test)))]
use crate::wake::event::proxy::Relay;
use crate::wake::futex;
use crate::wake::wait_end::Ended;
#[cfg(not(loom))]
use crate::wake::wakeup::Wakeup;

/// What does it, for one side of one pair.
#[derive(Debug, Clone)]
pub(crate) enum Doorbell {
    Futex,
    #[cfg(any(feature = "raw-sync", all(loom, test)))]
    Event(Relay),
}

impl Doorbell {
    #[cfg(not(loom))]
    #[cfg_attr(not(feature = "raw-sync"), expect(unused_variables, reason = "a futex needs nothing but its word"))]
    pub(crate) fn new(wakeup: Wakeup, backing: &Arc<Backing>, side: Side) -> Result<Doorbell, SegmentError> {
        match wakeup {
            Wakeup::Futex => Ok(Doorbell::Futex),
            #[cfg(feature = "raw-sync")]
            Wakeup::Event => Ok(Doorbell::Event(Relay::start(backing.clone(), side)?)),
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
