//! TODO end::unheard

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

/// The event that says that an end has registered its first handler.
const LISTENING: &str = "listening";

impl Message<'_> {
    /// Returns the error for an event that was not sent because of that.
    #[cold]
    pub(crate) fn unheard(&self, sent_types: &SentTypes) -> Box<Error> {
        // The name is never among what was not copied.
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
    /// Tells the other end, once, that this one has registered a handler.
    #[cold]
    pub(crate) fn announce(self: &Arc<Self>) {
        let mut message = Message::new();
        let header = Header::Event(Subject::Named(LISTENING.as_bytes()));
        // A courtesy: if the pair is over, the other end needs no notice. This thread must not wait:
        // the other end may be waiting for the handler.
        let sent = message
            .encode(header, &(), usize::MAX, LISTENING)
            .and_then(|()| self.send(&mut message, WhenFull::Queue(Quota::Own)));
        drop(sent);
    }

    /// Counts an event that no handler is registered for, and tells its sender.
    #[cold]
    pub(crate) fn count_unheard(&self) {
        Counters::add(&self.counters.events_unheard);
        // Relaxed: a statistic. Only the thread that leads gets here.
        self.watch.report_unheard(self.counters.events_unheard.load(Ordering::Relaxed));
    }

    /// Counts an event whose value is of another type than its handler takes, and tells its sender.
    #[cold]
    pub(crate) fn count_mistyped(&self) {
        Counters::add(&self.counters.events_mistyped);
        // Relaxed: as above.
        self.watch.report_mistyped(self.counters.events_mistyped.load(Ordering::Relaxed));
    }

    /// Counts an event whose value is not what its handler takes, and tells its sender.
    #[cold]
    pub(crate) fn count_undecodable(&self) {
        Counters::add(&self.counters.events_undecodable);
        // Relaxed: as above.
        self.watch.report_undecodable(self.counters.events_undecodable.load(Ordering::Relaxed));
    }
}
