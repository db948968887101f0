//! The descriptor that event loops watch: whether it is readable, and whether one exists.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use nix::sys::eventfd::EventFd;

use crate::process::Descriptor;
use crate::sync::lock;

/// What the handles of a descriptor share with the thread that raises it.
pub(crate) struct ReadySignal {
    descriptor: Descriptor<EventFd>,
    state: Mutex<Handles>,
    /// `is_raised` has become false, or the last handle was dropped.
    lowered: Condvar,
}

struct Handles {
    /// The descriptor is readable.
    is_raised: bool,
    handles: usize,
}

impl fmt::Debug for ReadySignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadySignal").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

impl AsFd for ReadySignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The descriptor of an end, if there is one.
#[derive(Debug, Default)]
pub(crate) struct ReadySlot {
    /// Whether there is one: looked at first, so that other threads pay no more than that.
    is_watched: AtomicBool,
    signal: Mutex<Weak<ReadySignal>>,
}

impl ReadySlot {
    /// Returns `true` if an event loop watches this end, so that the background driver must stand by.
    pub(crate) fn is_watched(&self) -> bool {
        // Relaxed: ordered by what wakes the thread that looks.
        self.is_watched.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> Option<Arc<ReadySignal>> {
        if self.is_watched() { lock(&self.signal).upgrade() } else { None }
    }

    /// Returns another handle to the signal of this end, and `false`. If there is none, has `open` make
    /// it, and returns it with `true`.
    pub(crate) fn get_or_open<E>(
        &self,
        open: impl FnOnce() -> Result<Arc<ReadySignal>, E>,
    ) -> Result<(Arc<ReadySignal>, bool), E> {
        let mut slot = lock(&self.signal);
        if let Some(signal) = slot.upgrade()
            && signal.add_handle()
        {
            return Ok((signal, false));
        }
        let signal = open()?;
        *slot = Arc::downgrade(&signal);
        self.is_watched.store(true, Ordering::Relaxed);
        Ok((signal, true))
    }

    /// Drops a handle. Returns `true` if it was the last one.
    pub(crate) fn drop_handle(&self, signal: &ReadySignal) -> bool {
        let slot = lock(&self.signal);
        let mut state = lock(&signal.state);
        state.handles = state.handles.saturating_sub(1);
        if state.handles > 0 {
            return false;
        }
        self.is_watched.store(false, Ordering::Relaxed);
        drop((state, slot));
        signal.lowered.notify_all();
        true
    }
}

impl ReadySignal {
    /// A signal that is not raised, with one handle.
    pub(crate) fn new(descriptor: Descriptor<EventFd>) -> Arc<ReadySignal> {
        let state = Mutex::new(Handles { is_raised: false, handles: 1 });
        Arc::new(ReadySignal { descriptor, state, lowered: Condvar::new() })
    }

    /// Adds a handle. Returns `false` if the last one is gone, and with it, soon, the thread.
    fn add_handle(&self) -> bool {
        let mut state = lock(&self.state);
        if state.handles == 0 {
            return false;
        }
        state.handles = state.handles.saturating_add(1);
        true
    }

    pub(crate) fn has_handles(&self) -> bool {
        lock(&self.state).handles > 0
    }

    /// Makes the descriptor readable.
    pub(crate) fn raise(&self) {
        let mut state = lock(&self.state);
        // The program may have closed the descriptor, and another file may have its number. That ends
        // the pair, but a message may come before.
        if !state.is_raised && self.descriptor.is_intact() {
            state.is_raised = true;
            // Fails only if the counter is full: then the descriptor is readable.
            let _ = self.descriptor.write(1);
        }
    }

    /// Blocks until a thread polls, or the last handle is dropped, or `over` returns `true`.
    pub(crate) fn wait_until_lowered(&self, over: impl Fn() -> bool) {
        let mut state = lock(&self.state);
        while state.is_raised && state.handles > 0 && !over() {
            state = self.lowered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes the descriptor not readable, for a thread that is about to look at what is there.
    pub(crate) fn lower(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        if state.is_raised && self.descriptor.is_intact() {
            state.is_raised = false;
            // Nonblocking: resets the counter.
            let _ = self.descriptor.read();
        }
    }

    /// Has the thread that raises the descriptor look again.
    pub(crate) fn notify(&self) {
        drop(lock(&self.state));
        self.lowered.notify_all();
    }
}

/// Held by a thread that looks at what is there. Dropping it has the thread that raises the
/// descriptor look again.
pub(crate) struct Lowered(pub(crate) Arc<ReadySignal>);

impl Drop for Lowered {
    fn drop(&mut self) {
        self.0.lowered.notify_all();
    }
}
