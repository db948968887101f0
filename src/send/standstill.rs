//! Bounds how long an event waits for space, if the peer has no handler.
//!
//! If the peer has registered no handler and takes nothing out of the ring either, the ring fills
//! up. Nothing says that this will ever change. An event that finds the ring full then waits
//! for [`PATIENCE`] only. If the peer takes something, for whatever reason, the time starts anew.
//! An event that the library itself queues until there is space, such as `"listening"`, waits on.
//!
//! The wait of a call is not cut short: its caller waits for an answer anyway, and has deadlines.
//!
//! The lock of the outbox protects this state. The flag and the position of the peer stand in
//! shared memory, so a hostile peer can make an event wait on. The deadline of the event still
//! holds.

use std::time::Instant;

use coprocess_ring::Watch;

use crate::limits::PATIENCE;
use crate::time::deadline::Deadline;
use crate::time::now;

/// Remembers since when the peer has taken nothing, for the threads that wait for space.
#[derive(Debug, Default)]
pub(crate) struct Standstill {
    /// Since when the peer has taken nothing, and how much it had taken by then.
    since: Option<(Instant, u64)>,
}

impl Standstill {
    /// Returns when the wait of an event ends because the peer has no handler. Returns
    /// [`Deadline::NEVER`] if the peer has registered a handler.
    #[cold]
    pub(crate) fn ends_at(&mut self, watch: &Watch) -> Deadline {
        if watch.peer_report().has_registered {
            return Deadline::NEVER;
        }
        let taken = watch.taken();
        let since = match self.since {
            Some((since, before)) if before == taken => since,
            _ => now(),
        };
        self.since = Some((since, taken));
        since.checked_add(PATIENCE).into()
    }
}

#[cfg(test)]
mod tests {
    use coprocess_ring::{Backend, Receiver, Segment, Sender, Side, Wakeup};

    use super::*;
    use crate::time::VirtualClock;

    #[test]
    fn what_is_taken_is_a_sign_of_life() {
        let (region, _segment) =
            Segment::create(Backend::Memfd, Wakeup::Futex, 4096).expect("memory");
        let (mut sender, watch) =
            (Sender::new(&region, Side::Parent), Watch::new(&region, Side::Parent));
        let (mut receiver, theirs) =
            (Receiver::new(&region, Side::Worker, 1024), Watch::new(&region, Side::Worker));
        let mut standstill = Standstill::default();
        let clock = VirtualClock::stop();
        let first = standstill.ends_at(&watch);
        assert_eq!(first, Deadline::after(PATIENCE));
        clock.advance(PATIENCE);
        assert!(first.has_passed());
        for _ in 0..20 {
            sender.send(&[1], 8).expect("space");
        }
        assert_eq!(standstill.ends_at(&watch), first, "nothing was taken");
        let mut message = Vec::new();
        // The receiver publishes from time to time how far it has got.
        while receiver.receive(&mut message).expect("honest").is_some() {}
        let second = standstill.ends_at(&watch);
        assert_eq!(second, Deadline::after(PATIENCE));
        assert_eq!(standstill.ends_at(&watch), second);
        theirs.report_registered();
        assert_eq!(standstill.ends_at(&watch), Deadline::NEVER);
    }
}
