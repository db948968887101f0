//! By when a call is to be answered, and how that travels: with the call to its handler, and on to the calls that the handler makes.
//!
//! What travels is the moment, by the [clock of the host](crate::clock): however long a call is on its way, or waits for its turn, what is left of its time is
//! what is left of it for its caller. Whatever a hostile side says, it is a deadline for what is done on its behalf.

use std::cell::Cell;
use std::time::{Duration, Instant};

pub(crate) fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|at| Instant::now() >= at)
}

pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

thread_local! {
    /// The deadline of the call that this thread serves.
    static CURRENT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// By when the call that this thread serves is to be answered: `None` outside of a handler, and if its caller has set no deadline.
///
/// A call that the handler makes meanwhile, to whichever pair, has this deadline, too, unless it is made with a timeout of its own: nobody is left to
/// wait for what it would bring. In futures of `serve_async` it is known wherever they run; in a thread that a handler starts it is not: hand it
/// over, or ask [`Reply::deadline`](crate::Reply::deadline).
///
/// What the call has spent on its way is no part of what is left: it is the caller's own deadline.
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

/// By when a call is to be answered: the earlier of what `timeout` allows, and the deadline of the call that this thread serves.
#[inline]
pub(crate) fn of_a_call(timeout: Option<Duration>) -> Option<Instant> {
    match (timeout, CURRENT.get()) {
        (None, None) => None,
        (timeout, inherited) => {
            earlier(timeout.and_then(|timeout| Instant::now().checked_add(timeout)), inherited)
        }
    }
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

    /// A handler begins, which serves a call with this deadline, or no call. A message that is dispatched
    /// while a handler waits is no part of the call that the handler serves.
    #[inline]
    pub(crate) fn begin(deadline: Option<Instant>) -> Option<Serving> {
        if deadline.is_some() || CURRENT.get().is_some() {
            Some(Serving::by(deadline))
        } else {
            None
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}
