//! The memory of a pair, whatever it is made of.

use crate::shm::layout::{Control, EventBlock, Slot};
#[cfg(not(loom))]
use crate::shm::mapped::Mapped;

/// The memory itself.
pub(crate) enum Memory {
    /// Shared with another process; see `segment` for where it comes from.
    #[cfg(not(loom))]
    Mapped(Mapped),
    /// Of this process, for models and tests.
    #[cfg(any(loom, test))]
    Heap { controls: Box<[Control; 2]>, events: Box<EventBlock>, slots: [Box<[Slot]>; 2] },
}

impl Memory {
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

    #[cfg_attr(not(any(feature = "raw-sync", all(loom, test))), expect(dead_code, reason = "there are no events without the feature"))]
    pub(crate) fn events(&self) -> &EventBlock {
        match self {
            #[cfg(not(loom))]
            Memory::Mapped(m) => m.events(),
            #[cfg(any(loom, test))]
            Memory::Heap { events, .. } => events,
        }
    }
}
