//! How far a message has got.

/// How far a message has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All of it is published.
    Sent,
    /// There is no space for the next frame. The ticket can be waited for.
    NoSpace(Space),
}

/// The space that a sender waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub(super) from: u64,
}
