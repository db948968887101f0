//! The memory of a pair, and the bells in it, whatever the memory is made of.

use std::fmt;
#[cfg(not(loom))]
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::bell::Bell;
#[cfg(not(loom))]
use crate::error::SegmentError;
use crate::layout::{Control, EventBlock, Slot};
#[cfg(not(loom))]
use crate::mapped::Mapped;
#[cfg(not(loom))]
use crate::wakeup::Wakeup;
use crate::wakeup::{Doorbell, Place};

/// Which side of the pair a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Writes ring 0, reads ring 1.
    Parent,
    /// Writes ring 1, reads ring 0.
    Worker,
}

impl Side {
    pub(crate) fn outgoing(self) -> usize {
        match self {
            Side::Parent => 0,
            Side::Worker => 1,
        }
    }
    pub(crate) fn incoming(self) -> usize {
        match self {
            Side::Parent => 1,
            Side::Worker => 0,
        }
    }
}

/// The memory itself.
pub(crate) enum Backing {
    /// Shared with another process; see `segment` for where it comes from.
    #[cfg(not(loom))]
    Mapped(Mapped),
    /// Of this process, for models and tests.
    #[cfg(any(loom, test))]
    Heap { controls: Box<[Control; 2]>, events: Box<EventBlock>, slots: [Box<[Slot]>; 2] },
}

impl Backing {
    #[inline]
    fn control(&self, ring: usize) -> &Control {
        match self {
            #[cfg(not(loom))]
            Backing::Mapped(m) => m.control(ring),
            #[cfg(any(loom, test))]
            Backing::Heap { controls, .. } => &controls[ring],
        }
    }

    #[inline]
    fn slots(&self, ring: usize) -> &[Slot] {
        match self {
            #[cfg(not(loom))]
            Backing::Mapped(m) => m.slots(ring),
            #[cfg(any(loom, test))]
            Backing::Heap { slots, .. } => &slots[ring],
        }
    }

    #[cfg_attr(not(any(feature = "raw-sync", all(loom, test))), expect(dead_code, reason = "there are no events without the feature"))]
    pub(crate) fn events(&self) -> &EventBlock {
        match self {
            #[cfg(not(loom))]
            Backing::Mapped(m) => m.events(),
            #[cfg(any(loom, test))]
            Backing::Heap { events, .. } => events,
        }
    }
}

/// The two rings of a pair. Cheap to clone; the memory lives as long as the last clone.
#[derive(Clone)]
pub struct Region {
    backing: Arc<Backing>,
    doorbell: Doorbell,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("capacity", &size_of_val(self.slots(0))).field("doorbell", &self.doorbell).finish()
    }
}

impl Region {
    /// Over memory that this side, the parent, has made.
    #[cfg(not(loom))]
    pub(crate) fn made(mapped: Mapped, wakeup: Wakeup, nonce: u64) -> Result<Region, SegmentError> {
        let backing = Arc::new(Backing::Mapped(mapped));
        let region = Region { doorbell: Doorbell::new(wakeup, &backing, Side::Parent)?, backing };
        // Last: with it the segment is complete.
        match &*region.backing {
            Backing::Mapped(mapped) => mapped.publish(nonce, wakeup),
            #[cfg(test)]
            Backing::Heap { .. } => {}
        }
        Ok(region)
    }

    /// Over memory that the parent has made.
    #[cfg(not(loom))]
    pub(crate) fn found(mapped: Mapped, wakeup: Wakeup, nonce: u64) -> Result<Region, SegmentError> {
        mapped.check(nonce, wakeup)?;
        let backing = Arc::new(Backing::Mapped(mapped));
        Ok(Region { doorbell: Doorbell::new(wakeup, &backing, Side::Worker)?, backing })
    }

    /// Says by what the end of the other side is known: a descriptor of its process that is readable then, if there is one, and a socket whose other end it
    /// holds. They are copied where they are needed: a futex wakes nobody, and hangs on nobody, who is not there.
    ///
    /// # Errors
    ///
    /// What the system says of the copy.
    #[cfg(not(loom))]
    #[cfg_attr(not(feature = "raw-sync"), expect(unused_variables, reason = "no event is there that could hang"))]
    pub fn mind(&self, process: Option<BorrowedFd<'_>>, lifeline: BorrowedFd<'_>) -> std::io::Result<()> {
        match &self.doorbell {
            Doorbell::Futex => {}
            #[cfg(feature = "raw-sync")]
            Doorbell::Event(relay) => relay.mind(crate::relay::Other {
                process: process.map(|fd| fd.try_clone_to_owned()).transpose()?,
                lifeline: lifeline.try_clone_to_owned()?,
            }),
        }
        Ok(())
    }

    /// The same over ordinary memory, for models and tests.
    #[cfg(any(loom, test))]
    pub fn heap(slots: usize) -> Region {
        let ring = || (0..slots).map(|_| Slot::new()).collect();
        let controls = Box::new([Control::new(), Control::new()]);
        let backing = Backing::Heap { controls, events: Box::new(EventBlock::new()), slots: [ring(), ring()] };
        Region { backing: Arc::new(backing), doorbell: Doorbell::Futex }
    }

    /// Says that nothing will be waited for any more, nor sent, but for what this process tells itself.
    #[cfg(not(loom))]
    pub(crate) fn retire(&self) {
        match &self.doorbell {
            Doorbell::Futex => {}
            #[cfg(feature = "raw-sync")]
            Doorbell::Event(relay) => relay.stop(),
        }
    }

    #[cfg(all(test, any(loom, feature = "raw-sync")))]
    pub(crate) fn backing(&self) -> Arc<Backing> {
        self.backing.clone()
    }

    /// The same memory, with other bells.
    #[cfg(all(loom, test))]
    pub(crate) fn with_events(&self, relay: crate::relay::Relay) -> Region {
        Region { backing: self.backing.clone(), doorbell: Doorbell::Event(relay) }
    }

    /// Bytes of each ring.
    #[cfg(not(loom))]
    pub fn capacity(&self) -> usize {
        size_of_val(self.slots(0))
    }

    #[inline]
    pub(crate) fn control(&self, ring: usize) -> &Control {
        self.backing.control(ring)
    }

    #[inline]
    pub(crate) fn slots(&self, ring: usize) -> &[Slot] {
        self.backing.slots(ring)
    }

    #[inline]
    pub(crate) fn data_bell(&self, ring: usize) -> Bell<'_> {
        Bell::new(&self.control(ring).data_bell.word, &self.doorbell, Place::data(ring))
    }

    #[inline]
    pub(crate) fn room_bell(&self, ring: usize) -> Bell<'_> {
        Bell::new(&self.control(ring).room_bell.word, &self.doorbell, Place::room(ring))
    }
}
