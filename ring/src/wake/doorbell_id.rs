//! The four doorbells of a segment.

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
