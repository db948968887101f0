//! Names the four doorbells of a segment.

/// Says which of the four doorbells of a segment is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DoorbellId(u8);

impl DoorbellId {
    pub(crate) fn data(ring: usize) -> DoorbellId {
        DoorbellId(if ring == 0 { 0 } else { 2 })
    }
    pub(crate) fn space(ring: usize) -> DoorbellId {
        DoorbellId(if ring == 0 { 1 } else { 3 })
    }
    #[cfg_attr(
        not(any(feature = "raw-sync", all(loom, test))),
        expect(dead_code, reason = "a futex is known by its address")
    )]
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }
}
