//! Looks for the answer to a call on the thread that polls the call's future.
//!
//! A poll takes the lead, but takes answers only. It runs no handler and no callback: callbacks are
//! left in the inbox for a thread that dispatches. It waits and spins for about [`LOOK`], and does
//! not sleep on the ring.
//!
//! Whether a look pays is learned: each way out of the look says so to
//! [`PollBias`](crate::drive::poll_bias::PollBias), or leaves the bias as it is on purpose.

use std::sync::Arc;
use std::time::Duration;

use crate::calls::answer::Answer;
use crate::calls::in_flight::{Completion, Notify};
use crate::drive::lead::LeadWait;
use crate::end::End;
use crate::end::desk::Desk;
use crate::end::leader::LeaderGuard;
use crate::end::wait::{Arrived, this_parker};
use crate::error::Step;
use crate::recv::inbox::Popped;
use crate::time::deadline::Deadline;
use crate::wire::header::{CallId, split};

/// Bounds how long a poll looks for the answer: what a task may take between two of its awaits.
const LOOK: Duration = Duration::from_micros(50);

/// Bounds the answers that one poll passes on to other callers before it gives up its own.
const MAX_PASSED_ON: u32 = 64;

impl End {
    /// Looks for the answer to a call on the thread that polls the call's future.
    ///
    /// Takes answers as long as answers come first, and spins for them as a call would. Any other
    /// message, and all that is behind it, is left to a thread that dispatches.
    pub(crate) fn look_for_answer(
        self: &Arc<Self>,
        id: CallId,
        desk: &mut Desk,
    ) -> Step<Option<Arrived>> {
        // If another thread has received the answer already, there is no telling how quickly the
        // answer came.
        if self.in_flight.is_ready(id)
            || self.is_over()
            || self.lead.is_mine()
            || !self.poll_bias.is_worth_it()
        {
            return Ok(None);
        }
        let leader = self.try_lead().or_else(|| self.ask_for_lead(id));
        // Another thread has received the answer while this thread was about to look.
        if self.in_flight.is_ready(id) {
            self.poll_bias.found();
            return Ok(None);
        }
        let Some(_leader) = leader else {
            self.poll_bias.vain();
            return Ok(None);
        };
        let mut until = None;
        for _ in 0..MAX_PASSED_ON {
            let (bytes, transit) = {
                let mut inbox = self.inbox();
                let next = inbox.next();
                let over =
                    || self.watch.has_come(next) || self.is_interrupted() || self.inbox_is_wanted();
                // If a message is there already, the clock is not read.
                if inbox.is_first() && !over() {
                    // The inbox stays locked while this thread spins. To lock it again once the
                    // message is there would make the message late.
                    let until = *until.get_or_insert_with(|| Deadline::after(LOOK));
                    self.spins.data.spin(until.instant(), over);
                }
                match inbox.pop_answer(&mut desk.buffer) {
                    // Under the lock, as in `receive_one`.
                    Ok(Popped::Answer(bytes)) => (bytes, self.transit.begin()),
                    Ok(Popped::Nothing) => {
                        self.poll_bias.vain();
                        return Ok(None);
                    }
                    Ok(Popped::Other) => return Ok(None),
                    Err(error) => {
                        drop(inbox);
                        return Err(self.channel_failed(error).into());
                    }
                }
            };
            let answer = split(&desk.buffer, bytes)
                .and_then(|(header, payload)| Answer::of(&header, payload, bytes));
            // The inbox has found that the message is an answer.
            let Some((answered, answer)) = answer else {
                return Err(self.protocol_violation().into());
            };
            if answered == id {
                drop(transit);
                self.in_flight.release(id);
                self.poll_bias.found();
                return Ok(Some(answer.into()));
            }
            let outcome = answer.into_outcome(|| std::mem::take(&mut desk.buffer));
            let completion = self.in_flight.complete(answered, outcome);
            let completion = match completion {
                // A callback is not for a task to run: a thread that dispatches runs it.
                Completion::Run(..) => {
                    self.inbox().completions.push_back(completion);
                    Completion::Done
                }
                other => other,
            };
            drop(transit);
            self.conclude(completion);
        }
        Ok(None)
    }

    /// Asks the leader for the lead. The driver gives the lead away while it only spins.
    ///
    /// Otherwise each answer would go through the driver, as long as answers come in time for its
    /// spin. Returns `None` if the answer came meanwhile, or the time is over.
    #[cold]
    fn ask_for_lead(&self, id: CallId) -> Option<LeaderGuard<'_>> {
        let parker = this_parker();
        self.in_flight.notify(id, Notify::Thread(parker.clone())).ok()?;
        let until = Deadline::after(LOOK);
        let waited = self.lead.wait_turn(&self.watch, &parker, until, || {
            self.in_flight.is_ready(id) || self.is_over()
        });
        (waited == LeadWait::Lead).then(|| self.leading())
    }
}
