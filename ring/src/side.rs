//! Names the two sides of a pair, and the rings each of them writes and reads.

/// Says which side of a pair a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The side that writes ring 0 and reads ring 1.
    Parent,
    /// The side that writes ring 1 and reads ring 0.
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
