//! Looks at urgent messages ahead of their turn: cancels, and refusals of types.
//!
//! Any thread may look. A look takes no message away: the leader receives each message in its turn.
//! So a cancel or refusal that a look has noted must change nothing when it is received again. The
//! inbox is locked before the cancels.

use crate::calls::cancels::GivenUp;
use crate::end::End;
use crate::stats::Counters;
use crate::wire::header::{CallId, Header};

impl End {
    /// Returns `true` if there may be a cancel that no thread has looked at, or if a cancel is
    /// known and was not received yet.
    #[inline]
    pub(crate) fn is_urged(&self) -> bool {
        !self.peer_calls.cancels.are_settled(self.watch.urged())
    }

    /// Returns how a call of the peer was given up, if its cancel has arrived and was not received.
    #[cold]
    pub(crate) fn given_up(&self, id: CallId) -> Option<GivenUp> {
        self.look_ahead();
        self.peer_calls.cancels.how(id)
    }

    /// Looks at the urgent messages that have arrived: cancels, and refusals of types.
    #[cold]
    pub(crate) fn look_ahead(&self) {
        // The count is read before the messages that it counts: a message that comes meanwhile is
        // looked at the next time.
        let urgent = self.watch.urged();
        if self.peer_calls.cancels.has_looked(urgent) {
            return;
        }
        // The inbox is locked before the cancels, here and everywhere.
        let mut inbox = self.inbox();
        self.peer_calls.cancels.look(urgent, |early| {
            inbox.look_ahead(|header| match header {
                Header::Cancel(id) => early.note(id, GivenUp::Forgotten),
                Header::Withdraw(id) => early.note(id, GivenUp::Withdrawn),
                // If the number was never introduced, the peer is found out when the message is
                // received.
                Header::Refuse(refused, turn, place) => {
                    let _ = self.types.sent.refuse(refused, turn, Some(place));
                }
                Header::Welcome(refused, turn) => {
                    let _ = self.types.sent.refuse(refused, turn, None);
                }
                _ => {}
            })
        });
    }

    /// Skips a call that this thread has taken, if its caller has withdrawn it. Returns `true` if
    /// the call was skipped.
    #[cold]
    pub(crate) fn skip_if_withdrawn(&self, id: CallId) -> bool {
        let withdrawn = self.given_up(id) == Some(GivenUp::Withdrawn);
        if withdrawn {
            self.skip();
        }
        withdrawn
    }

    /// Counts a call that is skipped, since its caller has given it up.
    #[cold]
    pub(crate) fn skip(&self) {
        Counters::add(&self.counters.calls_skipped);
    }
}
