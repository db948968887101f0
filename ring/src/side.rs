//! The two sides of a pair.

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
