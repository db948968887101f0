//! By when a call is to be answered, and how that travels: with the call to its handler, and on to the calls that the handler makes.
//!
//! What travels is the time that is left, so nothing is assumed of the other side's clock; whatever a hostile side says, it is a deadline for
//! what is done on its behalf.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    /// The deadline of the call that this thread serves.
    static CURRENT: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether that is the deadline of the handler that is about to begin.
    static NEXT: Cell<bool> = const { Cell::new(false) };
}

/// By when the call that this thread serves is to be answered: `None` outside of a handler, and if its caller has set no deadline.
///
/// A call that the handler makes meanwhile, to whichever pair, has this deadline, too, unless it is made with a timeout of its own: nobody is left to
/// wait for what it would bring. In futures of `serve_async` it is known wherever they run; in a thread that a handler starts it is not: hand it
/// over, or ask [`Reply::deadline`](crate::Reply::deadline).
///
/// The time that was left when the call was sent counts from when its handler starts: what the call has spent on its way comes on top.
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

/// When a call is to be answered, and how long that is from now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term {
    pub(crate) at: Instant,
    left: Duration,
}

impl Term {
    /// What is left until then.
    pub(crate) fn until(at: Instant) -> Term {
        Term { at, left: at.saturating_duration_since(Instant::now()) }
    }

    /// `None` if that is beyond the end of the clock.
    pub(crate) fn after(left: Duration) -> Option<Term> {
        Instant::now().checked_add(left).map(|at| Term { at, left })
    }

    /// The earlier of what `timeout` allows and what is left for the call that this thread serves.
    #[inline]
    pub(crate) fn of_a_call(timeout: Option<Duration>) -> Option<Term> {
        match (timeout, CURRENT.get()) {
            (None, None) => None,
            (timeout, inherited) => Term::earlier(timeout.and_then(Term::after), inherited),
        }
    }

    #[cold]
    fn earlier(own: Option<Term>, inherited: Option<Instant>) -> Option<Term> {
        match (own, inherited) {
            (Some(own), Some(at)) if own.at <= at => Some(own),
            (_, Some(at)) => Some(Term::until(at)),
            (own, None) => own,
        }
    }

    /// What the other end is told.
    pub(crate) fn micros(self) -> u64 {
        u64::try_from(self.left.as_micros()).unwrap_or(u64::MAX)
    }
}

/// When a call that says how much time is left is to be answered. `None`: so late that it does not matter.
pub(crate) fn deadline_within(micros: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_micros(micros))
}

/// This thread serves a call with this deadline, until this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    outer: Option<Instant>,
}

impl Serving {
    pub(crate) fn by(deadline: Option<Instant>) -> Serving {
        Serving { outer: CURRENT.replace(deadline) }
    }

    /// The call that is dispatched next has this deadline.
    pub(crate) fn next(deadline: Option<Instant>) -> Next {
        NEXT.set(true);
        Next { _serving: Serving::by(deadline) }
    }

    /// A handler begins. What is dispatched while another one waits is no part of the call that the other one serves.
    #[inline]
    pub(crate) fn begin() -> Option<Serving> {
        if CURRENT.get().is_some() { Serving::begin_amid() } else { None }
    }

    #[cold]
    fn begin_amid() -> Option<Serving> {
        if NEXT.take() { None } else { Some(Serving::by(None)) }
    }
}

/// The call that is dispatched next has a deadline, until this is dropped.
#[derive(Debug)]
pub(crate) struct Next {
    _serving: Serving,
}

impl Drop for Next {
    fn drop(&mut self) {
        // Its method may be unknown, or its deadline none.
        NEXT.set(false);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}
