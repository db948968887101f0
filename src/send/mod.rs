//! Holds what an end sends, and what waits for space. Nothing here waits for space, ends the pair
//! or wakes a task: each function returns what its caller does next.
//!
//! - [`outbox`]: publishes messages, and decides which thread or message is next.
//! - [`turn_queue`]: keeps waiting threads and queued messages in order.
//! - [`send_queue`]: bounds the queued messages, and counts their memory.
//! - [`pending_emits`]: says what has become of the events of tasks.
//! - [`gauges`]: keeps the latest value of an event.
//! - [`standstill`]: says how long an event waits for a peer without handlers.

pub(crate) mod gauges;
pub(crate) mod outbox;
pub(crate) mod pending_emits;
pub(crate) mod send_queue;
pub(crate) mod standstill;
pub(crate) mod turn_queue;
