//! What programs see: the handles of a pair, of its calls and of its events.
//!
//! The handle of a pair is in `coprocess`, with what begins and ends a pair. The operations of the
//! handle are in files of their own: calls (`call`), events (`emit`), handlers (`register`), with
//! bytes (`bytes`), for tasks (`call_async`, `emit_async`, `serve_async`), and for event loops
//! (`readiness`).

pub(crate) mod bytes;
pub(crate) mod call;
pub(crate) mod call_async;
pub(crate) mod coprocess;
pub(crate) mod emit;
pub(crate) mod emit_async;
pub(crate) mod event;
pub(crate) mod method;
pub(crate) mod pending;
pub(crate) mod readiness;
pub(crate) mod register;
pub(crate) mod reply;
#[cfg(feature = "tokio")]
pub(crate) mod serve_async;
pub(crate) mod topic;
