//! The background dispatcher: looks after an end while no thread of the program does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::drive::driver_slot::Occupant;
use crate::end::End;
use crate::end::poll::SlotGuard;
use crate::error::{Error, Result};
use crate::process::prepare_thread;

/// Registrations usually come in a burst. The background dispatcher lets a burst be complete before it delivers anything, so that what
/// the other end has already sent does not meet half of the handlers. A thread that waits in the pair dispatches at once.
const BURST: Duration = Duration::from_millis(20);

/// The same in a worker program, which is called as soon as it has attached, and usually goes on to `run`.
const BURST_IN_PROGRAM: Duration = Duration::from_millis(100);

/// However long a program goes on registering, what has arrived is not held up for longer than this many bursts.
const BURSTS: u32 = 10;

impl End {
    /// Makes sure that somebody dispatches even if no thread of the program waits in this end.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system refuses a thread.
    pub(crate) fn ensure_driver(self: &Arc<Self>) -> Result<()> {
        self.keep_driver();
        self.start_driver()
    }

    /// If there is somebody who dispatches in the background: lets him stay, whatever for.
    pub(crate) fn keep_driver(&self) {
        // Relaxed: followed by a fence.
        if !self.driver.stays.load(Ordering::Relaxed) {
            self.driver.stays.store(true, Ordering::Relaxed);
            self.driver.slot.call_up();
        }
    }

    /// The same, as long as a task waits for its answer, and while it pays: see [`stands_by`](Self::stands_by). Call once this one has asked for notice.
    ///
    /// # Errors
    ///
    /// As [`ensure_driver`](Self::ensure_driver).
    pub(crate) fn ensure_driver_for_task(self: &Arc<Self>) -> Result<()> {
        // Relaxed: once it stays, it stays.
        if !self.driver.stays.load(Ordering::Relaxed) {
            self.driver.slot.call_up();
        }
        self.start_driver()
    }

    /// Whether the background dispatcher is to leave the ring to others: to an event loop, or to tasks, as long as each finds its answer itself. While
    /// these come and go, a thread that sleeps beside them would have to be woken for each that leaves something behind, in vain.
    fn stands_by(&self) -> bool {
        let stays = self.driver.stays.load(Ordering::Relaxed);
        self.ready_slot.is_watched()
            || !stays && self.poll_bias.succeed() && !self.in_flight.wakes_tasks()
    }

    fn start_driver(self: &Arc<Self>) -> Result<()> {
        // Relaxed: a hint; the swap decides.
        if self.driver.started.load(Ordering::Relaxed)
            || self.is_over()
            || self.driver.started.swap(true, Ordering::Relaxed)
        {
            return Ok(());
        }
        let end = self.clone();
        let started = std::thread::Builder::new().name("coprocess".to_owned()).spawn(move || {
            prepare_thread("coprocess");
            end.drive_in_background();
        });
        if let Err(source) = started {
            self.driver.started.store(false, Ordering::Relaxed);
            return Err(Error::Os { action: "start the background dispatcher's thread", source });
        }
        Ok(())
    }

    #[expect(
        clippy::arithmetic_side_effects,
        reason = "some milliseconds from now the clock does not end"
    )]
    fn drive_in_background(self: Arc<Self>) {
        let burst = if self.worker().is_some() { BURST } else { BURST_IN_PROGRAM };
        let latest = Instant::now() + burst * BURSTS;
        while let Some(last) = self.registry.last_registration() {
            let Some(left) = (last + burst).min(latest).checked_duration_since(Instant::now())
            else {
                break;
            };
            std::thread::sleep(left);
        }
        while self.driver.slot.claim_in_background(
            Occupant::Background,
            || self.is_over(),
            || self.stands_by(),
        ) {
            let _slot = SlotGuard(&self);
            // The user's code is contained where it is called; what it captured may panic where it is dropped. The lead is free again then.
            match catch_unwind(AssertUnwindSafe(|| {
                self.drive(|| self.driver.slot.is_wanted() || self.stands_by())
            })) {
                Ok(Ok(())) | Err(_) => {}
                // The end is over, and everybody who waits was told why.
                Ok(Err(_)) => return,
            }
        }
    }
}
