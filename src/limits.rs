//! Every bound, with its unit and its reason.

use std::time::Duration;

/// Bytes of memory for answers that may be kept until the other end has room for them, before no more calls are taken from it.
pub(crate) const HIGH_WATERMARK_BYTES: usize = BACKLOG_BYTES;

/// Bytes of answers beyond which the other end is not waited for any more. Between the two bounds calls are taken only to make room in a full
/// backlog: two ends that flood each other must not stop both.
pub(crate) const UNREAD_BYTES: usize = 2 * HIGH_WATERMARK_BYTES;

/// How long an event waits for an end that has registered no handler, and takes nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How deeply handlers nest: beyond it an incoming call gets an error, and events wait.
pub(crate) const MAX_DEPTH: u32 = 64;

/// Bytes of messages that may wait in the process for a thread to dispatch them.
pub(crate) const BACKLOG_BYTES: usize = 64 << 20;

/// Calls that may be known to be given up before their cancels are received. Cancels beyond are found
/// when they are received.
pub(crate) const MAX_EARLY_CANCELS: usize = 1 << 16;

/// The most bytes of kinds. Values that would have more are described as far as they have fewer.
pub(crate) const MAX_KINDS: usize = 16 * 1024;

/// The longest name of a method or event, in bytes.
pub(crate) const MAX_NAME: usize = 0xff_ffff;

/// The most bytes by which what is said of types makes a message longer.
pub(crate) const TYPES_ROOM: usize = MAX_KINDS + 2 * MAX_INTRODUCED_NAME;

/// The longest name that has a number, in bytes. A longer one stands in each message.
pub(crate) const MAX_INTRODUCED_NAME: usize = 1024;

/// Bytes of messages of tasks that are queued for sending, before the queue is searched for those that
/// their tasks have given up.
pub(crate) const CLEAR_QUEUE_BYTES: usize = 1 << 20;
