//! Collects what an end has counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::end::End;
use crate::error::Error;
use crate::stats::{Counters, Stats};

impl End {
    /// Counts an event that was not sent, if the reason is that there was no space.
    #[cold]
    pub(crate) fn count_refused(&self, error: &Error) {
        if matches!(error, Error::Full) {
            Counters::add(&self.counters.events_refused);
        }
    }

    /// Returns what this end has counted.
    pub(crate) fn stats(&self) -> Stats {
        let sent = self.outbox.counters();
        let (messages_received, bytes_received, wakeups) = {
            let inbox = self.inbox();
            let (messages, bytes) = inbox.counters();
            (messages, bytes, inbox.wakeups())
        };
        let peer = self.watch.peer_report();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            messages_sent: sent.messages,
            bytes_sent: sent.bytes,
            messages_received,
            bytes_received,
            waits_for_room: sent.waits_for_space,
            sleeps: get(&self.counters.sleeps),
            wakeups_sent: sent.wakeups.wrapping_add(wakeups),
            events_unheard: get(&self.counters.events_unheard),
            events_undecodable: get(&self.counters.events_undecodable),
            events_mistyped: get(&self.counters.events_mistyped),
            events_mistyped_by_peer: peer.mistyped,
            events_unheard_by_peer: peer.unheard,
            events_undecodable_by_peer: peer.undecodable,
            event_panics: get(&self.counters.event_panics),
            answers_dropped: get(&self.counters.answers_dropped),
            calls_refused: get(&self.counters.calls_refused),
            events_refused: get(&self.counters.events_refused),
            events_dropped: get(&self.counters.events_dropped),
            events_replaced: get(&self.counters.events_replaced),
            cancels_sent: get(&self.peer_calls.served_later.counters.sent),
            cancels_received: get(&self.peer_calls.served_later.counters.received),
            cancels_ignored: get(&self.peer_calls.served_later.counters.ignored),
            calls_skipped: get(&self.counters.calls_skipped),
        }
    }
}
