//! Defines the numbers of pending events. The numbers of calls are in
//! [`header`](crate::wire::header).

/// Names a pending event of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PendingEmitId(pub(crate) u64);
