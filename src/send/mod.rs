//! What goes out, and what is kept until there is space for it.

pub(crate) mod gauges;
pub(crate) mod outbox;
pub(crate) mod pending_emits;
pub(crate) mod send_queue;
pub(crate) mod standstill;
pub(crate) mod turn_queue;
