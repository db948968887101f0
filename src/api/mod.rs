//! What users see.

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
