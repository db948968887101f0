//! The handle of one event: its name, and what becomes of a value that cannot be sent at once.

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

/// What becomes of an event while the peer is behind: the choice of [`Event::backpressure`].
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
    /// The sender waits for space, as in [`Coprocess::emit`]. Nothing is lost, and the slower end
    /// sets the pace.
    #[default]
    Wait,
    /// The sender gets [`Error::Full`], as in [`Coprocess::try_emit`], and decides.
    ///
    /// [`Stats::events_refused`](crate::Stats::events_refused) counts the value. While another
    /// thread is sending, the ring has no space, either. If the ring does not take a value at once,
    /// that is [`Error::TooLarge`].
    Fail,
    /// A value for which the ring has no space now is dropped.
    ///
    /// [`Stats::events_dropped`](crate::Stats::events_dropped) counts the value. While another
    /// thread is sending, the ring has no space, either. If the ring does not take a value at once,
    /// that is [`Error::TooLarge`].
    DropNewest,
    /// The event is a gauge: only its present value matters. Once the peer has handled a value, the
    /// peer gets the latest one.
    ///
    /// A value that a later one replaces is not sent.
    /// [`Stats::events_replaced`](crate::Stats::events_replaced) counts it.
    ///
    /// - Never more than one value is on the way, whichever handles of this end emit it. So a slow
    ///   reader is behind by at most one value.
    /// - If a reader handles each value before the next is emitted, the reader sees all values.
    /// - The last value arrives even if nothing is emitted after it. A thread that dispatches at
    ///   this end sends it, or a thread of the library. At the latest, [`Coprocess::close`] sends
    ///   it, without waiting until the former value was handled.
    /// - Emitting never blocks.
    /// - A value may be sent later than it was emitted. So other events and calls may overtake it.
    ///
    /// Once a value has to be kept and no other thread dispatches, the driver does, as for futures
    /// and callbacks: also in a worker function that has not returned yet.
    KeepLatest,
}

/// The handle of one event at this end, by [`Coprocess::event`].
///
/// An `Event` is cheap to clone, and usable from any thread. It does not keep the pair open.
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

/// The [`Backpressure`], with what it needs.
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
    /// Returns a handle of an event.
    ///
    /// With [`Event::backpressure`], the handle says what becomes of values while the peer is
    /// behind. By default it waits, as [`emit`](Self::emit) does.
    ///
    /// # Examples
    ///
    /// See [`Event`] and [`Backpressure`].
    pub fn event(&self, name: &str) -> Event {
        Event { end: self.end().clone(), name: name.into(), policy: Policy::Wait }
    }
}

impl Event {
    /// Sets what becomes of a value that cannot be sent at once. Default: [`Backpressure::Wait`].
    ///
    /// All handles of one end that keep the latest value of one event share one gauge. A gauge
    /// lives as long as the pair, so use few names for gauges.
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
            // In a child of fork(2), nothing can be emitted, and the table may be locked for ever.
            Backpressure::KeepLatest if self.end.is_foreign() => Policy::Fail,
            Backpressure::KeepLatest => Policy::KeepLatest(self.end.gauges.get(&self.name)),
        };
        self
    }

    /// Returns the name of the event.
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

    /// Sends the event, or does with the value what [`backpressure`](Self::backpressure) says.
    ///
    /// # Blocking
    ///
    /// With [`Backpressure::Wait`], as [`Coprocess::emit`]. Otherwise does not block.
    ///
    /// # Errors
    ///
    /// - As [`Coprocess::emit`].
    /// - [`Error::Full`], with [`Backpressure::Fail`]: the ring has no space now.
    /// - [`Error::TooLarge`], with [`Backpressure::Fail`] and [`Backpressure::DropNewest`], also if
    ///   the ring does not take the value at once.
    /// - [`Error::Os`], with [`Backpressure::KeepLatest`]: the system refuses the driver's thread.
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

    /// Sends the event as [`emit`](Self::emit) does, with `value` as the bytes of its value.
    ///
    /// See [`Coprocess::emit_bytes`].
    ///
    /// # Blocking
    ///
    /// As [`emit`](Self::emit).
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

    /// Sends a message for a task. Returns `true` if the message is kept, and the task has to wait
    /// until it is sent.
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

    /// Returns what becomes of a message for the event while the ring has no space.
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
