//! Tracks the handlers of an end that run: one, and those that are nested in its waits.
//!
//! Only the leader changes the stack, so a change is a plain load and store. Other threads only
//! read. Each guard restores what was there before, so guards must end in the reverse order.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::limits::MAX_DEPTH;

/// Counts the handlers that run, and names the innermost.
#[derive(Debug, Default)]
pub(crate) struct HandlerStack {
    depth: AtomicU32,
    /// How many handlers were started.
    started: AtomicU64,
    /// The number of the handler that runs, for a reply that the handler drops. Zero if none runs.
    running: AtomicU64,
    /// `true` if a panic in the handler that runs has dropped its reply.
    has_dropped_reply: AtomicBool,
}

impl HandlerStack {
    /// Returns how deeply handlers are nested.
    pub(crate) fn depth(&self) -> u32 {
        // Relaxed: the leader reads what it has stored. To other threads, the value is a hint.
        self.depth.load(Ordering::Relaxed)
    }

    /// Returns `true` if no further handler may nest.
    pub(crate) fn is_at_bound(&self) -> bool {
        self.depth() >= MAX_DEPTH
    }

    /// Returns `true` if no handler runs.
    ///
    /// If the last handler has just returned, a later look sees whether its answer is in transit.
    pub(crate) fn is_idle(&self) -> bool {
        // Acquire: pairs with the Release in the drop of `Running`.
        self.depth.load(Ordering::Acquire) == 0
    }

    /// Returns the number of the handler that runs, or zero if none runs.
    pub(crate) fn running(&self) -> u64 {
        // Relaxed: the thread that runs the handler compares the number.
        self.running.load(Ordering::Relaxed)
    }

    /// Starts a handler, which runs until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> Running<'_> {
        // Relaxed: only the leader changes these fields.
        let depth = self.depth.load(Ordering::Relaxed);
        let outer = self.running.load(Ordering::Relaxed);
        let number = self.started.load(Ordering::Relaxed).wrapping_add(1);
        self.depth.store(depth.wrapping_add(1), Ordering::Relaxed);
        self.started.store(number, Ordering::Relaxed);
        self.running.store(number, Ordering::Relaxed);
        Running { stack: self, depth, outer }
    }

    /// Watches for a reply that a panic in the handler drops, until [`Replies::end`].
    #[inline]
    pub(crate) fn watch_replies(&self) -> Replies<'_> {
        // Relaxed: only the leader changes the flag. The outer value is kept, since handlers nest.
        let outer = self.has_dropped_reply.load(Ordering::Relaxed);
        self.has_dropped_reply.store(false, Ordering::Relaxed);
        Replies { stack: self, outer }
    }

    /// Notes that a panic in the handler that runs has dropped its reply.
    pub(crate) fn note_dropped_reply(&self) {
        // Relaxed: as in `watch_replies`.
        self.has_dropped_reply.store(true, Ordering::Relaxed);
    }
}

/// Marks that a handler runs, until this is dropped.
pub(crate) struct Running<'a> {
    stack: &'a HandlerStack,
    /// The depth before this handler.
    depth: u32,
    /// The number of the handler that ran before.
    outer: u64,
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        // Relaxed: only the leader changes the number.
        self.stack.running.store(self.outer, Ordering::Relaxed);
        // Release: a thread that sees the handler gone sees whether its answer is in transit. Pairs
        // with the Acquire in `is_idle`.
        self.stack.depth.store(self.depth, Ordering::Release);
    }
}

/// Watches for a dropped reply: see [`HandlerStack::watch_replies`].
pub(crate) struct Replies<'a> {
    stack: &'a HandlerStack,
    outer: bool,
}

impl Replies<'_> {
    /// Ends the watch. Returns `true` if a panic has dropped the reply of the handler.
    #[inline]
    pub(crate) fn end(self) -> bool {
        let has_dropped = self.stack.has_dropped_reply.load(Ordering::Relaxed);
        self.stack.has_dropped_reply.store(self.outer, Ordering::Relaxed);
        has_dropped
    }
}
