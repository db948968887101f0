//! The calls of the peer that this end serves.

use std::sync::atomic::AtomicU32;

use crate::calls::cancels::Cancels;
use crate::calls::served_later::ServedLater;

#[derive(Debug, Default)]
pub(crate) struct PeerCalls {
    /// Cancels that were seen ahead of their turn.
    pub(crate) cancels: Cancels,
    /// Calls that are answered later.
    pub(crate) served_later: ServedLater,
    /// Calls whose replies are not sent yet. Counted only if there is a limit.
    pub(crate) unanswered: AtomicU32,
}
