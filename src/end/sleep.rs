//! Puts the threads of an end to sleep: each arms a doorbell, looks again, sleeps, and disarms it.
//!
//! The second look is what makes a sleep safe. A peer that publishes after that look finds the
//! doorbell armed and rings it. The other threads of this process change the state of the end
//! first, and look for sleepers afterwards.

use std::sync::Arc;
use std::time::Instant;

use coprocess_ring::Sleeper;

use crate::end::End;
use crate::end::leader::LeaderGuard;
use crate::error::Result;
use crate::stats::Counters;
use crate::sync::parker::Parker;
use crate::time::deadline::Deadline;

impl End {
    /// Sleeps until a message may have come, unless `done` returns `true`.
    ///
    /// # Blocking
    ///
    /// - Until the peer publishes.
    /// - Until another thread interrupts.
    /// - Until a timer is due.
    /// - Until the deadline passes.
    pub(crate) fn sleep_for_message(
        self: &Arc<Self>,
        leader: &LeaderGuard<'_>,
        deadline: Deadline,
        done: impl Fn() -> bool,
    ) -> Result<()> {
        leader.check(self);
        let start = Instant::now();
        let slept = {
            let _sleeping = self.state.sleeping_for_data();
            self.watch.arm(Sleeper::Waiter);
            // `done` comes last: a thread that had the inbox in between may have made it true.
            let slept = if self.has_something() || self.is_interrupted() || done() {
                Ok(true)
            } else {
                Counters::add(&self.counters.sleeps);
                let until = deadline.earlier(self.timers.earliest());
                self.watch.sleep(Sleeper::Waiter, until.instant())
            };
            self.watch.disarm();
            slept
        };
        slept.map_err(|e| self.channel_failed(e.into()))?;
        self.spins.data.slept(start.elapsed());
        Ok(())
    }

    /// Sleeps until there may be space in the ring, unless `ready` returns `true`.
    ///
    /// # Blocking
    ///
    /// - Until the peer makes space.
    /// - Until the end is over, or the peer is gone.
    /// - Until the deadline passes.
    pub(crate) fn sleep_for_space(
        &self,
        deadline: Deadline,
        ready: impl Fn() -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        let slept = {
            let _sleeping = self.state.sleeping_for_space();
            self.watch.arm_for_space();
            let slept = if ready() {
                Ok(true)
            } else {
                Counters::add(&self.counters.sleeps);
                self.watch.sleep_for_space(deadline.instant())
            };
            self.watch.disarm_for_space();
            slept
        };
        slept.map_err(|e| self.channel_failed(e.into()))?;
        self.spins.space.slept(start.elapsed());
        Ok(())
    }

    /// Sleeps as the driver: other threads may take the lead meanwhile, and give it back.
    ///
    /// Returns `false`, without a sleep, if there is something to do first. `until` is what
    /// [`Timers::sleep_until`](crate::calls::timers::Timers::sleep_until) returned: a timer that is
    /// added afterwards interrupts.
    ///
    /// # Blocking
    ///
    /// - Until the peer publishes.
    /// - Until another thread interrupts.
    /// - Until a timer is due.
    /// - Until `give_up` returns `true`, and a thread says so by
    ///   [`wake_driver`](crate::drive::lead::Lead::wake_driver).
    pub(crate) fn park_driver(
        &self,
        leader: &LeaderGuard<'_>,
        parker: &Arc<Parker>,
        until: Deadline,
        give_up: &impl Fn() -> bool,
    ) -> Result<bool> {
        leader.check(self);
        let interrupted = || self.is_interrupted() || give_up();
        self.watch.arm(Sleeper::Driver);
        if self.has_something() || interrupted() {
            self.watch.disarm();
            return Ok(false);
        }
        Counters::add(&self.counters.sleeps);
        let parked = self.lead.park(&self.watch, until, parker, interrupted);
        self.watch.disarm();
        parked.map_err(|e| self.channel_failed(e.into()))?;
        Ok(true)
    }
}
