//! A handle for one event: its name, and what becomes of a value that cannot be sent at once.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::api::coprocess::Coprocess;
use crate::calls::ids::PendingEmitId;
use crate::end::End;
use crate::error::{Error, Result, Step};
use crate::send::gauges::Gauge;
use crate::send::outbox::WhenFull;
use crate::send::send_queue::Quota;
use crate::stats::Counters;
use crate::time::deadline::Deadline;
use crate::types::looked_at::Unnumbered;
use crate::wire::header::{Header, Subject};
use crate::wire::message::Message;

/// What becomes of an event while the other end is behind, by [`Event::backpressure`].
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// use coprocess::Backpressure;
///
/// let samples = co.event("samples").backpressure(Backpressure::DropNewest);
/// let temperature = co.event("temperature").backpressure(Backpressure::KeepLatest);
/// samples.emit([1, 2, 3])?;
/// temperature.emit(21.5)?;
/// # Ok::<(), coprocess::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backpressure {
    /// The emitter waits for room, as in [`Coprocess::emit`]: nothing is lost, and the slower end sets the pace.
    #[default]
    Wait,
    /// The emitter gets [`Error::Full`], as in [`Coprocess::try_emit`], and decides. It is counted in [`Stats::events_refused`](crate::Stats::events_refused).
    ///
    /// There is no room, either, while another thread is in the midst of sending. A value that the ring does not take at once is [`Error::TooLarge`].
    Fail,
    /// A value for which there is no room now is dropped, and counted in [`Stats::events_dropped`](crate::Stats::events_dropped).
    ///
    /// There is no room, either, while another thread is in the midst of sending. A value that the ring does not take at once is [`Error::TooLarge`].
    DropNewest,
    /// A gauge, where only the present value matters: the other end gets the next one when it has handled the former, and then the latest. One
    /// that was replaced meanwhile is counted in [`Stats::events_replaced`](crate::Stats::events_replaced).
    ///
    /// There is never more than one value on the way, whichever handles of this end emit it, so that a slow reader is behind by no more than
    /// one. A reader that has handled each before the next is emitted sees all. The last value arrives also if nothing is emitted after it: it
    /// is sent by whichever thread dispatches here, or by one of the library, and at the latest by [`Coprocess::close`], which does not wait
    /// until the former was handled.
    ///
    /// To emit never waits. Since a value may be sent later than it was emitted, other events and calls may overtake it.
    ///
    /// Once a value has to be kept, the library's thread dispatches here when no other does, as it does for futures and callbacks; in a
    /// worker function, too, that has not returned yet.
    KeepLatest,
}

/// A handle for one event of this end, by [`Coprocess::event`]: cheap to clone, usable from any thread.
///
/// It does not keep the pair open.
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// let tick = co.event("tick");
/// std::thread::spawn(move || {
///     while tick.emit(()).is_ok() {
///         std::thread::sleep(std::time::Duration::from_secs(1));
///     }
/// });
/// # Ok::<(), coprocess::Error>(())
/// ```
#[derive(Clone)]
pub struct Event {
    end: Arc<End>,
    name: Arc<str>,
    policy: Policy,
}

/// As [`Backpressure`], with what it takes.
#[derive(Clone)]
enum Policy {
    Wait,
    Fail,
    DropNewest,
    KeepLatest(Arc<Gauge>),
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.name)
            .field("backpressure", &self.policy())
            .finish_non_exhaustive()
    }
}

impl Coprocess {
    /// A handle for an event, with a choice of what becomes of values while the other end is behind. Without one, it waits as
    /// [`emit`](Self::emit) does.
    ///
    /// # Examples
    ///
    /// See [`Event`] and [`Backpressure`].
    pub fn event(&self, name: &str) -> Event {
        Event { end: self.end().clone(), name: name.into(), policy: Policy::Wait }
    }
}

impl Event {
    /// Chooses what becomes of a value that cannot be sent at once. Default: [`Backpressure::Wait`].
    ///
    /// All handles of one end that keep the latest value of one event are one gauge. It lives as long as the pair: its name should be one of
    /// few.
    ///
    /// # Examples
    ///
    /// See [`Backpressure`].
    #[must_use = "it returns the handle that does so"]
    pub fn backpressure(mut self, choice: Backpressure) -> Event {
        self.policy = match choice {
            Backpressure::Wait => Policy::Wait,
            Backpressure::Fail => Policy::Fail,
            Backpressure::DropNewest => Policy::DropNewest,
            // In a child of fork(2) nothing can be emitted, and the table may be locked for ever.
            Backpressure::KeepLatest if self.end.is_foreign() => Policy::Fail,
            Backpressure::KeepLatest => Policy::KeepLatest(self.end.gauges.get(&self.name)),
        };
        self
    }

    /// The name of the event.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// assert_eq!(co.event("tick").name(), "tick");
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn end(&self) -> &Arc<End> {
        &self.end
    }

    fn policy(&self) -> Backpressure {
        match self.policy {
            Policy::Wait => Backpressure::Wait,
            Policy::Fail => Backpressure::Fail,
            Policy::DropNewest => Backpressure::DropNewest,
            Policy::KeepLatest(_) => Backpressure::KeepLatest,
        }
    }

    /// Sends the event, or does with it what [`backpressure`](Self::backpressure) says.
    ///
    /// # Errors
    ///
    /// As [`Coprocess::emit`]. [`Error::Full`] besides, with [`Backpressure::Fail`]; and with [`Backpressure::KeepLatest`] [`Error::Os`]
    /// if the system refuses the background thread.
    ///
    /// # Examples
    ///
    /// See [`Event`].
    pub fn emit(&self, value: impl Serialize) -> Result<()> {
        self.end.check_own()?;
        let mut unnumbered = Unnumbered::default();
        let subject = match self.end.subject_of_event(
            &self.name,
            &value,
            self.when_full(),
            &mut unnumbered,
        ) {
            Ok(subject) => subject,
            Err(error) => return Ok(self.send_failed(error)?),
        };
        let send = |message: &mut Message<'_>| self.send(message);
        Ok(Message::new().deliver(
            self.header(subject),
            &value,
            self.end.settings.max_message,
            &self.name,
            send,
        )??)
    }

    /// As [`emit`](Self::emit), with these bytes as the value: see [`Coprocess::emit_bytes`].
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), without the errors of encoding.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # coprocess::init();
    /// # let co = coprocess::fork(|_| {})?;
    /// let frames = co.event("frame").backpressure(coprocess::Backpressure::DropNewest);
    /// frames.emit_bytes(&[0; 640])?;
    /// # Ok::<(), coprocess::Error>(())
    /// ```
    pub fn emit_bytes(&self, value: &[u8]) -> Result<()> {
        self.end.check_own()?;
        let send = |message: &mut Message<'_>| self.send(message);
        let header = self.header(Subject::Named(self.name.as_bytes()));
        Ok(Message::new().deliver_bytes(header, value, self.end.settings.max_message, send)??)
    }

    pub(crate) fn header<'m>(&self, subject: Subject<'m>) -> Header<'m> {
        match &self.policy {
            Policy::KeepLatest(gauge) => gauge.header(subject),
            _ => Header::Event(subject),
        }
    }

    /// Sends a message, for a task. Returns whether it is kept, and the task is to wait until it is sent.
    pub(crate) fn send_for_task(&self, message: &mut Message<'_>, id: PendingEmitId) -> Step<bool> {
        if matches!(self.policy, Policy::Wait) {
            return self.end.send_event(message, id);
        }
        self.send(message)?;
        Ok(false)
    }

    fn send(&self, message: &mut Message<'_>) -> Step<()> {
        let end = &self.end;
        match &self.policy {
            Policy::KeepLatest(gauge) => end.emit_gauge(gauge, message),
            _ => end.send(message, self.when_full()).or_else(|error| self.send_failed(error)),
        }
    }

    /// How long what is sent for the event waits for room.
    fn when_full(&self) -> WhenFull {
        match self.policy {
            Policy::Wait => WhenFull::Wait(Deadline::NEVER),
            Policy::Fail | Policy::DropNewest => WhenFull::Fail,
            Policy::KeepLatest(_) => WhenFull::Queue(Quota::Own),
        }
    }

    /// Does what the policy says about a value that was not sent.
    #[cold]
    fn send_failed(&self, error: Box<Error>) -> Step<()> {
        match self.policy {
            Policy::DropNewest if matches!(*error, Error::Full) => {
                Counters::add(&self.end.counters.events_dropped);
                return Ok(());
            }
            Policy::Fail => self.end.count_refused(&error),
            _ => {}
        }
        Err(error)
    }
}
