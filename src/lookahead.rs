//! Calls that were given up before their turn came: they are not served, or whoever serves them knows.
//!
//! A cancel comes behind the call that it is for, in the same ring, and a thread that is about to run a handler, or runs one, has not received what is behind.
//! So who sends a cancel says beside the ring that something urgent is in it. As long as nobody does, to look for that is to read one word of memory that nobody writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::deferred::GivenUp;
use crate::end::End;
use crate::envelope::CallId;
use crate::error::Step;
use crate::stats::Counters;

/// What is known about a call that is about to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// That it was not given up.
    Yes,
    /// Its answer is not wanted.
    NotItsAnswer,
    /// It need not be served.
    NotAtAll,
}

impl End {
    /// Whether cancels may have come that nobody has looked at, or calls may wait that were given up.
    #[inline]
    pub(crate) fn is_urged(&self) -> bool {
        // Relaxed: changed under the inbox's lock. At worst it is looked once more, or not yet.
        self.watch.urged() != self.heeded.load(Ordering::Relaxed)
    }

    /// Takes the cancels that have come, whatever is in front of them: that waits in the backlog. Returns what they say about `current`, the call in the hands of this
    /// thread. It must have the lead: while another one is about to serve a call, nobody else may take the cancel of that.
    ///
    /// # Errors
    ///
    /// The other end has misbehaved: the pair is over.
    #[cold]
    pub(crate) fn heed(self: &Arc<Self>, current: Option<CallId>) -> Step<Wanted> {
        let (cancels, mut wanted) = {
            let mut inbox = self.inbox();
            let mut wanted = Wanted::Yes;
            if current.is_some() && inbox.unwanted.take() == current {
                wanted = Wanted::NotItsAnswer;
            }
            // Before what it tells of is taken: what comes meanwhile is looked at the next time.
            let urged = self.watch.urged();
            let cancels = inbox.take_cancels();
            // As long as calls wait that were given up, each that is dispatched may be one of them.
            let heeded = if inbox.has_unwanted() { urged.wrapping_sub(1) } else { urged };
            self.heeded.store(heeded, Ordering::Relaxed);
            (cancels.map_err(|error| self.channel_failed(error))?, wanted)
        };
        for (id, how) in cancels {
            match how {
                GivenUp::Withdrawn if Some(id) == current => {
                    Counters::add(&self.deferred.counters.received);
                    wanted = Wanted::NotAtAll;
                }
                _ => {
                    self.cancelled(id);
                    if Some(id) == current {
                        wanted = Wanted::NotItsAnswer;
                    }
                }
            }
        }
        if let Some(id) = current {
            self.deferred.expect_unwanted((wanted == Wanted::NotItsAnswer).then_some(id));
        }
        Ok(wanted)
    }

    /// The call in the hands of this thread is not served: nobody waits for its answer.
    #[cold]
    pub(crate) fn skip(&self) {
        Counters::add(&self.counters.calls_skipped);
        self.arrived();
    }
}
