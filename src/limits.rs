//! Lists every bound, with its unit and its reason.

use std::time::Duration;

/// Bounds the bytes of memory for answers that are kept until the peer has space for them. Above
/// the bound, this end takes no more calls from the peer.
pub(crate) const HIGH_WATERMARK_BYTES: usize = BACKLOG_BYTES;

/// Bounds the bytes of answers above which this end no longer waits for the peer to read them.
/// Beyond the bound the pair ends, by [`Misbehaved::Unread`](coprocess_ring::Misbehaved::Unread).
///
/// The bound is looked at after an answer is queued. So one answer more may be kept.
///
/// Between the two bounds this end takes calls only to make space in a full backlog: two ends that
/// flood each other must not stop each other.
pub(crate) const UNREAD_BYTES: usize = 2 * HIGH_WATERMARK_BYTES;

/// Bounds how long an event waits for a peer that has registered no handler and takes nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Bounds how deeply handlers nest. Beyond the bound, an incoming call gets an error, and events
/// wait.
pub(crate) const MAX_DEPTH: u32 = 64;

/// Bounds the bytes of messages that may wait in the process for a thread to dispatch them.
pub(crate) const BACKLOG_BYTES: usize = 64 << 20;

/// Bounds the calls that may be known to be given up before their cancels are received. Further
/// cancels are found when they are received.
pub(crate) const MAX_EARLY_CANCELS: usize = 1 << 16;

/// Bounds the bytes of kinds. A value with more kinds is described up to the bound.
pub(crate) const MAX_KINDS: usize = 16 * 1024;

/// Bounds the length of the name of a method or event, in bytes.
pub(crate) const MAX_NAME: usize = 0xff_ffff;

/// Bounds the bytes by which the description of types makes a message longer.
pub(crate) const TYPES_SPACE: usize = MAX_KINDS + 2 * MAX_INTRODUCED_NAME;

/// Bounds the length of a name that gets a number, in bytes. A longer name stands in each message.
pub(crate) const MAX_INTRODUCED_NAME: usize = 1024;

/// Bounds the bytes of queued messages of tasks. Above the bound, the queue is searched for
/// messages that their tasks have given up.
pub(crate) const CLEAR_QUEUE_BYTES: usize = 1 << 20;
