//! Counts the events that no handler takes as they are, and tells their sender.
//!
//! The sender reads the counts in shared memory: a report sends no message and wakes no thread.
//! Only the leader counts, so no report takes back a later one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::end::End;
use crate::error::Error;
use crate::send::outbox::WhenFull;
use crate::send::send_queue::Quota;
use crate::stats::Counters;
use crate::types::sent_types::SentTypes;
use crate::wire::header::{Header, Subject, split};
use crate::wire::message::Message;

/// Names the event that says that an end has registered its first handler.
const LISTENING: &str = "listening";

impl Message<'_> {
    /// Returns the error for an event that was not sent since no handler hears it.
    #[cold]
    pub(crate) fn unheard(&self, sent_types: &SentTypes) -> Box<Error> {
        // The name is always in the part that was copied.
        let event = match split(self.words(), self.bytes) {
            Some((
                Header::Event(Subject::Named(name) | Subject::Described { name, .. })
                | Header::Introduce { name, .. },
                _,
            )) => String::from_utf8_lossy(name).into_owned(),
            Some((Header::Event(Subject::Known(number)), _)) => sent_types.name(number.number()),
            _ => String::new(),
        };
        Box::new(Error::Unheard { event })
    }
}

impl End {
    /// Tells the peer that this end has registered its first handler. Called once.
    #[cold]
    pub(crate) fn announce(self: &Arc<Self>) {
        let mut message = Message::new();
        let header = Header::Event(Subject::Named(LISTENING.as_bytes()));
        // A courtesy: if the pair is over, the peer needs no notice. This thread must not wait: the
        // peer may be waiting for the handler.
        let sent = message
            .encode(header, &(), usize::MAX, LISTENING)
            .and_then(|()| self.send(&mut message, WhenFull::Queue(Quota::Own)));
        drop(sent);
    }

    /// Counts an event that no handler is registered for, and tells its sender.
    #[cold]
    pub(crate) fn count_unheard(&self) {
        Counters::add(&self.counters.events_unheard);
        // Relaxed: a statistic. Only the leader gets here.
        self.watch.report_unheard(self.counters.events_unheard.load(Ordering::Relaxed));
    }

    /// Counts an event whose value is of another type than its handler takes, and tells its sender.
    #[cold]
    pub(crate) fn count_mistyped(&self) {
        Counters::add(&self.counters.events_mistyped);
        // Relaxed: as in `count_unheard`.
        self.watch.report_mistyped(self.counters.events_mistyped.load(Ordering::Relaxed));
    }

    /// Counts an event whose value is not what its handler takes, and tells its sender.
    #[cold]
    pub(crate) fn count_undecodable(&self) {
        Counters::add(&self.counters.events_undecodable);
        // Relaxed: as in `count_unheard`.
        self.watch.report_undecodable(self.counters.events_undecodable.load(Ordering::Relaxed));
    }
}
