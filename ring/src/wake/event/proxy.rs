//! Wakes sleepers across two processes that have an event each, and no futex.
//!
//! An event is a POSIX mutex and a condition in shared memory. Neither survives the death of a
//! process that is inside: a thread that enters the event next waits for ever. So no thread of the
//! program enters an event. Each side has two threads of its own for that, which may be lost:
//!
//! ```text
//!   this process                         shared      the peer's process
//!   waker   → requests → ringer        → event →     listener → waiters → sleeper
//!   sleeper ← waiters  ← listener      ← event ←     ringer ← requests ← waker
//! ```
//!
//! Sleepers sleep in [`Waiters`], with deadlines of the monotonic clock, and threads of the same
//! process wake them there. A waker puts the marks that it has taken off a doorbell into the word
//! `pending_marks` beside the event before the event is set. So the listener knows which sleepers
//! to wake, although an event is binary and any number of settings may become one.
//!
//! An event is set only for a side that sleeps, as its mark says, and lives, as its process
//! descriptor says. An event is waited for in whole seconds: the package forgets the carry when it
//! adds a time to the present one. So a wait of half a second would, half the time, end at once.
//!
//! If the peer dies inside an event that this process is about to enter, the thread that enters it
//! is stuck. Everything else goes on: the peer's process descriptor tells that the peer has died.
//! When the pair is given up, a third thread frees the stuck threads by opening the mutex in place
//! of the dead process. That does not help if the condition has lost count of its waiters, too.
//! Then the threads are lost, and with them the memory of the pair, until this process ends.

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
use crate::shm::memory::Memory;
use crate::side::Side;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::wake::doorbell_id::DoorbellId;
use crate::wake::event::raw_event::Event;
use crate::wake::event::waiters::Waiters;
use crate::wake::wait_end::WaitEnd;

/// The longest wait for an event, in seconds.
///
/// It bounds how late the listener of a pair that is gone finds out, if it cannot be told. It also
/// bounds how late a wake-up is that the C library has lost, as glibc could before 2.41.
#[cfg(not(loom))]
const SLICE_SECONDS: u64 = 1;
/// The least time that a failed wait takes.
#[cfg(not(loom))]
const PAUSE: Duration = Duration::from_millis(1);
/// How often stuck threads are freed before they are given up.
#[cfg(not(loom))]
const ATTEMPTS: usize = 5;

/// What the ringer is asked to do.
#[derive(Debug, Default)]
struct Requests {
    set: bool,
    stop: bool,
}

/// What shows that the peer has ended.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct PeerLiveness {
    /// Readable once the process has ended, if there is one: the process that was started, or that
    /// has started this one.
    pub(crate) process: Option<OwnedFd>,
    /// Hung up once the process at its other end has ended. That may be another process than the
    /// peer's, behind a wrapper.
    pub(crate) lifeline: OwnedFd,
}

/// What the threads and the handles of one side share.
pub(crate) struct ProxyState {
    waiters: Waiters,
    requests: Mutex<Requests>,
    requested: Condvar,
    side: Side,
    own_event: Event,
    peer_event: Event,
    /// What shows that the peer has ended.
    #[cfg(not(loom))]
    peer: std::sync::OnceLock<PeerLiveness>,
    /// The memory that holds the events.
    memory: Arc<Memory>,
}

impl ProxyState {
    pub(crate) fn new(
        memory: Arc<Memory>,
        side: Side,
        own_event: Event,
        peer_event: Event,
    ) -> ProxyState {
        ProxyState {
            waiters: Waiters::new(),
            requests: Mutex::new(Requests::default()),
            requested: Condvar::new(),
            side,
            own_event,
            peer_event,
            #[cfg(not(loom))]
            peer: std::sync::OnceLock::new(),
            memory,
        }
    }

    /// Returns the marks that were taken off the doorbell `id`.
    #[expect(clippy::indexing_slicing, reason = "there are four doorbells, and four words")]
    pub(crate) fn pending_marks(&self, id: DoorbellId) -> &AtomicU32 {
        &self.memory.events().pending_marks[id.index()].word
    }

    pub(crate) fn wait(
        &self,
        id: DoorbellId,
        word: &AtomicU32,
        mark: u32,
        deadline: Option<Instant>,
    ) -> WaitEnd {
        self.waiters.wait(id, word, mark, deadline)
    }

    pub(crate) fn wake_local(&self, id: DoorbellId, mark: u32) -> usize {
        self.waiters.wake(id, mark)
    }

    pub(crate) fn wake_peer(&self, id: DoorbellId, marks: u32) {
        // Release: pairs with the Acquire in `deliver`, although the fences of the doorbell order
        // what was published already.
        self.pending_marks(id).fetch_or(marks, Ordering::Release);
        self.request_set();
    }

    pub(crate) fn request_set(&self) {
        self.request(|requests| requests.set = true);
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, what: impl FnOnce(&mut Requests)) {
        what(&mut self.requests());
        self.requested.notify_one();
    }

    /// Runs one round of the ringer. Returns `false` if it was the last.
    pub(crate) fn ringer_round(&self) -> bool {
        let mut requests = self.requests();
        while !requests.set && !requests.stop {
            requests = self.requested.wait(requests).unwrap_or_else(PoisonError::into_inner);
        }
        let stop = requests.stop;
        let set = std::mem::take(&mut requests.set);
        drop(requests);
        if set && self.peer_is_alive() {
            self.peer_event.set();
        }
        if stop {
            // The listener finds out sooner.
            self.own_event.set();
        }
        !stop
    }

    /// Wakes the sleepers that the peer means. The listener calls this when it was woken.
    pub(crate) fn deliver(&self) {
        for id in [DoorbellId::data(self.side.incoming()), DoorbellId::space(self.side.outgoing())]
        {
            // Acquire: pairs with the Release in `wake_peer`.
            let marks = self.pending_marks(id).swap(0, Ordering::Acquire);
            if marks != 0 {
                self.waiters.wake(id, marks);
            }
        }
    }

    /// Runs one round of the listener.
    #[cfg(loom)]
    pub(crate) fn listener_round(&self) {
        self.own_event.wait();
        self.deliver();
    }

    #[cfg(loom)]
    fn peer_is_alive(&self) -> bool {
        true
    }

    /// Keeps what shows that the peer has ended.
    #[cfg(not(loom))]
    pub(crate) fn set_peer_liveness(&self, peer: PeerLiveness) {
        // If another thread has set one already, that one is as good as any other.
        let _ = self.peer.set(peer);
    }

    /// Lets the two threads end. From now on only threads of this process wake sleepers of this
    /// process, and no event is waited for or set.
    pub(crate) fn stop(&self) {
        self.request(|requests| requests.stop = true);
    }

    /// Frees the threads that are stuck where the peer has died.
    #[cfg(not(loom))]
    fn free_stuck_threads(self: &Arc<Self>) {
        for _ in 0..ATTEMPTS {
            self.own_event.free();
            self.peer_event.free();
            std::thread::sleep(PAUSE);
            // One of the references is this thread's.
            if Arc::strong_count(self) == 1 {
                return;
            }
        }
    }

    #[cfg(not(loom))]
    fn is_stopping(&self) -> bool {
        self.requests().stop
    }

    #[cfg(not(loom))]
    fn peer_is_alive(&self) -> bool {
        let Some(peer) = self.peer.get() else { return true };
        // No readiness is asked for of the socket: poll reports by itself that it is hung up. What
        // can be read from the socket is of no interest.
        let lifeline = PollFd::new(peer.lifeline.as_fd(), PollFlags::empty());
        let process = peer.process.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        let mut fds = [lifeline.clone(), process.unwrap_or(lifeline)];
        // An error of poll is no reason to lose a wake-up.
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    #[cfg(not(loom))]
    fn listen(&self) {
        while !self.is_stopping() {
            let start = Instant::now();
            let was_set = self.own_event.wait(SLICE_SECONDS);
            self.deliver();
            if !was_set && start.elapsed() < PAUSE {
                // Whatever the reason, this does not become a busy loop.
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// The handle of one side. The two threads end with the last clone.
#[derive(Clone)]
pub(crate) struct Proxy {
    threads: std::sync::Arc<ProxyThreads>,
}

struct ProxyThreads {
    state: Arc<ProxyState>,
    /// The process that has the threads.
    #[cfg(not(loom))]
    owner: u32,
}

impl Drop for ProxyThreads {
    fn drop(&mut self) {
        // A child of fork(2) has no such threads, and the locks may be held for ever.
        #[cfg(not(loom))]
        if self.owner != std::process::id() {
            return;
        }
        #[cfg(loom)]
        if std::thread::panicking() {
            // The model is over, and its locks with it.
            return;
        }
        self.state.stop();
        #[cfg(not(loom))]
        if Arc::strong_count(&self.state) > 1 && !self.state.peer_is_alive() {
            let state = self.state.clone();
            // If there is no thread to be had, the stuck threads stay where they are.
            let _ = start_thread("coprocess-free", move || state.free_stuck_threads());
        }
    }
}

#[cfg(not(loom))]
fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), SegmentError> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map(drop).map_err(|source| SegmentError::Os {
        action: "start the threads that wait on events",
        source,
    })
}

impl Deref for Proxy {
    type Target = ProxyState;

    fn deref(&self) -> &ProxyState {
        &self.threads.state
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("side", &self.threads.state.side).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Starts the two threads of `side`.
    ///
    /// The parent makes the events, before the header of the segment is complete. The worker finds
    /// them.
    #[cfg(not(loom))]
    pub(crate) fn start(memory: Arc<Memory>, side: Side) -> Result<Proxy, SegmentError> {
        let event = |of: Side| Event::at(memory.clone(), of, side == Side::Parent);
        let (parents, workers) = (event(Side::Parent)?, event(Side::Worker)?);
        let (own_event, peer_event) = match side {
            Side::Parent => (parents, workers),
            Side::Worker => (workers, parents),
        };
        let state = Arc::new(ProxyState::new(memory, side, own_event, peer_event));
        // Made before the threads: if the second thread cannot be started, dropping this ends the
        // first.
        let threads = ProxyThreads { state: state.clone(), owner: std::process::id() };
        let ringer = state.clone();
        start_thread("coprocess-ring", move || while ringer.ringer_round() {})?;
        start_thread("coprocess-hear", move || state.listen())?;
        Ok(Proxy { threads: std::sync::Arc::new(threads) })
    }

    /// Makes a handle without threads: the model runs their rounds.
    #[cfg(loom)]
    pub(crate) fn of(state: Arc<ProxyState>) -> Proxy {
        Proxy { threads: std::sync::Arc::new(ProxyThreads { state }) }
    }
}
