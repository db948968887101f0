//! Where two types differ, and what each of them is there.

/// Two types that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) sent: String,
    pub(crate) wanted: String,
    pub(crate) place: Place,
}

/// Where two types differ, in four bytes: for a message that has room for no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where in the kinds of what was sent.
    pub(crate) at: u32,
    /// The kind that is wanted there.
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
