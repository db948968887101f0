//! What comes in, and the handlers for it.

pub(crate) mod handlers;
pub(crate) mod inbox;
pub(crate) mod registry;
