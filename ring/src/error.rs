//! The errors of this crate.

use std::io;

/// Names the rule of the shared memory that the peer broke.
///
/// After this error the channel is dead: nothing that is read from it afterwards means anything.
///
/// # Examples
///
/// ```
/// let text = coprocess_ring::Misbehaved::Serial.to_string();
/// assert_eq!(text, "a frame carries a serial number of the future");
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
    /// A frame carries a serial number that the sender has not reached yet.
    #[error("a frame carries a serial number of the future")]
    Serial,
    /// A frame that is continued is empty, or does not end on a word.
    #[error("a fragment has a length that no fragment may have")]
    Fragment,
    /// A message in fragments exceeds the agreed maximum.
    #[error("a message in fragments exceeds the agreed maximum")]
    Oversize,
    /// More frames came than a sender can have left behind that has closed or ended.
    #[error("the peer has closed or ended, and its frames keep coming")]
    Afterwards,
    /// Calls keep coming from a peer that does not read their answers.
    #[error("the peer does not read its answers, and its calls keep coming")]
    Unread,
    /// A message of a kind or form that no end of this version sends.
    #[error("a message is not of any known form")]
    Envelope,
}

/// Says why a send or a receive failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The peer broke the protocol.
    #[error(transparent)]
    Misbehaved(#[from] Misbehaved),
    /// The system call that waits or wakes failed.
    #[error("cannot wait for the peer, or wake it: {0}")]
    Wakeup(#[from] io::Error),
}

/// Says why a shared-memory segment could not be made, or must not be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The operating system refused an action.
    #[error("cannot {action}: {source}")]
    Os {
        /// The action that was attempted.
        action: &'static str,
        /// The error that the system reported.
        source: io::Error,
    },
    /// The segment is not of the announced kind and geometry, or not the announced one.
    #[error("not a segment of this protocol: {0}")]
    Foreign(&'static str),
    /// This library was compiled without a feature that was asked for.
    #[error("built without the feature `{0}`")]
    FeatureMissing(&'static str),
    /// The segment was made by another version of the protocol.
    #[error("the segment has version {theirs} of the protocol, this side speaks {ours}")]
    Abi {
        /// The version of this side.
        ours: u32,
        /// The version of the segment.
        theirs: u32,
    },
}

/// Turns an error of the system into one that names the `action`.
#[cfg(not(loom))]
pub(crate) fn os(action: &'static str) -> impl Fn(nix::Error) -> SegmentError {
    move |e| SegmentError::Os { action, source: io::Error::from(e) }
}
