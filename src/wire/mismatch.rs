//! Describes how two types differ.

/// Describes two types that differ, as text, and the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) sent: String,
    pub(crate) wanted: String,
    pub(crate) place: Place,
}

/// Locates a difference of two types, in four bytes: a refusal has no space for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Locates the difference in the kinds that were sent.
    pub(crate) at: u32,
    /// Tells the kind that is wanted at that offset.
    pub(crate) kind: u8,
}

impl Place {
    pub(crate) fn to_bits(self) -> u32 {
        self.at & 0xff_ffff | u32::from(self.kind) << 24
    }

    pub(crate) fn from_bits(bits: u32) -> Place {
        Place { at: bits & 0xff_ffff, kind: (bits >> 24) as u8 }
    }
}
