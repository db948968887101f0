//! Finds cancels that have arrived and were not received yet.
//!
//! A cancel stands behind its call in the same ring. A thread that is about to run a handler, or
//! runs one, has not received what stands behind the call. So when the peer sends a cancel, the
//! peer counts up a word beside the ring, its *urgent* count. While no cancel arrives, looking for
//! cancels reads only that word, which no thread writes. This end reads a cancel where it lies in
//! the ring: a look takes no message out of its turn, and makes no space.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::MAX_EARLY_CANCELS;
use crate::sync::lock;
use crate::wire::header::CallId;

/// Says how a caller has given up a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// The caller drops the answer. The call is served nevertheless.
    Forgotten,
    /// The caller does not want the call. The call is not served if it has not begun.
    Withdrawn,
}

/// Holds the peer's cancels that were found ahead of their turn.
#[derive(Debug, Default)]
pub(crate) struct Cancels {
    early: Mutex<Early>,
    /// The urgent count of the peer at which no cancel is known or to be found.
    settled: AtomicU32,
}

/// Holds the known cancels, behind the lock.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// The urgent count of the peer when everything that had arrived was looked at.
    looked_at: u32,
    calls: BTreeMap<CallId, EarlyCancel>,
}

#[derive(Debug)]
struct EarlyCancel {
    how: GivenUp,
    /// `true` if an answer was not sent because of the cancel.
    had_effect: bool,
}

impl Early {
    /// Notes a cancel. A cancel beyond the bound is dropped: it is found when it is received.
    pub(crate) fn note(&mut self, id: CallId, how: GivenUp) {
        if self.calls.len() < MAX_EARLY_CANCELS {
            self.calls.entry(id).or_insert(EarlyCancel { how, had_effect: false }).how = how;
        }
    }

    /// Publishes whether a cancel is known. While one is known, each call that is served may be the
    /// cancelled call.
    fn publish(&self, settled: &AtomicU32) {
        let at =
            if self.calls.is_empty() { self.looked_at } else { self.looked_at.wrapping_sub(1) };
        // Release: a thread that finds no cancel sees where the last cancel has gone. Pairs with
        // the Acquire in `are_settled`.
        settled.store(at, Ordering::Release);
    }
}

impl Cancels {
    /// Returns `true` if no cancel is known, and none is to be found at this urgent count.
    #[inline]
    pub(crate) fn are_settled(&self, urgent: u32) -> bool {
        // Acquire: pairs with the Release in `publish`.
        urgent == self.settled.load(Ordering::Acquire)
    }

    /// Returns `true` if everything that had arrived at this urgent count was looked at.
    pub(crate) fn has_looked(&self, urgent: u32) -> bool {
        lock(&self.early).looked_at == urgent
    }

    /// Looks for cancels by `look`, which notes them and returns `true` if it has looked at
    /// everything.
    pub(crate) fn look(&self, urgent: u32, look: impl FnOnce(&mut Early) -> bool) {
        let mut early = lock(&self.early);
        if look(&mut early) {
            early.looked_at = urgent;
        }
        early.publish(&self.settled);
    }

    /// Returns how a call was given up, as far as that is known ahead of its turn.
    pub(crate) fn how(&self, id: CallId) -> Option<GivenUp> {
        lock(&self.early).calls.get(&id).map(|cancel| cancel.how)
    }

    /// Notes that the answer to a call is not sent because of its cancel.
    pub(crate) fn take_effect(&self, id: CallId) {
        if let Some(cancel) = lock(&self.early).calls.get_mut(&id) {
            cancel.had_effect = true;
        }
    }

    /// Forgets a cancel, which was received in its turn. Returns `true` if the cancel had an effect
    /// before.
    pub(crate) fn received(&self, id: CallId) -> bool {
        let mut early = lock(&self.early);
        let Some(cancel) = early.calls.remove(&id) else { return false };
        early.publish(&self.settled);
        cancel.had_effect
    }
}
