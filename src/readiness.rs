//! A descriptor for event loops: readable while there is something to dispatch.
//!
//! While it exists, a thread of the library has the seat of the resident, but dispatches nothing. It sleeps on the ring's bell, as any resident does; when a
//! message comes it *raises* the descriptor, and then sleeps until `poll` has lowered it, away from the bell. So the other side makes no system call for messages that
//! come meanwhile, and nobody makes any where there is no such descriptor.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use coprocess_ring::Sleeper;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::coprocess::Coprocess;
use crate::driving::Seated;
use crate::end::End;
use crate::error::{Error, Result};
use crate::lead::Turn;
use crate::parker::Parker;
use crate::process::Descriptor;
use crate::seat::Holder;
use crate::stats::Counters;
use crate::sync::lock;
use crate::waiting::{Leading, has_passed};

/// A descriptor that is readable while [`Coprocess::poll`] has something to do, by [`Coprocess::readiness`].
///
/// It is for `epoll` and whatever is built on it. Wait until it is readable, then call [`poll`](Coprocess::poll), which takes care of the
/// descriptor: do not read from it. It stays readable while something is left to dispatch, and for ever once the pair is over, when `poll` returns why. It may be readable although
/// another thread has dispatched everything meanwhile.
///
/// As long as it exists, the library's own thread dispatches nothing for this end: handlers run inside of `poll`, on the thread of the event loop (and, as ever, where a
/// thread waits in a call), and that is also where futures are woken, callbacks run and deadlines of both are noticed: the descriptor becomes readable for these, too, but as long as nobody
/// does any of this, none of them ends. So an event loop that has one must poll. Dropping it gives all that back to the library. It does not keep the pair open.
///
/// # Examples
///
/// With `epoll`:
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
///
/// # coprocess::init();
/// # let co = coprocess::fork(|_| {})?;
/// co.listen("temperature", |celsius: f64| println!("{celsius} °C"));
/// let readiness = co.readiness()?;
///
/// let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
/// epoll.add(&readiness, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
/// loop {
///     epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
///     co.poll()?;
/// }
/// # }
/// ```
///
/// With tokio:
///
/// ```no_run
/// # async fn handle(co: coprocess::Coprocess) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::{Interest, unix::AsyncFd};
///
/// // SAFETY: the descriptor is open as long as the value, and always the same. (In a tokio before 1.54: `AsyncFd::with_interest`.)
/// let readiness = unsafe { AsyncFd::register_with_interest(co.readiness()?, Interest::READABLE)? };
/// loop {
///     readiness.readable().await?.clear_ready(); // before the poll: what comes during it makes it ready again
///     co.poll()?;
/// }
/// # }
/// ```
pub struct Readiness {
    raised: Arc<Raised>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("descriptor", &self.as_raw_fd()).finish()
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raised.descriptor.as_fd()
    }
}

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.raised.drop_one();
    }
}

/// What the handles of a descriptor share with the thread that raises it.
pub(crate) struct Raised {
    descriptor: Descriptor<EventFd>,
    state: Mutex<State>,
    /// `up` has become false, or nobody watches any more.
    lowered: Condvar,
    end: Weak<End>,
}

struct State {
    /// It is readable.
    up: bool,
    /// Handles.
    watchers: usize,
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raised").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

/// The descriptor of an end, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Whether there is one: looked at first, so that nobody else pays more.
    watched: AtomicBool,
    raised: Mutex<Weak<Raised>>,
}

impl Place {
    /// Whether an event loop watches this end, so that the background dispatcher must stand by.
    pub(crate) fn is_watched(&self) -> bool {
        // Relaxed: ordered by what wakes whoever looks.
        self.watched.load(Ordering::Relaxed)
    }

    fn get(&self) -> Option<Arc<Raised>> {
        if self.is_watched() { lock(&self.raised).upgrade() } else { None }
    }
}

impl Coprocess {
    /// A descriptor that is readable while [`poll`](Self::poll) has something to do, for an event loop that should run the handlers of this end; see
    /// [`Readiness`].
    ///
    /// Nobody pays for it while none exists. This waits for the thread of the library that dispatched so far to return from the handler that
    /// it may be in, unless this is that handler; a thread in [`run`](Self::run) goes on, and the descriptor stays silent until that has returned. Several at once are the same descriptor, twice.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system refuses the descriptor or a thread. If the pair is over: why.
    ///
    /// # Examples
    ///
    /// See [`Readiness`].
    pub fn readiness(&self) -> Result<Readiness> {
        let end = self.end();
        end.check_own()?;
        let mut place = lock(&end.readiness.raised);
        if let Some(raised) = place.upgrade()
            && raised.add_one()
        {
            return Ok(Readiness { raised });
        }
        if end.is_over() {
            return Err(end.failure());
        }
        let descriptor = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(std::io::Error::from)
            .and_then(Descriptor::new)
            .map_err(|source| Error::Os { action: "make an eventfd", source })?;
        let raised = Arc::new(Raised {
            descriptor,
            state: Mutex::new(State { up: false, watchers: 1 }),
            lowered: Condvar::new(),
            end: Arc::downgrade(end),
        });
        let (thread_end, thread_raised) = (end.clone(), raised.clone());
        std::thread::Builder::new()
            .name("coprocess-ready".to_owned())
            .spawn(move || thread_end.raise_when_ready(&thread_raised))
            .map_err(|source| Error::Os { action: "start the thread that watches for an event loop", source })?;
        *place = Arc::downgrade(&raised);
        end.readiness.watched.store(true, Ordering::Relaxed);
        drop(place);
        end.evict();
        if !end.lead.is_mine() {
            end.seat.wait_for_background();
        }
        Ok(Readiness { raised })
    }
}

impl Raised {
    /// Another handle. Returns false if the last one is gone, and with it, soon, the thread.
    fn add_one(&self) -> bool {
        let mut state = lock(&self.state);
        if state.watchers == 0 {
            return false;
        }
        state.watchers = state.watchers.saturating_add(1);
        true
    }

    fn drop_one(&self) {
        // Without the end there is no thread any more. In a child of fork(2) this is but a copy.
        let Some(end) = self.end.upgrade().filter(|end| !end.is_foreign()) else { return };
        let place = lock(&end.readiness.raised);
        let mut state = lock(&self.state);
        state.watchers = state.watchers.saturating_sub(1);
        if state.watchers > 0 {
            return;
        }
        end.readiness.watched.store(false, Ordering::Relaxed);
        drop((state, place));
        self.lowered.notify_all();
        end.evict();
        end.seat.stir();
    }

    fn is_watched(&self) -> bool {
        lock(&self.state).watchers > 0
    }

    fn raise(&self) {
        let mut state = lock(&self.state);
        // The program may have closed it, and another file have its number. That ends the pair, but a message may come before.
        if !state.up && self.descriptor.is_intact() {
            state.up = true;
            // Fails only if the counter is full: then it is readable.
            let _ = self.descriptor.write(1);
        }
    }

    /// Sleeps until somebody polls, or nobody watches any more, or `over`.
    fn wait_until_lowered(&self, over: impl Fn() -> bool) {
        let mut state = lock(&self.state);
        while state.up && state.watchers > 0 && !over() {
            state = self.lowered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Somebody is about to look at what is there.
    fn lower(&self) {
        let mut state = lock(&self.state);
        if state.up && self.descriptor.is_intact() {
            state.up = false;
            // Nonblocking: resets the counter.
            let _ = self.descriptor.read();
        }
    }

    fn stir(&self) {
        drop(lock(&self.state));
        self.lowered.notify_all();
    }
}

impl End {
    /// For a thread that is about to dispatch in `poll`: lowers the descriptor, if there is one. Call [`Lowered`]'s drop afterwards.
    pub(crate) fn lower_readiness(&self) -> Option<Lowered> {
        let raised = self.readiness.get()?;
        // Once it is over the descriptor is to stay readable.
        if !self.is_over() {
            raised.lower();
            // Meanwhile it may have come to its end, and the thread that raises it have found it raised.
            if self.is_over() {
                raised.raise();
            }
        }
        Some(Lowered(raised))
    }

    /// Lets the thread that raises the descriptor look at the state of the end.
    pub(crate) fn stir_readiness(&self) {
        if let Some(raised) = self.readiness.get() {
            raised.stir();
        }
    }

    /// Makes the thread that has the seat look whether it should give it up.
    pub(crate) fn evict(&self) {
        self.lead.wake_resident(&self.watch);
        self.outbox.stir();
        self.stir_readiness();
    }

    /// Raises the descriptor whenever there is something to dispatch, as long as somebody watches it.
    fn raise_when_ready(self: Arc<Self>, raised: &Raised) {
        let gone = || self.is_over() || !raised.is_watched();
        let give_up = || gone() || self.seat.is_wanted();
        let parker = Parker::new();
        while self.seat.claim_in_background(Holder::Watcher, gone, || false) {
            let _seated = Seated(&self);
            while !give_up() {
                if self.lead.wait_turn(&self.watch, &parker, None, gone) != Turn::Lead {
                    break;
                }
                let ready = {
                    let _leading = Leading(&self);
                    self.watch_until_ready(&parker, &give_up)
                };
                match ready {
                    Ok(true) => {
                        raised.raise();
                        raised.wait_until_lowered(|| self.is_over() || self.seat.is_wanted());
                    }
                    Ok(false) => {}
                    // The end is over, and everybody who waits was told why.
                    Err(_) => break,
                }
            }
        }
        if self.is_over() {
            // For ever.
            raised.raise();
        }
    }

    /// Sleeps on the bell, as the resident, until there is something to do for a thread that polls, or until `give_up`. The lead is ours.
    fn watch_until_ready(self: &Arc<Self>, parker: &Arc<Parker>, give_up: &impl Fn() -> bool) -> Result<bool> {
        while !give_up() {
            self.attend();
            let due = self.timers.sleep_until();
            if self.outbox.is_crowded() && !self.is_gone() && !self.inbox().is_full() {
                // Until then a poll would take nothing.
                self.wait_while_crowded(None, give_up)?;
                continue;
            }
            if self.has_something() || self.is_gone() || has_passed(due) {
                return Ok(true);
            }
            self.watch.arm(Sleeper::Driver);
            let disturbed = || self.is_disturbed() || give_up();
            if self.has_something() || disturbed() {
                self.watch.disarm();
                continue;
            }
            Counters::add(&self.counters.sleeps);
            // A timer that was added since is one of the disturbances.
            let dozed = self.lead.doze(&self.watch, due, parker, disturbed);
            self.watch.disarm();
            dozed.map_err(|e| self.channel_failed(e.into()))?;
        }
        Ok(false)
    }
}

/// A thread has looked at what was there: the one that raises the descriptor looks again when this is dropped.
pub(crate) struct Lowered(Arc<Raised>);

impl Drop for Lowered {
    fn drop(&mut self) {
        self.0.lowered.notify_all();
    }
}
