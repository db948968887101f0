//! Time: deadlines, and the clock that all processes of a host share.

pub(crate) mod deadline;
pub(crate) mod host_clock;
