//! Numbers of what a caller or emitter has under way. Those of calls are in [`header`](crate::wire::header).

/// Names an event of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PendingEmitId(pub(crate) u64);
