//! Calls that were given up before their turn came: they are not served, or whoever serves them knows.
//!
//! A cancel comes behind the call that it is for, in the same ring, and a thread that is about to run a handler, or runs one, has not received what is behind.
//! So who sends a cancel says beside the ring that something urgent is in it. As long as nobody does, to look for that is to read one word of memory that nobody
//! writes. What is there is looked at where it is: nothing is taken out of its turn, or makes room for more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::end::End;
use crate::envelope::CallId;
use crate::inbox::Inbox;
use crate::stats::Counters;

/// How a call was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// Its answer is of no interest: what it does may still be.
    Forgotten,
    /// Nothing of it is, if it has not begun.
    Withdrawn,
}

impl End {
    /// Whether cancels may have come that nobody has looked at, or are known that were not received yet.
    #[inline]
    pub(crate) fn is_urged(&self) -> bool {
        // Relaxed: changed under the inbox's lock. At worst it is looked once more, or not yet.
        self.watch.urged() != self.heeded.load(Ordering::Relaxed)
    }

    /// How a call of the other end was given up, as far as that has arrived.
    #[cold]
    pub(crate) fn given_up(&self, id: CallId) -> Option<GivenUp> {
        let mut inbox = self.inbox();
        // Before what it tells of is looked at: what comes meanwhile is the next time's.
        let urged = self.watch.urged();
        if inbox.urged != urged {
            inbox.urged = urged;
            inbox.look_ahead();
        }
        self.settle_urged(&inbox);
        inbox.given_up.get(&id).copied()
    }

    /// A cancel has been received: it is no news any more.
    pub(crate) fn cancel_received(&self, id: CallId) {
        let mut inbox = self.inbox();
        if inbox.given_up.remove(&id).is_some() {
            self.settle_urged(&inbox);
        }
    }

    /// As long as calls are known to be given up, each that is served may be one of them.
    fn settle_urged(&self, inbox: &Inbox) {
        let heeded = if inbox.given_up.is_empty() { inbox.urged } else { inbox.urged.wrapping_sub(1) };
        self.heeded.store(heeded, Ordering::Relaxed);
    }

    /// Whether a call, which is in the hands of this thread, need not be served. If so, it is done with.
    #[cold]
    pub(crate) fn skip_if_withdrawn(self: &Arc<Self>, id: CallId) -> bool {
        let withdrawn = self.given_up(id) == Some(GivenUp::Withdrawn);
        if withdrawn {
            self.skip();
        }
        withdrawn
    }

    /// The call in the hands of this thread is not served: nobody waits for its answer.
    #[cold]
    pub(crate) fn skip(&self) {
        Counters::add(&self.counters.calls_skipped);
        self.arrived();
    }
}
