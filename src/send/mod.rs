//! What goes out, and what is kept until there is space for it.

pub(crate) mod gauges;
pub(crate) mod kept;
pub(crate) mod line;
pub(crate) mod outbox;
pub(crate) mod pending_emits;
pub(crate) mod standstill;
