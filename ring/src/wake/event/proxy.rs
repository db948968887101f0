//! Wake-ups between two processes that have an event each, and no futex.
//!
//! An event is a POSIX mutex and a condition in shared memory. Neither survives the death of a process that is inside: who enters it next
//! waits for ever. So no thread of the program enters one. Each side has two threads of its own for that, which may be lost:
//!
//! ```text
//!   this process                                   shared            the other process
//!   waker    → asks →  ringer                    → event →           listener → lot → sleeper
//!   sleeper  ← lot  ←  listener                  ← event ←           ringer   ← asks  ← waker
//! ```
//!
//! The sleepers sleep in the [`Lot`], with deadlines of the monotonic clock, and threads of the same process wake them there. The marks that a
//! waker has taken off a bell go into the word `rung` beside the event before it is set, so that the listener knows whom to wake: an event
//! is binary, and any number of settings may become one.
//!
//! An event is set only for a side that sleeps, as its mark says, and lives, as its process descriptor says. It is waited for in whole seconds: the
//! package forgets the carry when it adds a time to the present one, so that the end of a wait of half a second is, half the time, no
//! time at all, and the wait over at once.
//!
//! If the other process dies inside an event that this one is about to enter, the thread that does is stuck. Everything else goes on: that the
//! other side has died comes from its process descriptor. When the pair is given up, a third thread frees the stuck ones, as far as opening
//! the mutex in place of the dead does it; where it does not, since the condition has lost count of its waiters, too, they are lost, and with
//! them the memory of the pair, until this process ends.

use std::fmt;
use std::ops::Deref;
#[cfg(not(loom))]
use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::time::Duration;
use std::time::Instant;

#[cfg(not(loom))]
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

#[cfg(not(loom))]
use crate::error::SegmentError;
use crate::shm::memory::Backing;
use crate::side::Side;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::wake::doorbell_id::Place;
use crate::wake::event::raw_event::Event;
use crate::wake::event::waiters::Lot;
use crate::wake::wait_end::Ended;

/// The longest wait for an event: how soon the listener of a pair that is no more finds out, if it cannot be told; and how late a wake-up is that the C
/// library has lost, as glibc could before 2.41.
#[cfg(not(loom))]
const SLICE_SECONDS: u64 = 1;
/// What a wait is made to take that has failed at once.
#[cfg(not(loom))]
const PAUSE: Duration = Duration::from_millis(1);
/// How often stuck threads are freed before they are given up.
#[cfg(not(loom))]
const ATTEMPTS: usize = 5;

/// What the ringer is asked for.
#[derive(Debug, Default)]
struct Wanted {
    ring: bool,
    stop: bool,
}

/// By what it is known that the other side has ended.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Other {
    /// Readable then, if there is one: the process that was started, or has started this one.
    pub(crate) process: Option<OwnedFd>,
    /// Hung up then: the process at its other end may be another, behind a wrapper.
    pub(crate) lifeline: OwnedFd,
}

/// What the threads and the handles of one side share.
pub(crate) struct Exchange {
    lot: Lot,
    wanted: Mutex<Wanted>,
    asked: Condvar,
    side: Side,
    ours: Event,
    theirs: Event,
    /// By what it is known that the other side has ended.
    #[cfg(not(loom))]
    other: std::sync::OnceLock<Other>,
    /// What the events lie in.
    backing: Arc<Backing>,
}

impl Exchange {
    pub(crate) fn new(backing: Arc<Backing>, side: Side, ours: Event, theirs: Event) -> Exchange {
        Exchange {
            lot: Lot::new(),
            wanted: Mutex::new(Wanted::default()),
            asked: Condvar::new(),
            side,
            ours,
            theirs,
            #[cfg(not(loom))]
            other: std::sync::OnceLock::new(),
            backing,
        }
    }

    /// The marks that were taken off the bell at `place`.
    #[expect(clippy::indexing_slicing, reason = "there are four places, and four words")]
    pub(crate) fn rung(&self, place: Place) -> &AtomicU32 {
        &self.backing.events().rung[place.index()].word
    }

    pub(crate) fn wait(&self, place: Place, word: &AtomicU32, mark: u32, deadline: Option<Instant>) -> Ended {
        self.lot.wait(place, word, mark, deadline)
    }

    pub(crate) fn wake_own(&self, place: Place, mark: u32) -> usize {
        self.lot.wake(place, mark)
    }

    pub(crate) fn wake_other(&self, place: Place, marks: u32) {
        // Release: pairs with the Acquire in `deliver`, although what was published is ordered by the fences of the bell already.
        self.rung(place).fetch_or(marks, Ordering::Release);
        self.ask_to_ring();
    }

    pub(crate) fn ask_to_ring(&self) {
        self.ask(|wanted| wanted.ring = true);
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, what: impl FnOnce(&mut Wanted)) {
        what(&mut self.wanted());
        self.asked.notify_one();
    }

    /// One round of the ringer. Returns false if it was the last.
    pub(crate) fn ring_once(&self) -> bool {
        let mut wanted = self.wanted();
        while !wanted.ring && !wanted.stop {
            wanted = self.asked.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
        let stop = wanted.stop;
        let ring = std::mem::take(&mut wanted.ring);
        drop(wanted);
        if ring && self.other_lives() {
            self.theirs.set();
        }
        if stop {
            // The listener finds out sooner.
            self.ours.set();
        }
        !stop
    }

    /// What the listener does when it was woken.
    pub(crate) fn deliver(&self) {
        for place in [Place::data(self.side.incoming()), Place::room(self.side.outgoing())] {
            // Acquire: pairs with the Release in `wake_other`.
            let marks = self.rung(place).swap(0, Ordering::Acquire);
            if marks != 0 {
                self.lot.wake(place, marks);
            }
        }
    }

    /// One round of the listener.
    #[cfg(loom)]
    pub(crate) fn listen_once(&self) {
        self.ours.wait();
        self.deliver();
    }

    #[cfg(loom)]
    fn other_lives(&self) -> bool {
        true
    }

    /// Says by what the end of the other side is known.
    #[cfg(not(loom))]
    pub(crate) fn mind(&self, other: Other) {
        // The first is as good as any other.
        let _ = self.other.set(other);
    }

    /// Lets the two threads end: from now on nothing is waited for or rung for but by who is told in this process.
    pub(crate) fn stop(&self) {
        self.ask(|wanted| wanted.stop = true);
    }

    /// Frees the threads that are stuck where the other process has died.
    #[cfg(not(loom))]
    fn free(self: &Arc<Self>) {
        for _ in 0..ATTEMPTS {
            self.ours.free();
            self.theirs.free();
            std::thread::sleep(PAUSE);
            // One is this thread's.
            if Arc::strong_count(self) == 1 {
                return;
            }
        }
    }

    #[cfg(not(loom))]
    fn is_stopping(&self) -> bool {
        self.wanted().stop
    }

    #[cfg(not(loom))]
    fn other_lives(&self) -> bool {
        let Some(other) = self.other.get() else { return true };
        // Nothing is asked for of the socket: it tells by itself that it is hung up. What can be read from it is of no interest.
        let lifeline = PollFd::new(other.lifeline.as_fd(), PollFlags::empty());
        let process = other.process.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        let mut fds = [lifeline.clone(), process.unwrap_or(lifeline)];
        // An error of poll is no reason to lose a wake-up.
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    #[cfg(not(loom))]
    fn listen(&self) {
        while !self.is_stopping() {
            let start = Instant::now();
            let was_set = self.ours.wait(SLICE_SECONDS);
            self.deliver();
            if !was_set && start.elapsed() < PAUSE {
                // Whatever it is, it does not become a busy loop.
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// The handle of one side. With the last clone the two threads end.
#[derive(Clone)]
pub(crate) struct Relay {
    office: std::sync::Arc<Office>,
}

struct Office {
    exchange: Arc<Exchange>,
    /// The process that has the threads.
    #[cfg(not(loom))]
    owner: u32,
}

impl Drop for Office {
    fn drop(&mut self) {
        // In a child of fork(2) there are no threads, and the locks may be held for ever.
        #[cfg(not(loom))]
        if self.owner != std::process::id() {
            return;
        }
        #[cfg(loom)]
        if std::thread::panicking() {
            // The model is over, and its locks with it.
            return;
        }
        self.exchange.stop();
        #[cfg(not(loom))]
        if Arc::strong_count(&self.exchange) > 1 && !self.exchange.other_lives() {
            let exchange = self.exchange.clone();
            // If there is no thread to be had, they stay where they are.
            let _ = start_thread("coprocess-free", move || exchange.free());
        }
    }
}

#[cfg(not(loom))]
fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), SegmentError> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map(drop).map_err(|source| SegmentError::Os { action: "start the threads that wait on events", source })
}

impl Deref for Relay {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.office.exchange
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("side", &self.office.exchange.side).finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts the two threads for `side`. The parent makes the events, before the header of the segment is complete; the worker finds them.
    #[cfg(not(loom))]
    pub(crate) fn start(backing: Arc<Backing>, side: Side) -> Result<Relay, SegmentError> {
        let event = |of: Side| Event::at(backing.clone(), of, side == Side::Parent);
        let (parents, workers) = (event(Side::Parent)?, event(Side::Worker)?);
        let (ours, theirs) = match side {
            Side::Parent => (parents, workers),
            Side::Worker => (workers, parents),
        };
        let exchange = Arc::new(Exchange::new(backing, side, ours, theirs));
        // Before the threads: if the second cannot be had, this ends the first.
        let office = Office { exchange: exchange.clone(), owner: std::process::id() };
        let ringer = exchange.clone();
        start_thread("coprocess-ring", move || while ringer.ring_once() {})?;
        start_thread("coprocess-hear", move || exchange.listen())?;
        Ok(Relay { office: std::sync::Arc::new(office) })
    }

    /// Without its threads: the model runs their rounds.
    #[cfg(loom)]
    pub(crate) fn of(exchange: Arc<Exchange>) -> Relay {
        Relay { office: std::sync::Arc::new(Office { exchange }) }
    }
}
