//! What can go wrong below the level of messages.

use std::io;

/// The other side broke the protocol of the shared memory.
///
/// Once this was returned the channel is dead: nothing that is read from it afterwards means anything.
///
/// # Examples
///
/// ```
/// assert_eq!(coprocess_ring::Misbehaved::Serial.to_string(), "a frame carries a serial number of the future");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaved {
    /// The consumer's position moved backwards, or past what was published.
    #[error("the consumer's position moved outside what was published")]
    Position,
    /// A frame announces more bytes than a frame may have.
    #[error("a frame announces more bytes than a frame may have")]
    Length,
    /// A frame carries a serial number that was not reached yet.
    #[error("a frame carries a serial number of the future")]
    Serial,
    /// A frame that is continued does not end on a word, or is empty.
    #[error("a fragment has a length that no fragment may have")]
    Fragment,
    /// A message in fragments exceeds the agreed maximum.
    #[error("a message in fragments exceeds the agreed maximum")]
    Oversize,
    /// More frames came than a sender can have left behind that has closed, or has ended.
    #[error("frames keep coming from a side that has closed or ended")]
    Afterwards,
    /// Calls keep coming from a side that does not read their answers.
    #[error("calls keep coming from a side that does not read the answers")]
    Unread,
    /// A message of a kind or form that no end of this version sends.
    #[error("a message is not of any known form")]
    Envelope,
}

/// Why a send or receive at this level failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The other side broke the protocol.
    #[error(transparent)]
    Misbehaved(#[from] Misbehaved),
    /// The system call that waits or wakes failed.
    #[error("cannot wait for the other side, or wake it: {0}")]
    Wakeup(#[from] io::Error),
}

/// A shared-memory segment could not be made, or must not be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The operating system refused.
    #[error("cannot {action}: {source}")]
    Os {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a segment of the announced kind and geometry, or not the one that was announced.
    #[error("not a segment of this protocol: {0}")]
    Foreign(&'static str),
    /// What was asked for was left out when this library was compiled.
    #[error("built without the feature `{0}`")]
    FeatureMissing(&'static str),
    /// The segment was made by another version of the protocol.
    #[error("the segment has version {theirs} of the protocol, this side speaks {ours}")]
    Abi {
        /// This side's version.
        ours: u32,
        /// The segment's version.
        theirs: u32,
    },
}

/// Makes one of what the system says of `action`.
#[cfg(not(loom))]
pub(crate) fn os(action: &'static str) -> impl Fn(nix::Error) -> SegmentError {
    move |e| SegmentError::Os { action, source: io::Error::from(e) }
}
