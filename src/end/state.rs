//! Says how far an end has come, and which of its threads sleep: a leaf, which changes nothing
//! else.
//!
//! ```text
//!   open ──► gone ──► over        gone: the peer sends nothing more; what has arrived is received
//!     └────────────────▲          over: nothing is sent or received any more, for a fixed reason
//! ```

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use coprocess_ring::Misbehaved;

use crate::error::Reason;
use crate::sync::forked::Generation;

/// Says why an end is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// The program has closed this end.
    Closed,
    /// The peer is gone.
    Gone(Reason),
    /// The peer has written what no honest peer writes.
    Misbehaved(Misbehaved),
    /// A system call of a wait or a wake-up failed with this error number.
    Os(i32),
}

/// Holds how far an end has come, and counts its threads that sleep.
#[derive(Debug)]
pub(crate) struct EndState {
    /// Identifies the process that the end belongs to.
    generation: Generation,
    gone: OnceLock<Reason>,
    ended: OnceLock<Ending>,
    /// `true` while a thread that waits for messages is to look at the timers again.
    attention: AtomicBool,
    /// Threads, other than the driver, that sleep until a message comes, or are about to.
    for_data: AtomicU32,
    /// Threads that sleep until there is space, or are about to.
    for_space: AtomicU32,
}

impl EndState {
    pub(crate) fn new() -> EndState {
        EndState {
            generation: Generation::watched(),
            gone: OnceLock::new(),
            ended: OnceLock::new(),
            attention: AtomicBool::new(false),
            for_data: AtomicU32::new(0),
            for_space: AtomicU32::new(0),
        }
    }

    /// Returns `true` if this process is a fork of the process that the end belongs to.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        self.generation.is_foreign()
    }

    /// Returns why the end is over.
    #[inline]
    pub(crate) fn ended(&self) -> Option<Ending> {
        self.ended.get().copied()
    }

    /// Ends the end. Returns `false` if the end was over: the first ending stands.
    pub(crate) fn end(&self, ending: Ending) -> bool {
        self.ended.set(ending).is_ok()
    }

    /// Returns why the peer is gone, as far as the kernel has told it.
    #[inline]
    pub(crate) fn gone(&self) -> Option<Reason> {
        self.gone.get().copied()
    }

    /// Notes that the peer is gone. Returns `false` if that was known: the first reason stands.
    pub(crate) fn set_gone(&self, reason: Reason) -> bool {
        self.gone.set(reason).is_ok()
    }

    /// Asks the threads that wait for messages to look at the timers again.
    pub(crate) fn ask_for_attention(&self) {
        // Release: pairs with the Acquire in `take_attention`.
        self.attention.store(true, Ordering::Release);
    }

    /// Returns `true` while no thread has taken the request.
    #[inline]
    pub(crate) fn wants_attention(&self) -> bool {
        // Relaxed: a thread that acts on it takes it by `take_attention`.
        self.attention.load(Ordering::Relaxed)
    }

    /// Takes the request, if there is one.
    #[inline]
    pub(crate) fn take_attention(&self) {
        if self.wants_attention() {
            // Acquire: what is to be attended to; pairs with the Release in `ask_for_attention`.
            self.attention.swap(false, Ordering::Acquire);
        }
    }

    /// Announces that this thread may sleep until a message comes, until the guard is dropped.
    ///
    /// The thread looks at the state of the end after this, and before it sleeps.
    pub(crate) fn sleeping_for_data(&self) -> SleepGuard<'_> {
        SleepGuard::new(&self.for_data)
    }

    /// As [`sleeping_for_data`](Self::sleeping_for_data), for a thread that waits for space.
    pub(crate) fn sleeping_for_space(&self) -> SleepGuard<'_> {
        SleepGuard::new(&self.for_space)
    }

    /// Returns `true` if a thread sleeps until a message comes, or is about to.
    pub(crate) fn has_sleepers_for_data(&self) -> bool {
        // Relaxed: the caller has passed the fence that `SleepGuard::new` pairs with.
        self.for_data.load(Ordering::Relaxed) > 0
    }

    /// Returns `true` if any thread, other than the driver, sleeps or is about to.
    pub(crate) fn has_sleepers(&self) -> bool {
        // Relaxed: as in `has_sleepers_for_data`.
        self.has_sleepers_for_data() || self.for_space.load(Ordering::Relaxed) > 0
    }
}

/// Announces that a thread may sleep, until this is dropped.
pub(crate) struct SleepGuard<'a>(&'a AtomicU32);

impl<'a> SleepGuard<'a> {
    fn new(sleepers: &'a AtomicU32) -> SleepGuard<'a> {
        // A thread that changes the state looks at this count afterwards, so one of the two threads
        // sees the other. The fence pairs with those in `End::wake_all` and `End::interrupt`.
        sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        SleepGuard(sleepers)
    }
}

impl Drop for SleepGuard<'_> {
    fn drop(&mut self) {
        // Relaxed: a thread that reads the former count wakes once more, in vain.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
