//! Sees what a side waits for, without its sender and its receiver, and sleeps until that may be
//! there.

use std::io;
use std::time::Instant;

use crate::pair::region::Region;
use crate::queue::consumer;
use crate::queue::cursor::{NextFrame, peek};
use crate::queue::frame::reached;
use crate::queue::progress::Space;
use crate::side::Side;
use crate::sync::atomic::Ordering;
use crate::wake::doorbell::{Doorbell, Sleeper};

/// What the peer reports about what this side has sent, by [`Watch::peer_report`]. A hostile peer
/// reports what it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerReport {
    /// Says whether the peer has registered a handler.
    pub has_registered: bool,
    /// Events that the peer has dropped, because no handler was registered for them.
    pub unheard: u64,
    /// Events that the peer could not decode.
    pub undecodable: u64,
    /// Events whose values were of another type than the peer takes.
    pub mistyped: u64,
}

/// Sees what a side waits for, and sleeps until that may be there.
#[derive(Debug, Clone)]
pub struct Watch {
    region: Region,
    outgoing: usize,
    incoming: usize,
}

impl Watch {
    /// Makes a watch for `side`.
    pub fn new(region: &Region, side: Side) -> Watch {
        Watch { region: region.clone(), outgoing: side.outgoing(), incoming: side.incoming() }
    }

    /// Returns `true` if a frame has come, or something that is an error to receive.
    ///
    /// The end of all frames does not show here, but in [`is_closed`](Self::is_closed).
    #[inline]
    pub fn has_come(&self, next: NextFrame) -> bool {
        !matches!(peek(self.region.slots(self.incoming), next), Ok(None))
    }

    /// Returns `true` if the peer said that nothing follows.
    pub fn is_closed(&self) -> bool {
        consumer::is_closed(&self.region, self.incoming)
    }

    /// Returns a number that changes each time the peer says, by
    /// [`Sender::urge`](crate::Sender::urge), that something it has published is worth a look
    /// ahead.
    ///
    /// The number starts at zero. A hostile peer makes it what it likes.
    #[inline]
    pub fn urged(&self) -> u32 {
        consumer::urged(&self.region, self.incoming)
    }

    /// Tells the peer that this side has registered a handler.
    pub fn report_registered(&self) {
        // Relaxed: a hint for people, and for a wait that has lasted for seconds.
        self.region.control(self.incoming).report.registered.store(1, Ordering::Relaxed);
    }

    /// Tells the peer how many of its events this side has dropped, because no handler was
    /// registered for them.
    pub fn report_unheard(&self, events: u64) {
        // Relaxed: a statistic.
        self.region.control(self.incoming).report.unheard.store(events, Ordering::Relaxed);
    }

    /// Tells the peer how many of its events this side could not decode.
    pub fn report_undecodable(&self, events: u64) {
        // Relaxed: a statistic.
        self.region.control(self.incoming).report.undecodable.store(events, Ordering::Relaxed);
    }

    /// Tells the peer how many of its events were of another type.
    pub fn report_mistyped(&self, events: u64) {
        // Relaxed: a statistic.
        self.region.control(self.incoming).report.mistyped.store(events, Ordering::Relaxed);
    }

    /// Returns what the peer reports about what this side has sent.
    pub fn peer_report(&self) -> PeerReport {
        let report = &self.region.control(self.outgoing).report;
        // Relaxed: pairs with nothing; see the methods that write these words.
        PeerReport {
            has_registered: report.registered.load(Ordering::Relaxed) != 0,
            unheard: report.unheard.load(Ordering::Relaxed),
            undecodable: report.undecodable.load(Ordering::Relaxed),
            mistyped: report.mistyped.load(Ordering::Relaxed),
        }
    }

    /// Returns a number that changes when the peer takes something out of the ring. A hostile peer
    /// makes it what it likes.
    pub fn taken(&self) -> u64 {
        // Relaxed: only compared with its value of seconds before.
        self.region.control(self.outgoing).head.word.load(Ordering::Relaxed)
    }

    /// Returns `true` if there is space now, or an error that sending will find.
    #[inline]
    pub fn has_space(&self, space: Space) -> bool {
        // Acquire: as in `Producer::refresh`, which loads the word again and checks it.
        let head = self.region.control(self.outgoing).head.word.load(Ordering::Acquire);
        reached(head, space.from)
    }

    /// Says that this side is over: it neither sends nor waits for the peer any more. What it takes
    /// to be woken by the peer is stopped.
    #[cfg(not(loom))]
    pub fn retire(&self) {
        self.region.retire();
    }

    /// Announces that this side sleeps until a frame comes.
    ///
    /// Look at the ring again before [`sleep`](Self::sleep).
    pub fn arm(&self, sleeper: Sleeper) {
        self.data_doorbell().arm(sleeper);
    }

    /// Takes the announcement back.
    pub fn disarm(&self) {
        self.data_doorbell().disarm();
    }

    /// Sleeps until a frame comes.
    ///
    /// Whatever ended the sleep, look again. Returns `false` if `deadline` passed.
    ///
    /// # Blocking
    ///
    /// Ends when the peer rings the doorbell, when [`wake_local`](Self::wake_local) is called, at
    /// `deadline`, or for no reason at all.
    ///
    /// # Errors
    ///
    /// What the system call that waits reports, other than what belongs to its normal work.
    pub fn sleep(&self, sleeper: Sleeper, deadline: Option<Instant>) -> io::Result<bool> {
        self.data_doorbell().sleep(sleeper, deadline)
    }

    /// Wakes a sleeper of this process from [`sleep`](Self::sleep). Returns how many slept.
    ///
    /// # Errors
    ///
    /// What the system call that wakes reports.
    pub fn wake_local(&self, sleeper: Sleeper) -> io::Result<usize> {
        self.data_doorbell().wake_local(sleeper)
    }

    /// Announces that this side sleeps until there is space.
    ///
    /// Look at [`has_space`](Self::has_space) again before
    /// [`sleep_for_space`](Self::sleep_for_space).
    pub fn arm_for_space(&self) {
        self.space_doorbell().arm(Sleeper::Waiter);
    }

    /// Takes the announcement back.
    pub fn disarm_for_space(&self) {
        self.space_doorbell().disarm();
    }

    /// Sleeps until there may be space. Returns `false` if `deadline` passed.
    ///
    /// # Blocking
    ///
    /// Ends as [`sleep`](Self::sleep) does, by [`wake_local_for_space`](Self::wake_local_for_space)
    /// in place of `wake_local`.
    ///
    /// # Errors
    ///
    /// As [`sleep`](Self::sleep).
    pub fn sleep_for_space(&self, deadline: Option<Instant>) -> io::Result<bool> {
        self.space_doorbell().sleep(Sleeper::Waiter, deadline)
    }

    /// Wakes a sleeper of this process from [`sleep_for_space`](Self::sleep_for_space). Returns how
    /// many slept.
    ///
    /// # Errors
    ///
    /// What the system call that wakes reports.
    pub fn wake_local_for_space(&self) -> io::Result<usize> {
        self.space_doorbell().wake_local(Sleeper::Waiter)
    }

    fn data_doorbell(&self) -> Doorbell<'_> {
        self.region.data_doorbell(self.incoming)
    }

    fn space_doorbell(&self) -> Doorbell<'_> {
        self.region.space_doorbell(self.outgoing)
    }
}
