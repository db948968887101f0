//! Finds waits that cross: threads that wait in pairs whose leads they hold for each other.
//!
//! A handler of pair A may call through pair B. If another thread leads B, the handler's thread
//! queues there, and receives nothing of A meanwhile. If that other thread is in a handler of B
//! which queues in A, neither would receive the other's answer: both would wait for ever.
//!
//! So each thread that queues enters a list of this process, before it sleeps or once it has spun
//! for long. A thread that finds itself on a cycle acts, until it has its answer:
//!
//! - The thread takes answers out of the inbox of the end in which it queues, its own among them.
//!   It leaves the answers behind the first event. This runs no code of the program.
//! - If that does not help for a while, the thread dispatches, nested, what has come to the end
//!   that it leads. So a call on which its own answer depends is served. And an event does not stay
//!   in the way of the answers behind it. [`NestingDelay`] says how long that while is.
//!
//! Threads that are not on a cycle wait as ever: the leader of their end goes on, sooner or later.
//!
//! Most other waits need no place in the list. A wait for space ends without help: a peer that
//! waits, too, moves what has arrived out of its ring (see [`space`](crate::end::space)). A thread
//! that closes has a deadline. Two kinds of waits are not seen here, and the program must avoid
//! them:
//!
//! - A handler that waits by other means, such as a mutex.
//! - A handler that runs another pair, for as long as that pair lives.
//!
//! # Why no cycle is missed, and none is seen that is not there
//!
//! A cycle is a row of threads, each asleep in an end that the next thread leads. Two kinds of
//! links make a cycle: "sleeps in", which changes under the lock of the list, and "leads", which
//! does not. But a thread changes what it leads only while it is awake. That is before the thread
//! enters the list, or after the thread has left the list. Entering and leaving take the lock. So
//! if a thread is found in the list, then what it led when it entered is seen: the lock orders the
//! two. And the thread still leads it. There is one exception: a thread may get the lead of the end
//! it queues in just before it leaves the list. Then the row goes from that thread to itself, and
//! is on the way to no other thread.
//!
//! Therefore a cycle is complete when the last of its threads enters. That thread finds all others
//! in the list, with the leads that they have, and notifies those on the cycle. What is found in
//! the list is a cycle at that moment. The cycle ends when one of its threads leaves the list.
//! `src/models/crossing.rs` checks with loom that the threads of a cycle learn of the cycle.
//!
//! The lock of the list is taken under no other lock. Under it, only parkers are notified, and no
//! code of the program runs.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::end::End;
use crate::sync::own::Own;
use crate::sync::parker::Parker;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, lock, thread_token};

/// Describes a thread that sleeps, or is about to, in an end that it does not lead.
struct Sleeping {
    thread: usize,
    end: Arc<End>,
    /// Notified when the thread is on a cycle, and when the cycle ends.
    parker: Arc<Parker>,
}

#[derive(Default)]
struct List {
    sleeping: Mutex<Vec<Sleeping>>,
    /// The number of waits on cycles that have ended with their answers.
    answered: AtomicUsize,
}

static LIST: Own<List> = Own::new();

/// Returns the way from a thread in the list back to itself, if the thread is on a cycle.
///
/// The way consists of the other threads on the cycle, and of the end that this thread leads.
fn way_back(list: &[Sleeping], thread: usize) -> Option<(Vec<&Sleeping>, &Arc<End>)> {
    let sleeping = |thread| list.iter().find(|sleeping| sleeping.thread == thread);
    let mut end = &sleeping(thread)?.end;
    let mut others = Vec::new();
    // A way that is longer than the list goes round a cycle that this thread is not on.
    while others.len() < list.len() {
        let leader = end.lead.leader();
        if leader == thread {
            return Some((others, end));
        }
        let next = sleeping(leader)?;
        others.push(next);
        end = &next.end;
    }
    None
}

/// Notifies the other threads on the cycle of this thread, if there is one: the cycle is complete
/// now, or ends.
fn tell_others(list: &[Sleeping]) {
    if let Some((others, _)) = way_back(list, thread_token()) {
        others.iter().for_each(|other| other.parker.notify());
    }
}

/// Enters one wait of a thread in the list, and leaves the list when this is dropped.
pub(crate) struct Crossing<'a> {
    end: &'a Arc<End>,
    parker: &'a Arc<Parker>,
    /// `true` while the thread is in the list.
    entered: Cell<bool>,
}

impl<'a> Crossing<'a> {
    /// Makes a wait of this thread, not yet in the list. `parker` is notified when the thread has
    /// to act.
    pub(crate) fn new(end: &'a Arc<End>, parker: &'a Arc<Parker>) -> Crossing<'a> {
        Crossing { end, parker, entered: Cell::new(false) }
    }

    /// Enters the list. Call this when this thread is about to sleep.
    pub(crate) fn enter(&self) {
        if self.entered.replace(true) {
            return;
        }
        let mut list = lock(&LIST.get().sleeping);
        list.push(Sleeping {
            thread: thread_token(),
            end: self.end.clone(),
            parker: self.parker.clone(),
        });
        tell_others(&list);
    }

    /// Leaves the list. Call this when this thread is about to run code of the program.
    pub(crate) fn leave(&self) {
        if !self.entered.replace(false) {
            return;
        }
        let left = {
            let mut list = lock(&LIST.get().sleeping);
            tell_others(&list);
            let at = list.iter().position(|sleeping| sleeping.thread == thread_token());
            at.map(|at| list.swap_remove(at))
        };
        // Not under the lock: dropping a reference to an end could run anything.
        drop(left);
    }

    /// Returns the end that this thread leads on its cycle, if this thread is on a cycle.
    pub(crate) fn led(&self) -> Option<Arc<End>> {
        if !self.entered.get() {
            return None;
        }
        let list = lock(&LIST.get().sleeping);
        way_back(&list, thread_token()).map(|(_, led)| led.clone())
    }
}

impl Drop for Crossing<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Decides when a thread on a cycle, which waits for its answer, dispatches at the end that it
/// leads.
///
/// Nesting is needed only where answers depend on it. Its depth is bounded, and calls beyond the
/// bound fail. Many calls that are relayed at once must not reach the bound. Their answers come one
/// by one: so a thread nests once no wait on a cycle has ended for a while. Other cycles may go on
/// all the time: so a thread nests after a longer while in any case.
///
/// The delay goes on if another thread leaves the cycle for a moment. The delay also goes on over
/// several waits of one handler, if each wait gives up before the delay has passed. The next wait
/// must follow soon.
#[derive(Clone, Copy)]
pub(crate) struct NestingDelay {
    /// The address of the end whose handler waits.
    end: usize,
    /// How deeply that handler is nested.
    depth: u32,
    /// When the delay began.
    start: Instant,
    /// Since when no wait on a cycle has ended.
    quiet: Instant,
    /// How many waits on cycles had ended by then.
    answered: usize,
    /// When a wait gave up last.
    gave_up: Instant,
}

thread_local! {
    /// The delay that the last wait of this thread on a cycle has left, if that wait gave up.
    static LAST: Cell<Option<NestingDelay>> = const { Cell::new(None) };
}

impl NestingDelay {
    /// A depth of nesting that programs reach without a chain of calls.
    const USUAL_DEPTH: u32 = 16;
    /// If a wait follows the last wait sooner than this, it goes on with the delay of that wait.
    const SOON: Duration = Duration::from_millis(100);

    /// Returns the delay of this thread, which leads `led`, in a handler that is nested `depth`
    /// deep.
    pub(crate) fn of(led: &Arc<End>, depth: u32) -> NestingDelay {
        let (now, end) = (Instant::now(), Arc::as_ptr(led).addr());
        let last = LAST.take().filter(|last| last.end == end && last.depth == depth);
        // Relaxed, here and below: a hint.
        let answered = LIST.get().answered.load(Ordering::Relaxed);
        last.filter(|last| now.saturating_duration_since(last.gave_up) < NestingDelay::SOON)
            .unwrap_or(NestingDelay { end, depth, start: now, quiet: now, answered, gave_up: now })
    }

    /// Tells other threads on cycles that this thread has its answer.
    pub(crate) fn note_answer(self) {
        LIST.get().answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the delay for the next wait: this wait ends without an answer.
    pub(crate) fn keep(self) {
        LAST.set(Some(NestingDelay { gave_up: Instant::now(), ..self }));
    }

    /// Returns `true` if this thread is to nest another handler.
    pub(crate) fn has_passed(&mut self) -> bool {
        let (now, answered) = (Instant::now(), LIST.get().answered.load(Ordering::Relaxed));
        if answered != self.answered {
            (self.quiet, self.answered) = (now, answered);
        }
        let millis = self.depth.saturating_sub(NestingDelay::USUAL_DEPTH).saturating_add(1);
        let while_quiet = Duration::from_millis(millis.into());
        let passed = |since| now.saturating_duration_since(since);
        passed(self.quiet) >= while_quiet || passed(self.start) >= while_quiet.saturating_mul(8)
    }
}

/// Returns how long a thread that has acted for `elapsed` sleeps before it looks again.
///
/// Such a sleep makes a wait longer by no more than about an eighth, or by the longest sleep.
pub(crate) fn next_sleep(elapsed: Duration) -> Duration {
    const SHORTEST: Duration = Duration::from_micros(50);
    const LONGEST: Duration = Duration::from_millis(10);
    elapsed.checked_div(8).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
}
