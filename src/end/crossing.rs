//! Waits that cross: threads that wait in pairs whose leads they hold for each other.
//!
//! A handler of pair A may call through pair B. If another thread leads B, the handler's thread
//! queues there, and receives nothing of A meanwhile. If that other thread is in a handler of B
//! which queues in A, neither would receive the other's answer: both would wait for ever.
//!
//! So each thread that queues enters a list of this process, before it sleeps or once it has spun
//! for long. A thread that finds itself on a cycle acts, until it has its answer:
//!
//! - It takes answers out of the inbox of the end in which it queues, its own among them, as far as
//!   no event comes before them. That runs no code of the program.
//! - If that does not help for a while, it dispatches, nested, what has come to the end that it
//!   leads. So a call on which its own answer depends is served, and an event does not stay in the
//!   way of the answers behind it. How long that is: see [`Patience`].
//!
//! Threads that are not on a cycle wait as ever: the leader of their end goes on, sooner or later.
//!
//! Most other waits need no place in the list. A wait for room ends without help: a peer that waits
//! itself moves what has arrived out of its ring (see `room`). A thread that closes has a deadline.
//! Two kinds of waits are not seen here, and the program must avoid them: a handler that waits by
//! other means, such as a mutex; and a handler that runs another pair, for as long as that one
//! lives.
//!
//! # Why no cycle is missed, and none is seen that is not there
//!
//! A cycle is a row of threads, each asleep in an end that the next one leads. Two kinds of links
//! make it: "sleeps in", which changes under the lock of the list, and "leads", which does not. But
//! a thread changes what it leads only while it is awake, which is before it enters the list or
//! after it has left it. Entering and leaving take the lock, so if a thread is found in the list,
//! then what it led when it entered is seen (the lock orders the two), and still holds. There is
//! one exception: a thread may get the lead of the end it queues in just before it leaves the
//! list. Then the row goes from that thread to itself, and is on the way to no other thread.
//!
//! Therefore a cycle is complete when the last of its threads enters. That thread finds all others
//! in the list, with the leads that they have. It tells the others on the cycle. What is found in
//! the list is a cycle at that moment; it ends when one of its threads leaves the list.
//! `src/models/crossing.rs` checks with loom that the threads of a cycle learn of it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::end::End;
use crate::sync::own::Own;
use crate::sync::parker::Parker;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, lock, thread_token};

/// A thread that sleeps, or is about to, in an end that it does not lead.
struct Sleeping {
    thread: usize,
    end: Arc<End>,
    /// What tells the thread that it is on a cycle.
    parker: Arc<Parker>,
}

#[derive(Default)]
struct List {
    sleeping: Mutex<Vec<Sleeping>>,
    /// How many waits on cycles have ended with their answers.
    answered: AtomicUsize,
}

static LIST: Own<List> = Own::new();

/// The way from a thread in the list back to itself: the threads on it, without the first, and the
/// end at its end, which the first thread leads.
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

/// Tells the other threads on the cycle of this thread, if there is one, that it is now, or ends.
fn tell_others(list: &[Sleeping]) {
    if let Some((others, _)) = way_back(list, thread_token()) {
        others.iter().for_each(|other| other.parker.notify());
    }
}

/// One thread's wait in an end, for the list.
pub(crate) struct Crossing<'a> {
    end: &'a Arc<End>,
    parker: &'a Arc<Parker>,
    /// Whether the thread is in the list.
    entered: Cell<bool>,
}

impl<'a> Crossing<'a> {
    /// A wait of this thread, not yet in the list. `parker` tells the thread that it has to act.
    pub(crate) fn new(end: &'a Arc<End>, parker: &'a Arc<Parker>) -> Crossing<'a> {
        Crossing { end, parker, entered: Cell::new(false) }
    }

    /// Enters the list: this thread is about to sleep.
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

    /// Leaves the list: this thread is about to run code of the program.
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
        // Dropping a reference to an end under the lock could run anything.
        drop(left);
    }

    /// If this thread is on a cycle, returns the end on it that this thread leads.
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

/// How long a thread on a cycle waits for its answer before it dispatches at the end that it leads.
///
/// Nesting is only needed where answers depend on it, and is bounded, beyond which calls fail. Many
/// calls that are relayed at once must not reach that bound. Their answers come one by one: so a
/// thread nests once no wait on a cycle has ended for a while. Other cycles may go on all the time:
/// so it nests after a longer while in any case.
///
/// It goes on where another thread leaves the cycle for a moment, and over several waits of one
/// handler, if each gives up before it is over and the next one follows soon.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// Whose handler waits, and how deeply it is nested.
    led: usize,
    depth: u32,
    start: Instant,
    /// Since when no wait has ended, and how many had by then.
    quiet: Instant,
    answered: usize,
    /// When a wait gave up.
    used: Instant,
}

thread_local! {
    /// What the last wait of this thread on a cycle has left, if it ended in vain.
    static LAST: Cell<Option<Patience>> = const { Cell::new(None) };
}

impl Patience {
    /// A depth of nesting that programs reach without a chain of calls.
    const USUAL: u32 = 16;
    /// A wait that follows the last one sooner goes on with it.
    const SOON: Duration = Duration::from_millis(100);

    /// Makes the one of this thread, which leads this end, in a handler that is nested so deeply.
    pub(crate) fn of(led: &Arc<End>, depth: u32) -> Patience {
        let (now, led) = (Instant::now(), Arc::as_ptr(led).addr());
        let last = LAST.take().filter(|last| last.led == led && last.depth == depth);
        // Relaxed, as below: a hint.
        let answered = LIST.get().answered.load(Ordering::Relaxed);
        last.filter(|last| now.saturating_duration_since(last.used) < Patience::SOON)
            .unwrap_or(Patience { led, depth, start: now, quiet: now, answered, used: now })
    }

    /// Tells other threads on cycles that this one has its answer.
    pub(crate) fn end(self) {
        LIST.get().answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps it for the next wait: this one ends without an answer.
    pub(crate) fn keep(self) {
        LAST.set(Some(Patience { used: Instant::now(), ..self }));
    }

    /// Returns `true` if this thread is to nest another handler.
    pub(crate) fn is_over(&mut self) -> bool {
        let (now, answered) = (Instant::now(), LIST.get().answered.load(Ordering::Relaxed));
        if answered != self.answered {
            (self.quiet, self.answered) = (now, answered);
        }
        let millis = self.depth.saturating_sub(Patience::USUAL).saturating_add(1);
        let while_quiet = Duration::from_millis(millis.into());
        let passed = |since| now.saturating_duration_since(since);
        passed(self.quiet) >= while_quiet || passed(self.start) >= while_quiet.saturating_mul(8)
    }
}

/// How long a thread that has acted for `elapsed` sleeps before it looks again: so that a wait gets
/// longer by no more than about an eighth, or by the longest pause.
pub(crate) fn pause(elapsed: Duration) -> Duration {
    const SHORTEST: Duration = Duration::from_micros(50);
    const LONGEST: Duration = Duration::from_millis(10);
    elapsed.checked_div(8).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
}
