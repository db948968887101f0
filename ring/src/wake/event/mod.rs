//! Wakes the peer without a futex: an event between the processes, and threads of each side.

pub(crate) mod proxy;
#[cfg_attr(not(loom), expect(unsafe_code, reason = "events in shared memory"))]
pub(crate) mod raw_event;
pub(crate) mod waiters;
