//! Counters of an end.

use std::sync::atomic::{AtomicU64, Ordering};

/// Plain counters of one end since its start, by [`Coprocess::stats`](crate::Coprocess::stats).
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
    /// Messages sent: calls, events, answers, and the receipts for events of which the latest is
    /// kept. What the library says of types is in none of these counts.
    pub messages_sent: u64,
    /// Bytes of these, names and numbers included.
    pub bytes_sent: u64,
    /// Messages taken out of the ring.
    pub messages_received: u64,
    /// Bytes of these.
    pub bytes_received: u64,
    /// How often a sender found the ring full and could not send at once.
    pub waits_for_room: u64,
    /// How often a thread of this end went to sleep in the kernel to wait for the other side.
    pub sleeps: u64,
    /// System calls made to wake the other side.
    pub wakeups_sent: u64,
    /// Events that came while nobody listened.
    pub events_unheard: u64,
    /// Events that did not decode as what their listener takes.
    pub events_undecodable: u64,
    /// Events whose values were of another type than their listener takes: they were not handled.
    pub events_mistyped: u64,
    /// Events of this end that the other end has not handled because their values were of another
    /// type. The other end reports this number, which is its own `events_mistyped`.
    pub events_mistyped_by_peer: u64,
    /// Events of this end that the other end has dropped because it had no handler for them. The
    /// other end reports this number, which is its own `events_unheard`. The event
    /// [`"listening"`](crate::Coprocess::listen), which the library sends, is one of them.
    ///
    /// An event that was sent and not received yet is in no count. A call that is made after the
    /// event is answered once the event was handled or dropped.
    pub events_unheard_by_peer: u64,
    /// Events of this end whose values the other end could not decode as what its handlers take.
    /// The other end reports this number, which is its own `events_undecodable`.
    pub events_undecodable_by_peer: u64,
    /// Panics in listeners and callbacks, and of results when they are dropped.
    pub event_panics: u64,
    /// Answers that came too late, or to no call of this end.
    pub answers_dropped: u64,
    /// Calls of the other end that were refused: [`Builder::max_calls_served`](crate::Builder::max_calls_served) others were not answered yet.
    pub calls_refused: u64,
    /// Events that were not sent for want of room, of which the emitter was told: [`Backpressure::Fail`](crate::Backpressure::Fail) and
    /// [`try_emit`](crate::Coprocess::try_emit).
    pub events_refused: u64,
    /// Events that were not sent for want of room: [`Backpressure::DropNewest`](crate::Backpressure::DropNewest).
    pub events_dropped: u64,
    /// Events that were not sent since a later one has replaced them: [`Backpressure::KeepLatest`](crate::Backpressure::KeepLatest).
    pub events_replaced: u64,
    /// Calls of this end that were given up, as far as the other end was told: there must have been room for that.
    pub cancels_sent: u64,
    /// Calls that the other end says it has given up.
    pub cancels_received: u64,
    /// Those of them that came to nothing: their calls were answered already, as all are that [`serve`](crate::Coprocess::serve) has begun with, were dropped at their
    /// deadline, or not served, or were never made.
    pub cancels_ignored: u64,
    /// Calls of the other end that were not served, since they had been given up, or their deadline had passed, before it was their turn.
    pub calls_skipped: u64,
}

/// The counters that are not kept by what they count.
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
