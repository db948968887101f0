//! Starts and runs the driver, which leads while no other thread waits.
//!
//! The library starts at most one driver thread for an end, when the first reason for it comes up:
//! a handler, a callback, or a task that waits. The thread then loops: it claims the driver slot,
//! leads, and gives the slot up if a thread in `run` wants the slot, or if the driver
//! [stands by](End::stands_by).
//!
//! - After a change that may make `stands_by` return `false`, call
//!   [`call_up`](crate::drive::driver_slot::DriverSlot::call_up), or release the slot. The fence in
//!   `call_up` orders the change: the driver sees the change, or `call_up` sees the driver stand
//!   by.
//! - The driver holds neither the slot nor the lead while it stands by, and no lock of the end.
//! - The functions that start the driver do not wait for it. Any thread may call them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::drive::driver_slot::Occupant;
use crate::end::End;
use crate::end::poll::SlotGuard;
use crate::error::{Error, Result};
use crate::process::prepare_thread;

/// Waits this long after the last registration before the driver delivers anything.
///
/// Registrations usually come in a burst. If the driver waits until the burst is complete, messages
/// that the peer has already sent do not meet half of the handlers. A thread that waits in the pair
/// dispatches at once.
const BURST: Duration = Duration::from_millis(20);

/// Takes the place of [`BURST`] in a worker program.
///
/// The program registers handlers as soon as it has attached, and usually goes on to `run`.
const BURST_IN_PROGRAM: Duration = Duration::from_millis(100);

/// Bounds, in bursts, how long messages are held up by a program that goes on registering.
const BURSTS: u32 = 10;

impl End {
    /// Makes sure that messages are dispatched even if no thread of the program waits in this end.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system refuses a thread.
    pub(crate) fn ensure_driver(self: &Arc<Self>) -> Result<()> {
        self.keep_driver();
        self.start_driver()
    }

    /// Lets the driver thread, if there is one, stay from now on, whatever it was started for.
    pub(crate) fn keep_driver(&self) {
        // Relaxed: the fence in `call_up` follows.
        if !self.driver.is_kept.load(Ordering::Relaxed) {
            self.driver.is_kept.store(true, Ordering::Relaxed);
            self.driver.slot.call_up();
        }
    }

    /// Makes sure that messages are dispatched as long as a task waits for its answer.
    ///
    /// The driver does so only while that pays: see [`stands_by`](Self::stands_by). Call this after
    /// the task has asked for notice of its answer.
    ///
    /// # Errors
    ///
    /// As [`ensure_driver`](Self::ensure_driver).
    pub(crate) fn ensure_driver_for_task(self: &Arc<Self>) -> Result<()> {
        // Relaxed: once set, the flag stays set.
        if !self.driver.is_kept.load(Ordering::Relaxed) {
            self.driver.slot.call_up();
        }
        self.start_driver()
    }

    /// Returns `true` if the driver is to leave the ring to an event loop or to tasks.
    ///
    /// Tasks receive instead of the driver as long as each of them finds its answer itself. While
    /// tasks come and go, a thread that slept beside them would be woken for each task that leaves
    /// something behind, in vain.
    fn stands_by(&self) -> bool {
        let is_kept = self.driver.is_kept.load(Ordering::Relaxed);
        self.ready_slot.is_watched()
            || !is_kept && self.poll_bias.succeed() && !self.in_flight.wakes_tasks()
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
            return Err(Error::Os { action: "start the driver's thread", source });
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
            // Panics of the user's code are caught where the code is called. But what the code has
            // captured may panic where it is dropped. Then the lead is free again.
            match catch_unwind(AssertUnwindSafe(|| {
                self.drive(|| self.driver.slot.is_wanted() || self.stands_by())
            })) {
                Ok(Ok(())) | Err(_) => {}
                // The end is over, and each thread that waits was told why.
                Ok(Err(_)) => return,
            }
        }
    }
}
