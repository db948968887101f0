//! Says how far a message has got, and what its sender waits for.

/// How far a message has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All of the message is published.
    Sent,
    /// There is no space for the next frame. The value can be waited for.
    NoSpace(Space),
}

/// The space that a sender waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub(super) from: u64,
}
