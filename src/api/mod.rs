//! What programs see: the handles of a pair, of its calls and of its events.
//!
//! The handle of a pair is in `coprocess`. Further operations of the handle are in files of their
//! own: with bytes (`bytes`), for tasks (`call_async`, `emit_async`, `serve_async`), and for event
//! loops (`readiness`).

pub(crate) mod bytes;
pub(crate) mod call_async;
pub(crate) mod coprocess;
pub(crate) mod emit_async;
pub(crate) mod event;
pub(crate) mod method;
pub(crate) mod pending;
pub(crate) mod readiness;
pub(crate) mod reply;
#[cfg(feature = "tokio")]
pub(crate) mod serve_async;
pub(crate) mod topic;
