//! TODO end::poll_answer

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

/// The longest that a poll looks for the answer: what a task may take between two of its awaits.
const LOOK: Duration = Duration::from_micros(50);

/// Answers that one poll passes on to others before it gives up its own.
const PASS: u32 = 64;

impl End {
    /// Looks for the answer to a call on the thread that polls its future: takes answers as long as they come first, and spins for them as a call
    /// would. Whatever else comes is left to a thread that dispatches, and so is all that is behind it.
    pub(crate) fn look_for_answer(
        self: &Arc<Self>,
        id: CallId,
        desk: &mut Desk,
    ) -> Step<Option<Arrived>> {
        // Received by another thread already: there is no telling how quickly it came.
        if self.in_flight.is_ready(id)
            || self.is_over()
            || self.lead.is_mine()
            || !self.poll_bias.is_worth_it()
        {
            return Ok(None);
        }
        let leader = self.try_lead().or_else(|| self.take_a_turn(id));
        // By another thread, while this one was about to look.
        if self.in_flight.is_ready(id) {
            self.poll_bias.found();
            return Ok(None);
        }
        let Some(_leader) = leader else {
            self.poll_bias.vain();
            return Ok(None);
        };
        let mut until = None;
        for _ in 0..PASS {
            let (bytes, transit) = {
                let mut inbox = self.inbox();
                let next = inbox.next();
                let over =
                    || self.watch.has_come(next) || self.is_interrupted() || self.inbox_is_wanted();
                // The clock is not looked at for what is there already.
                if inbox.is_first() && !over() {
                    // With the inbox in hand: to take it again once the message is there would only make it late.
                    let until = *until.get_or_insert_with(|| Deadline::after(LOOK));
                    self.spins.data.spin(until.instant(), over);
                }
                match inbox.pop_answer(&mut desk.buffer) {
                    // Under the lock, as where messages are dispatched.
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
            // The inbox has seen an answer in the message.
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
                // A callback is no business of a task.
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

    /// Asks the thread that leads for the lead: the driver, while it only spins, gives it away. Otherwise each answer would go through it, for as long as
    /// they come in time for its spin. Returns `None` if the answer came meanwhile, or the time is over.
    #[cold]
    fn take_a_turn(&self, id: CallId) -> Option<LeaderGuard<'_>> {
        let parker = this_parker();
        self.in_flight.notify(id, Notify::Thread(parker.clone())).ok()?;
        let until = Deadline::after(LOOK);
        let turn = self.lead.wait_turn(&self.watch, &parker, until, || {
            self.in_flight.is_ready(id) || self.is_over()
        });
        (turn == LeadWait::Lead).then(|| self.leading())
    }
}
