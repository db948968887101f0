//! The moment at which a wait ends, and how the deadline of a call travels.
//!
//! A call takes its deadline along to its handler, and on to the calls that the handler makes. What
//! travels is the moment, by the [clock of the host](crate::time::host_clock). So the time that a
//! call spends on its way, or until its turn, is part of the time that its caller allows. A hostile
//! peer may say any moment: it limits only what is done for that peer.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::time::now;

/// The moment at which a wait ends, or [`NEVER`](Self::NEVER).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// The wait does not end by itself.
    pub(crate) const NEVER: Deadline = Deadline(None);

    /// Returns the deadline that is `timeout` from now: never, if the clock does not go so far.
    #[inline]
    pub(crate) fn after(timeout: Duration) -> Deadline {
        Deadline(now().checked_add(timeout))
    }

    /// Returns the deadline of a call: the earlier of what `timeout` allows, and the deadline of the
    /// call that this thread serves.
    #[inline]
    pub(crate) fn of_a_call(timeout: Option<Duration>) -> Deadline {
        match (timeout, CURRENT.get()) {
            (None, None) => Deadline::NEVER,
            (None, inherited) => Deadline(inherited),
            (Some(timeout), inherited) => Deadline::after(timeout).earlier(Deadline(inherited)),
        }
    }

    /// Returns `true` once the deadline has passed.
    #[inline]
    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|at| now() >= at)
    }

    /// Returns the earlier of two deadlines.
    #[inline]
    pub(crate) fn earlier(self, other: Deadline) -> Deadline {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Deadline(Some(a.min(b))),
            (a, b) => Deadline(a.or(b)),
        }
    }

    /// Returns the deadline as a moment: `None` for never.
    #[inline]
    pub(crate) fn instant(self) -> Option<Instant> {
        self.0
    }

    /// Returns the time that is left: `None` for never.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(now()))
    }
}

impl From<Instant> for Deadline {
    fn from(at: Instant) -> Deadline {
        Deadline(Some(at))
    }
}

impl From<Option<Instant>> for Deadline {
    fn from(at: Option<Instant>) -> Deadline {
        Deadline(at)
    }
}

thread_local! {
    /// The deadline of the call that this thread serves.
    static CURRENT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Returns the deadline of the call that this thread serves: `None` outside of a handler, and if the
/// caller has set no deadline.
///
/// A call that the handler makes meanwhile, to any worker or to the parent, has this deadline, too,
/// unless the handler gives that call a timeout of its own. After the deadline no caller waits for
/// what the call would bring.
///
/// In futures of `serve_async` the deadline is known wherever they run. In a thread that a handler
/// starts it is not known: hand it over, or ask [`Reply::deadline`](crate::Reply::deadline).
///
/// The time that the call has spent on its way counts: the deadline is the caller's own.
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// co.serve("search", |question: String| {
///     let mut best = None;
///     for round in 1.. {
///         best = Some((round, question.len()));
///         if coprocess::current_deadline().is_none_or(|at| std::time::Instant::now() >= at) {
///             break; // as good as it gets
///         }
///     }
///     best
/// });
/// # Ok::<(), coprocess::Error>(())
/// ```
pub fn current_deadline() -> Option<Instant> {
    CURRENT.get()
}

/// Makes this thread serve a call with a deadline, until it is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    outer: Option<Instant>,
}

impl Serving {
    /// Makes `deadline` the deadline of the call that this thread serves.
    pub(crate) fn by(deadline: Deadline) -> Serving {
        Serving { outer: CURRENT.replace(deadline.0) }
    }

    /// Makes `deadline` that of the handler that begins. Returns `None` if there is nothing to
    /// change.
    ///
    /// A message that is dispatched while a handler waits is no part of the call that the handler
    /// serves. So the deadline of an outer handler does not apply to it.
    #[inline]
    pub(crate) fn begin(deadline: Deadline) -> Option<Serving> {
        let changes = deadline != Deadline::NEVER || CURRENT.get().is_some();
        changes.then(|| Serving::by(deadline))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}
