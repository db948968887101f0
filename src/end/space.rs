//! Waits for space in the ring.
//!
//! Two ends that wait for space at once must not wait for each other. So a thread that waits for
//! space moves what has arrived out of the ring, into the backlog. That makes space for the peer,
//! and wakes it.
//!
//! The wait locks the inbox for each look, and holds no lock while it sleeps: call it under no
//! lock. It dispatches nothing. The leader may wait, too, until the backlog is full.

use coprocess_ring::Space;

use crate::end::End;
use crate::error::{Error, Result};
use crate::time::deadline::Deadline;

impl End {
    /// Returns `true` if this thread leads and the backlog is full, so that it must not wait here.
    ///
    /// If the thread waited for space, and the peer did so too, both would wait for ever.
    pub(crate) fn must_not_wait_here(&self) -> bool {
        self.lead.is_mine() && self.inbox().is_full()
    }

    /// Waits until there is space, and moves what has arrived out of the ring meanwhile.
    ///
    /// The peer may be waiting for space, too. `is_full` is called while the backlog is full.
    ///
    /// # Blocking
    ///
    /// - Until there is space for the message.
    /// - Until this end is over, or the peer is gone.
    /// - Until `deadline` passes.
    ///
    /// # Errors
    ///
    /// - [`Error::Full`] if this thread leads and the backlog is full.
    /// - [`Error::Timeout`] if the deadline has passed.
    /// - The terminal error if the end is over or the peer is gone.
    pub(crate) fn wait_for_space(
        &self,
        space: Space,
        deadline: Deadline,
        is_full: impl Fn(),
    ) -> Result<()> {
        loop {
            if self.watch.has_space(space) {
                return Ok(());
            }
            self.check_open()?;
            let stowed = {
                // No thread has the inbox for long. A thread that has it takes out one message, but
                // this thread must make sure that the ring is empty.
                let mut inbox = self.inbox();
                inbox.stow().map(|emptied| (emptied, inbox.is_full()))
            };
            let (emptied, full) = stowed.map_err(|e| self.channel_failed(e))?;
            if full {
                // Answers to calls of this end do not count: each has its place among the calls in
                // flight.
                self.salvage_answers()?;
                if self.inbox().is_full() {
                    is_full();
                    if self.lead.is_mine() {
                        return Err(Error::Full);
                    }
                }
            }
            if deadline.has_passed() {
                return Err(Error::Timeout);
            }
            if !emptied && !full {
                // The peer goes on sending, and may be waiting for more space.
                continue;
            }
            let ready = || self.watch.has_space(space) || self.is_over() || self.is_gone();
            if self.spins.space.spin(deadline.instant(), ready) {
                continue;
            }
            self.sleep_for_space(deadline, ready)?;
        }
    }
}
