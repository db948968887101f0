//! Calls that were given up before their turn came: they are not served, or whoever serves them knows.
//!
//! A cancel comes behind the call that it is for, in the same ring, and a thread that is about to run a handler, or runs one, has not received what is behind.
//! So who sends a cancel says beside the ring that something urgent is in it. As long as nobody does, to look for that is to read one word of memory that nobody
//! writes. What is there is looked at where it is: nothing is taken out of its turn, or makes room for more.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::end::End;
use crate::envelope::{CallId, Head};
use crate::stats::Counters;
use crate::sync::lock;

/// How a call was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// Its answer is of no interest: what it does may still be.
    Forgotten,
    /// Nothing of it is, if it has not begun.
    Withdrawn,
}

/// What is known of cancels that were not received yet.
#[derive(Debug, Default)]
pub(crate) struct News {
    cancels: Mutex<Cancels>,
    /// What the other end says to be urgent if there is no news.
    heeded: AtomicU32,
}

#[derive(Debug, Default)]
struct Cancels {
    /// What the other end had said to be urgent when all that was there had been looked at.
    urged: u32,
    calls: BTreeMap<CallId, Known>,
}

/// A cancel that was not received yet.
#[derive(Debug)]
struct Known {
    how: GivenUp,
    /// Whether an answer was not sent because of it.
    had_effect: bool,
}

/// Calls that may be known to be given up before their cancels are received. Those beyond are found when they are.
const MOST: usize = 1 << 16;

impl Cancels {
    fn how(&self, id: CallId) -> Option<GivenUp> {
        self.calls.get(&id).map(|known| known.how)
    }
}

impl News {
    /// As long as calls are known to be given up, each that is served may be one of them.
    fn settle(&self, cancels: &Cancels) {
        let heeded = if cancels.calls.is_empty() { cancels.urged } else { cancels.urged.wrapping_sub(1) };
        // Release: who finds no news sees where the last of it has gone. Pairs with the Acquire in `is_urged`.
        self.heeded.store(heeded, Ordering::Release);
    }
}

impl End {
    /// Whether cancels may have come that nobody has looked at, or are known that were not received yet.
    #[inline]
    pub(crate) fn is_urged(&self) -> bool {
        // Acquire: pairs with the Release in `settle`.
        self.watch.urged() != self.news.heeded.load(Ordering::Acquire)
    }

    /// How a call of the other end was given up, as far as that has arrived and was not received.
    #[cold]
    pub(crate) fn given_up(&self, id: CallId) -> Option<GivenUp> {
        self.look_ahead();
        lock(&self.news.cancels).how(id)
    }

    /// Looks at what is urgent and has arrived: cancels, and refusals of types.
    #[cold]
    pub(crate) fn look_ahead(&self) {
        // Before what it tells of is looked at: what comes meanwhile is the next time's.
        let urged = self.watch.urged();
        if lock(&self.news.cancels).urged == urged {
            return;
        }
        // In this order.
        let mut inbox = self.inbox();
        let mut cancels = lock(&self.news.cancels);
        let mut give_up = |id, how| {
            if cancels.calls.len() < MOST {
                cancels.calls.entry(id).or_insert(Known { how, had_effect: false }).how = how;
            }
        };
        let all = inbox.look_ahead(|head| match head {
            Head::Cancel(id) => give_up(id, GivenUp::Forgotten),
            Head::Withdraw(id) => give_up(id, GivenUp::Withdrawn),
            // Of a number that was never introduced: found when it is received.
            Head::Refuse(refused, turn, place) => drop(self.pairs.refuse(refused, turn, Some(place))),
            Head::Welcome(refused, turn) => drop(self.pairs.refuse(refused, turn, None)),
            _ => {}
        });
        if all {
            cancels.urged = urged;
        }
        self.news.settle(&cancels);
    }

    /// A call that is [given up](Self::given_up) is not answered because of that. Before it is closed: a cancel that is received meanwhile has had its effect, too.
    #[cold]
    pub(crate) fn heed(&self, id: CallId) {
        if let Some(known) = lock(&self.news.cancels).calls.get_mut(&id) {
            known.had_effect = true;
        }
    }

    /// A cancel has been received: it is no news any more. Returns whether it has had its effect before.
    pub(crate) fn cancel_received(&self, id: CallId) -> bool {
        let mut cancels = lock(&self.news.cancels);
        let Some(known) = cancels.calls.remove(&id) else { return false };
        self.news.settle(&cancels);
        known.had_effect
    }

    /// Whether a call, which is in the hands of this thread, need not be served. If so, it is done with.
    #[cold]
    pub(crate) fn skip_if_withdrawn(&self, id: CallId) -> bool {
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
