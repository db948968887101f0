//! Time: deadlines, and the clock that all processes of a host share.

pub(crate) mod deadline;
#[cfg(not(loom))]
pub(crate) mod host_clock;

mod moment;

#[cfg(all(test, not(loom)))]
pub(crate) use moment::VirtualClock;
pub(crate) use moment::now;
