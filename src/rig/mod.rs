//! Two ends in one thread, with a clock that the test moves: a test decides what happens next.
//!
//! No process, no other thread and no time is involved: nothing is received until a test
//! [steps](Rig::step) an end. So a test can say exactly in which order things happen, and which
//! deadline has passed when. What is about processes, sleeps or wake-ups is tested in `tests/`.
//!
//! A step takes one message. A call of the test must not wait for an answer: no other thread would
//! send it. If a message is queued since the ring is full, the library starts a thread that sends
//! it. So what is queued for space is tested in `tests/`, too.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coprocess_ring::{Backend, Segment, Side, WaitStrategy, Wakeup};

use crate::Coprocess;
use crate::end::End;
use crate::end::desk::Desk;
use crate::end::poll::Dispatched;
use crate::settings::{Settings, TypeCheck};
use crate::sync::lock;
use crate::time::VirtualClock;
use crate::time::deadline::Deadline;

mod backpressure;
mod cancels;
mod closing;
mod deadlines;
mod order;
mod types;

/// Slots of each of the two rings.
const SLOTS: usize = 64;

/// A pair of ends that one thread steps.
struct Rig {
    parent: Coprocess,
    worker: Coprocess,
    clock: VirtualClock,
    /// Keeps the memory of the two rings.
    _segment: Segment,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(|_| {})
    }

    /// Creates a pair with other settings than the usual ones.
    fn with(change: impl FnOnce(&mut Settings)) -> Rig {
        let mut settings = Settings {
            max_message: 1 << 20,
            strategy: WaitStrategy::Block,
            call_timeout: None,
            close_timeout: Duration::ZERO,
            max_calls_in_flight: u32::MAX,
            max_calls_served: u32::MAX,
            check_types: TypeCheck::Always,
        };
        change(&mut settings);
        let clock = VirtualClock::stop();
        let bytes = 2 * SLOTS * 128;
        let (region, segment) =
            Segment::create(Backend::Memfd, Wakeup::Futex, bytes).expect("memory");
        let end = |side| {
            let end = End::new(&region, side, std::process::id(), settings);
            // No thread of the library receives: the test does.
            end.driver.started.store(true, Ordering::Relaxed);
            Coprocess::new(end)
        };
        let (parent, worker) = (end(Side::Parent), end(Side::Worker));
        Rig { parent, worker, clock, _segment: segment }
    }

    /// Has an end take one message, and before it what introduces types. Returns whether there was
    /// a message.
    fn step(end: &Coprocess) -> bool {
        let end = end.end();
        let leader = end.try_lead().expect("no other thread leads");
        let mut desk = Desk::new();
        loop {
            match end.dispatch(&leader, &mut desk, 1, Deadline::NEVER).expect("an honest peer") {
                Dispatched { taken: 0, .. } => return false,
                Dispatched { counted: 0, .. } => {}
                Dispatched { .. } => return true,
            }
        }
    }

    /// Has the parent's end take messages until there are none.
    fn settle_parent(&self) {
        while Rig::step(&self.parent) {}
    }

    /// Has both ends take messages until there are none.
    fn settle(&self) {
        while Rig::step(&self.parent) | Rig::step(&self.worker) {}
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: impl Into<String>) {
        lock(&self.0).push(what.into());
    }

    /// Returns what has happened since the last look.
    #[track_caller]
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0))
    }

    /// Has the values of an event noted.
    fn listen(&self, end: &Coprocess, event: &'static str) {
        let journal = self.clone();
        end.listen(event, move |value: u32| journal.note(format!("{event} {value}")));
    }

    /// Has the calls of a method noted, and answered by their argument.
    fn serve(&self, end: &Coprocess, method: &'static str) {
        let journal = self.clone();
        end.serve(method, move |value: u32| {
            journal.note(format!("{method} {value}"));
            value
        });
    }

    /// Calls a method, and has its result noted.
    fn call(&self, end: &Coprocess, method: &'static str, value: u32) {
        let journal = self.clone();
        end.call_with(method, value, move |result: crate::Result<u32>| {
            journal.note(match result {
                Ok(result) => format!("{method} gives {result}"),
                Err(error) => format!("{method} fails: {error}"),
            });
        })
        .expect("sent");
    }
}
