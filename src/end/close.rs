//! Ends an end: for its program, for a peer that is gone or misbehaves, or for a failed system
//! call.
//!
//! An end is over once, and for one reason: the first call of `finish` does all that follows, and
//! any later one nothing. `finish` locks the outbox and the inbox. It completes the calls in
//! flight, which runs code of the program. So call what ends the end under no lock.

use coprocess_ring::{ChannelError, Misbehaved};

use crate::calls::in_flight::Outcome;
use crate::end::End;
use crate::end::state::Ending;
use crate::error::{Error, Reason, Result, Step};

impl End {
    /// Returns `true` if this end is over: closed, or the peer is gone and everything that it had
    /// sent was received.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.state.ended().is_some()
    }

    /// Returns `true` if the peer sends nothing more. What it has sent may still be received.
    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.state.gone().is_some() || self.watch.is_closed()
    }

    /// Bounds how much is received from a peer that is gone, or says so. Otherwise such a peer
    /// could keep this thread busy by messages that go on arriving.
    #[inline]
    pub(crate) fn expect_end_if_gone(&self) {
        if self.is_gone() {
            self.inbox().expect_end();
        }
    }

    /// Returns the terminal error, by which each send and each wait fails from now on.
    #[cold]
    pub(crate) fn terminal_error(&self) -> Error {
        match self.state.ended() {
            Some(Ending::Closed) => Error::Closed,
            Some(Ending::Gone(reason)) => Error::Disconnected(reason),
            Some(Ending::Misbehaved(how)) => Error::Misbehaved(how),
            Some(Ending::Os(errno)) => Error::Os {
                action: "wait for the peer, or wake it",
                source: std::io::Error::from_raw_os_error(errno),
            },
            None => Error::Disconnected(self.reason()),
        }
    }

    /// Returns how the pair ended, for the worker's end.
    pub(crate) fn how_it_went(&self) -> Reason {
        match self.state.ended() {
            Some(Ending::Closed) => Reason::Closed,
            Some(Ending::Gone(reason)) => reason,
            Some(Ending::Misbehaved(_) | Ending::Os(_)) => Reason::Unknown,
            None => self.reason(),
        }
    }

    #[cold]
    fn reason(&self) -> Reason {
        // The peer has closed its end in good order, unless the kernel has told more before.
        self.state.gone().unwrap_or_else(|| {
            // If this process has closed the lifeline of a worker, the worker closes its end in
            // turn, perhaps before the watcher has found that out.
            if self.worker().is_some_and(|worker| worker.has_lost_descriptors()) {
                Reason::DescriptorsClosed
            } else {
                Reason::Closed
            }
        })
    }

    /// Fails if there is no peer to send to.
    #[inline]
    pub(crate) fn check_open(&self) -> Step<()> {
        if self.is_over() || self.is_gone() { Err(self.terminal_error().into()) } else { Ok(()) }
    }

    /// Returns what `run` returns once the end is over.
    pub(crate) fn verdict(&self) -> Result<()> {
        match self.terminal_error() {
            Error::Closed | Error::Disconnected(Reason::Closed) => Ok(()),
            error => Err(error),
        }
    }

    /// Notes that the peer is gone: each wait takes what has arrived, and then fails.
    pub(crate) fn peer_gone(&self, reason: Reason) {
        let reason = if self.watch.is_closed() { self.reason() } else { reason };
        if self.state.set_gone(reason) {
            self.wake_all();
        }
    }

    /// Ends this end: the peer is gone, and everything that it had sent was received.
    pub(crate) fn drained(&self) {
        self.finish(Ending::Gone(self.reason()));
    }

    /// Ends this end for the program.
    pub(crate) fn close(&self) {
        self.finish(Ending::Closed);
        // Also if the end was over before.
        if let Some(worker) = self.worker() {
            worker.begin_close();
        }
    }

    /// Ends this end since its channel failed. Returns the error for the thread that found out.
    #[cold]
    pub(crate) fn channel_failed(&self, error: ChannelError) -> Error {
        self.finish(match error {
            ChannelError::Misbehaved(how) => Ending::Misbehaved(how),
            ChannelError::Wakeup(error) => Ending::Os(error.raw_os_error().unwrap_or(0)),
            _ => Ending::Misbehaved(Misbehaved::Envelope),
        });
        self.terminal_error()
    }

    /// Ends this end since a message has no form that an honest peer sends. Returns the error.
    #[cold]
    pub(crate) fn protocol_violation(&self) -> Error {
        self.channel_failed(ChannelError::Misbehaved(Misbehaved::Envelope))
    }

    fn finish(&self, ending: Ending) {
        if !self.state.end(ending) {
            return;
        }
        // A worker that has closed its own descriptors exits, and the parent learns that: the end
        // of such a worker is not in good order.
        let exits =
            self.worker().is_none() && matches!(ending, Ending::Gone(Reason::DescriptorsClosed));
        if !exits {
            // Tells the peer that nothing follows, and that nothing will be received. If a wake-up
            // fails, the watcher of the peer's process notices the end.
            let told = self.outbox.close().and_then(|()| self.inbox().close());
            debug_assert!(told.is_ok(), "waking cannot fail: {told:?}");
        }
        self.watch.retire();
        // A worker that has closed its end in good order may go on with its work; every other ends.
        let stays = matches!(ending, Ending::Gone(Reason::Closed));
        if let (Some(worker), false) = (self.worker(), stays) {
            worker.begin_close();
        }
        self.wake_all();
        self.conclude_last();
        self.in_flight.abandon(
            |completion| self.conclude(completion),
            || Outcome::Failed(self.terminal_error()),
        );
        self.abandon_pending_emits();
        self.abandon_served_later();
        self.registry.close();
        // The parent's end has one more thing to tell: how the worker ended.
        if self.worker().is_none() {
            self.endings.tell(self.how_it_went());
        }
    }

    /// Concludes the calls that were completed and not concluded yet. Call this once the end is
    /// over.
    pub(crate) fn conclude_last(&self) {
        let completions = std::mem::take(&mut self.inbox().completions);
        completions.into_iter().for_each(|completion| self.conclude(completion));
    }
}
