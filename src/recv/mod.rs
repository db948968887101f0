//! Takes in messages: the inbox, the backlog, and the handlers.

pub(crate) mod handlers;
pub(crate) mod inbox;
pub(crate) mod registry;
