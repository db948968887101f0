//! Defines the counters of an end.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what one end has done since its start, by [`Coprocess::stats`](crate::Coprocess::stats).
///
/// # Examples
///
/// ```no_run
/// # fn main() -> coprocess::Result<()> {
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// let before = co.stats();
/// co.emit("tick", 1)?;
/// assert_eq!(co.stats().messages_sent, before.messages_sent + 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages sent: calls, events, answers, and the receipts for gauges. The library's own
    /// messages about types are in none of these counts.
    pub messages_sent: u64,
    /// Bytes of the messages sent, names and numbers included.
    pub bytes_sent: u64,
    /// Messages taken out of the ring.
    pub messages_received: u64,
    /// Bytes of the messages received.
    pub bytes_received: u64,
    /// Times that a sender found the ring full and could not send at once.
    pub waits_for_room: u64,
    /// Times that a thread of this end slept in the kernel to wait for the peer.
    pub sleeps: u64,
    /// System calls made to wake the peer.
    pub wakeups_sent: u64,
    /// Events that arrived while this end had no handler for them.
    pub events_unheard: u64,
    /// Events that did not decode as the type that their handler takes.
    pub events_undecodable: u64,
    /// Events that were not handled, because their values were of another type than their handler
    /// takes.
    pub events_mistyped: u64,
    /// Events of this end that the peer has not handled, because their values were of another type.
    /// The peer reports this number, which is the peer's own `events_mistyped`.
    pub events_mistyped_by_peer: u64,
    /// Events of this end that the peer has dropped, because the peer had no handler for them. The
    /// peer reports this number, which is the peer's own `events_unheard`. The count includes the
    /// event [`"listening"`](crate::Coprocess::listen), which the library sends.
    ///
    /// An event that was sent and not received yet is in no count. A call that is made after the
    /// event is answered once the event was handled or dropped.
    pub events_unheard_by_peer: u64,
    /// Events of this end whose values the peer could not decode as the types that its handlers
    /// take. The peer reports this number, which is the peer's own `events_undecodable`.
    pub events_undecodable_by_peer: u64,
    /// Panics in handlers of events, and in callbacks, and panics of results when they are dropped.
    pub event_panics: u64,
    /// Answers that came too late, or to no call of this end.
    pub answers_dropped: u64,
    /// Calls of the peer that this end refused, because as many calls as
    /// [`Builder::max_calls_served`](crate::Builder::max_calls_served) allows were not answered
    /// yet.
    pub calls_refused: u64,
    /// Events that were not sent because the ring had no space, and whose sender got an error:
    /// [`Backpressure::Fail`](crate::Backpressure::Fail) and
    /// [`try_emit`](crate::Coprocess::try_emit).
    pub events_refused: u64,
    /// Events that were dropped because the ring had no space:
    /// [`Backpressure::DropNewest`](crate::Backpressure::DropNewest).
    pub events_dropped: u64,
    /// Events that were not sent because a later event has replaced them:
    /// [`Backpressure::KeepLatest`](crate::Backpressure::KeepLatest).
    pub events_replaced: u64,
    /// Calls of this end that were given up, and whose cancel was sent or queued for the peer.
    pub cancels_sent: u64,
    /// Calls that the peer says it has given up.
    pub cancels_received: u64,
    /// Cancels received that had no effect. Their calls
    ///
    /// - were answered already, as all calls are that [`serve`](crate::Coprocess::serve) has begun
    ///   with,
    /// - were dropped at their deadline,
    /// - were not served,
    /// - or were never made.
    pub cancels_ignored: u64,
    /// Calls of the peer that were not served, because the caller had given them up, or their
    /// deadline had passed, before it was their turn.
    pub calls_skipped: u64,
}

/// Holds the counters that no other part of an end keeps.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sleeps: AtomicU64,
    pub(crate) events_unheard: AtomicU64,
    pub(crate) events_undecodable: AtomicU64,
    pub(crate) events_mistyped: AtomicU64,
    pub(crate) event_panics: AtomicU64,
    pub(crate) answers_dropped: AtomicU64,
    pub(crate) calls_refused: AtomicU64,
    pub(crate) calls_skipped: AtomicU64,
    pub(crate) events_refused: AtomicU64,
    pub(crate) events_dropped: AtomicU64,
    pub(crate) events_replaced: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        // Relaxed: a statistic.
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
