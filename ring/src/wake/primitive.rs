//! Wake-up primitive: a futex or an event. No code above this file knows which.
//!
//! Where the kernel has a futex, the futex does it all. Where the kernel has none, or the program
//! does not want it, an event of the package `raw_sync` reaches the peer's process. `event::proxy`
//! does the rest.
//!
//! A doorbell needs three things, and both primitives provide them:
//!
//! - A sleeper looks at its word once more and sleeps only if the mark is still there, with nothing
//!   in between.
//! - A wake-up names the marks that it means.
//! - Deadlines hold.

use std::io;
#[cfg(not(loom))]
use std::os::fd::BorrowedFd;
#[cfg(not(loom))]
use std::sync::Arc;
use std::time::Instant;

#[cfg(not(loom))]
use crate::error::SegmentError;
#[cfg(not(loom))]
use crate::shm::memory::Memory;
#[cfg(not(loom))]
use crate::side::Side;
use crate::sync::atomic::AtomicU32;
use crate::wake::doorbell_id::DoorbellId;
#[cfg(all(feature = "raw-sync", not(loom)))]
use crate::wake::event::proxy::PeerLiveness;
#[cfg(any(feature = "raw-sync", all(loom, test)))]
use crate::wake::event::proxy::Proxy;
use crate::wake::futex;
use crate::wake::wait_end::WaitEnd;
#[cfg(not(loom))]
use crate::wake::wakeup::Wakeup;

/// The primitive of one side of one pair.
#[derive(Debug, Clone)]
pub(crate) enum Primitive {
    Futex,
    #[cfg(any(feature = "raw-sync", all(loom, test)))]
    Event(Proxy),
}

impl Primitive {
    #[cfg(not(loom))]
    #[cfg_attr(
        not(feature = "raw-sync"),
        expect(unused_variables, reason = "a futex needs nothing but its word")
    )]
    pub(crate) fn new(
        wakeup: Wakeup,
        memory: &Arc<Memory>,
        side: Side,
    ) -> Result<Primitive, SegmentError> {
        match wakeup {
            Wakeup::Futex => Ok(Primitive::Futex),
            #[cfg(feature = "raw-sync")]
            Wakeup::Event => Ok(Primitive::Event(Proxy::start(memory.clone(), side)?)),
            #[cfg(not(feature = "raw-sync"))]
            Wakeup::Event => Err(SegmentError::FeatureMissing("raw-sync")),
        }
    }

    /// Keeps what shows that the peer has ended, as far as this primitive needs it.
    ///
    /// A futex needs nothing of it. An event keeps copies of the descriptors.
    #[cfg(not(loom))]
    #[cfg_attr(
        not(feature = "raw-sync"),
        expect(unused_variables, reason = "no event is there that could hang")
    )]
    pub(crate) fn set_peer_liveness(
        &self,
        process: Option<BorrowedFd<'_>>,
        lifeline: BorrowedFd<'_>,
    ) -> io::Result<()> {
        match self {
            Primitive::Futex => {}
            #[cfg(feature = "raw-sync")]
            Primitive::Event(proxy) => proxy.set_peer_liveness(PeerLiveness {
                process: process.map(|fd| fd.try_clone_to_owned()).transpose()?,
                lifeline: lifeline.try_clone_to_owned()?,
            }),
        }
        Ok(())
    }

    /// Stops what it takes to be woken by the peer.
    #[cfg(not(loom))]
    pub(crate) fn retire(&self) {
        match self {
            Primitive::Futex => {}
            #[cfg(feature = "raw-sync")]
            Primitive::Event(proxy) => proxy.stop(),
        }
    }

    /// Sleeps while `word` is `mark`, until a wake-up that means this mark, at most until
    /// `deadline`.
    #[cfg_attr(
        not(any(feature = "raw-sync", all(loom, test))),
        expect(unused_variables, reason = "a futex is known by its address")
    )]
    pub(crate) fn wait(
        &self,
        id: DoorbellId,
        word: &AtomicU32,
        mark: u32,
        deadline: Option<Instant>,
    ) -> io::Result<WaitEnd> {
        match self {
            Primitive::Futex => futex::wait(word, mark, mark, deadline),
            #[cfg(any(feature = "raw-sync", all(loom, test)))]
            Primitive::Event(proxy) => Ok(proxy.wait(id, word, mark, deadline)),
        }
    }

    /// Wakes the peer's sleepers with one of `marks`, which the caller has taken off the word.
    #[cfg_attr(
        not(any(feature = "raw-sync", all(loom, test))),
        expect(unused_variables, reason = "a futex is known by its address")
    )]
    pub(crate) fn wake_peer(&self, id: DoorbellId, word: &AtomicU32, marks: u32) -> io::Result<()> {
        match self {
            Primitive::Futex => futex::wake(word, marks).map(drop),
            #[cfg(any(feature = "raw-sync", all(loom, test)))]
            Primitive::Event(proxy) => {
                proxy.wake_peer(id, marks);
                Ok(())
            }
        }
    }

    /// Wakes the sleepers of this side with `mark`. Returns how many there were.
    #[cfg_attr(
        not(any(feature = "raw-sync", all(loom, test))),
        expect(unused_variables, reason = "a futex is known by its address")
    )]
    pub(crate) fn wake_local(
        &self,
        id: DoorbellId,
        word: &AtomicU32,
        mark: u32,
    ) -> io::Result<usize> {
        match self {
            Primitive::Futex => futex::wake(word, mark),
            #[cfg(any(feature = "raw-sync", all(loom, test)))]
            Primitive::Event(proxy) => Ok(proxy.wake_local(id, mark)),
        }
    }
}
