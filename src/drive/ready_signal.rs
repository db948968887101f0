//! Makes a descriptor readable while an end has something to dispatch, for an event loop that
//! watches the descriptor.
//!
//! The handles of the program, the threads that poll and the watcher share the descriptor. The
//! watcher is the thread of the library that raises the descriptor.
//!
//! # What a change here must keep
//!
//! - `is_raised` and the counter of the eventfd change together, under the lock of the signal. So a
//!   raised descriptor is not raised again, and one read lowers the descriptor.
//! - The descriptor is written or read only while it is intact. If the program has closed the
//!   descriptor, another file may have its number.
//! - A thread that takes both locks takes the lock of the slot before the lock of the signal.
//! - The watcher waits on `lowered` and looks at more than the lock protects. So a thread that
//!   changes what the watcher looks at calls [`ReadySignal::notify`] afterwards.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use nix::sys::eventfd::EventFd;

use crate::process::Descriptor;
use crate::sync::lock;

/// Holds a descriptor for an event loop. Its handles share it with the watcher, which raises it.
pub(crate) struct ReadySignal {
    descriptor: Descriptor<EventFd>,
    state: Mutex<Handles>,
    /// The descriptor was lowered, the last handle was dropped, or the watcher should look again.
    lowered: Condvar,
}

/// Says what the program and the watcher have made of a descriptor.
struct Handles {
    /// `true` if the descriptor is readable.
    is_raised: bool,
    /// The handles that the program has not dropped.
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

/// Refers to the descriptor of an end, if there is one.
#[derive(Debug, Default)]
pub(crate) struct ReadySlot {
    /// `true` if there is a descriptor. Threads look here first: without a descriptor, they take no
    /// lock.
    is_watched: AtomicBool,
    signal: Mutex<Weak<ReadySignal>>,
}

impl ReadySlot {
    /// Returns `true` if an event loop watches this end, so that the driver must stand
    /// by.
    pub(crate) fn is_watched(&self) -> bool {
        // Relaxed: ordered by what wakes the thread that looks.
        self.is_watched.load(Ordering::Relaxed)
    }

    /// Returns the signal of this end, if there is one.
    pub(crate) fn get(&self) -> Option<Arc<ReadySignal>> {
        if self.is_watched() { lock(&self.signal).upgrade() } else { None }
    }

    /// Adds a handle to the signal of this end, and returns the signal with `false`. If there is no
    /// signal, has `open` make one, and returns the signal with `true`.
    ///
    /// # Errors
    ///
    /// The error of `open`.
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

    /// Drops a handle. Returns `true` if that was the last handle.
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
    /// Makes a signal that is not raised, with one handle.
    pub(crate) fn new(descriptor: Descriptor<EventFd>) -> Arc<ReadySignal> {
        let state = Mutex::new(Handles { is_raised: false, handles: 1 });
        Arc::new(ReadySignal { descriptor, state, lowered: Condvar::new() })
    }

    /// Adds a handle. Returns `false` if the last handle was dropped: the watcher then ends soon.
    fn add_handle(&self) -> bool {
        let mut state = lock(&self.state);
        if state.handles == 0 {
            return false;
        }
        state.handles = state.handles.saturating_add(1);
        true
    }

    /// Returns `true` until the last handle is dropped.
    pub(crate) fn has_handles(&self) -> bool {
        lock(&self.state).handles > 0
    }

    /// Makes the descriptor readable, unless the program has closed the descriptor.
    pub(crate) fn raise(&self) {
        let mut state = lock(&self.state);
        // The program may have closed the descriptor, and another file may have its number. Closing
        // the descriptor ends the pair, but a message may come before that end.
        if !state.is_raised && self.descriptor.is_intact() {
            state.is_raised = true;
            // Fails only if the counter is full. Then the descriptor is readable.
            let _ = self.descriptor.write(1);
        }
    }

    /// Waits, as the watcher, until there is a reason to look at the ring again.
    ///
    /// # Blocking
    ///
    /// - Until a thread that polls [lowers](Self::lower) the descriptor.
    /// - Until the last handle is dropped.
    /// - Until `over` returns `true` and a thread calls [`notify`](Self::notify).
    pub(crate) fn wait_until_lowered(&self, over: impl Fn() -> bool) {
        let mut state = lock(&self.state);
        while state.is_raised && state.handles > 0 && !over() {
            state = self.lowered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes the descriptor not readable, for a thread that polls and is about to look at the ring.
    ///
    /// Does not wake the watcher: the thread drops a [`Lowered`] once it has looked.
    pub(crate) fn lower(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        if state.is_raised && self.descriptor.is_intact() {
            state.is_raised = false;
            // Nonblocking: the read resets the counter.
            let _ = self.descriptor.read();
        }
    }

    /// Makes the watcher look again. Call this after the change of what the watcher looks at.
    pub(crate) fn notify(&self) {
        // The lock makes sure that the watcher is not between its look and its wait.
        drop(lock(&self.state));
        self.lowered.notify_all();
    }
}

/// Belongs to a thread that polls, while it looks at the ring. Dropping this makes the watcher look
/// again.
pub(crate) struct Lowered(pub(crate) Arc<ReadySignal>);

impl Drop for Lowered {
    fn drop(&mut self) {
        self.0.lowered.notify_all();
    }
}
