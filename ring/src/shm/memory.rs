//! Holds the memory of a pair, whatever it is made of.

use crate::shm::layout::{Control, EventBlock, Slot};
#[cfg(not(loom))]
use crate::shm::mapped::Mapped;

/// The memory of the two rings of a pair.
pub(crate) enum Memory {
    /// Memory that the peer maps, too. `shm::memfd` and `shm::named` make it.
    #[cfg(not(loom))]
    Mapped(Mapped),
    /// Memory of this process, for models and tests.
    #[cfg(any(loom, test))]
    Heap { controls: Box<[Control; 2]>, events: Box<EventBlock>, slots: [Box<[Slot]>; 2] },
}

impl Memory {
    /// Makes two rings of `slots`, and nothing in them.
    #[cfg(any(loom, test))]
    pub(crate) fn heap(slots: usize) -> Memory {
        let ring = || (0..slots).map(|_| Slot::new()).collect();
        let controls = Box::new([Control::new(), Control::new()]);
        Memory::Heap { controls, events: Box::new(EventBlock::new()), slots: [ring(), ring()] }
    }

    #[inline]
    pub(crate) fn control(&self, ring: usize) -> &Control {
        match self {
            #[cfg(not(loom))]
            Memory::Mapped(m) => m.control(ring),
            #[cfg(any(loom, test))]
            Memory::Heap { controls, .. } => &controls[ring],
        }
    }

    #[inline]
    pub(crate) fn slots(&self, ring: usize) -> &[Slot] {
        match self {
            #[cfg(not(loom))]
            Memory::Mapped(m) => m.slots(ring),
            #[cfg(any(loom, test))]
            Memory::Heap { slots, .. } => &slots[ring],
        }
    }

    #[cfg_attr(
        not(any(feature = "raw-sync", all(loom, test))),
        expect(dead_code, reason = "there are no events without the feature")
    )]
    pub(crate) fn events(&self) -> &EventBlock {
        match self {
            #[cfg(not(loom))]
            Memory::Mapped(m) => m.events(),
            #[cfg(any(loom, test))]
            Memory::Heap { events, .. } => events,
        }
    }
}
