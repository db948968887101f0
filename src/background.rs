//! The background dispatcher: looks after an end while no thread of the program does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::end::End;
use crate::error::{Error, Result};

/// Registrations usually come in a burst. The background dispatcher lets a burst be complete before it delivers anything, so that what
/// the other end has already sent does not meet half of the handlers.
const BURST: Duration = Duration::from_millis(5);

impl End {
    /// Makes sure that somebody dispatches even if no thread of the program waits in this end.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system refuses a thread.
    pub(crate) fn need_background(self: &Arc<Self>) -> Result<()> {
        // Relaxed: a hint; the swap decides.
        if self.background.load(Ordering::Relaxed) || self.is_over() || self.background.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let end = self.clone();
        let started = std::thread::Builder::new().name("coprocess".to_owned()).spawn(move || end.dispatch_in_background());
        if let Err(source) = started {
            self.background.store(false, Ordering::Relaxed);
            return Err(Error::Os { action: "start the background dispatcher's thread", source });
        }
        Ok(())
    }

    fn dispatch_in_background(self: Arc<Self>) {
        while let Some(left) = self.registry.last_registration().and_then(|at| (at + BURST).checked_duration_since(Instant::now())) {
            std::thread::sleep(left);
        }
        while self.seat.claim_in_background(|| self.is_over()) {
            let outcome = self.reside(|| self.seat.is_wanted());
            self.seat.release();
            if outcome.is_err() {
                // The end is over, and everybody who waits was told why.
                return;
            }
        }
    }
}
