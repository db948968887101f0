//! The wait for room in the ring.
//!
//! Two ends that wait for room at once must not wait for each other: whoever waits moves what has arrived out of the ring, into the
//! process. That makes room for the other side, which is woken by it.

use coprocess_ring::Space;

use crate::end::End;
use crate::error::{Error, Result};
use crate::time::deadline::Deadline;

impl End {
    /// Whether this thread is in a handler of this end and nothing more fits into the backlog: if it waited for room, and the other end did
    /// the same, both would wait for ever.
    pub(crate) fn must_not_wait_here(&self) -> bool {
        self.lead.is_mine() && self.inbox().is_full()
    }

    /// Waits until there is room, moving what has arrived out of the way of the other side, which may be waiting for room, too. `crowded` is
    /// called while the bound of that is reached.
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
                // Nobody holds it for long. Whoever has it takes out one message; this must make sure that the ring is empty.
                let mut inbox = self.inbox();
                inbox.stow().map(|emptied| (emptied, inbox.is_full()))
            };
            let (emptied, full) = stowed.map_err(|e| self.channel_failed(e))?;
            if full {
                // Answers to our own calls do not count: there is a place for each.
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
                // The other side goes on, and may be waiting for more of it.
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
