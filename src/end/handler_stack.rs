//! The handlers of an end that run: one, and those that are nested in its waits.
//!
//! Changed by the leader only; read by other threads.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::limits::MAX_DEPTH;

#[derive(Debug, Default)]
pub(crate) struct HandlerStack {
    depth: AtomicU32,
    /// How many handlers were started.
    started: AtomicU64,
    /// The number of the handler that runs, for a reply that is dropped by it; zero outside.
    running: AtomicU64,
    /// A panic in that handler has dropped its reply.
    has_dropped_reply: AtomicBool,
}

impl HandlerStack {
    /// Returns how deeply handlers are nested.
    pub(crate) fn depth(&self) -> u32 {
        // Relaxed: read by the leader, or of no consequence.
        self.depth.load(Ordering::Relaxed)
    }

    /// Returns `true` if no further handler may nest.
    pub(crate) fn is_at_bound(&self) -> bool {
        self.depth() >= MAX_DEPTH
    }

    /// Returns `true` if no handler runs. If the last one has just returned, whether its answer is in
    /// transit is seen after this.
    pub(crate) fn is_idle(&self) -> bool {
        // Acquire: pairs with the Release in the drop of `Running`.
        self.depth.load(Ordering::Acquire) == 0
    }

    /// Returns the number of the handler that runs; zero if none does.
    pub(crate) fn running(&self) -> u64 {
        // Relaxed: compared by the thread that runs the handler.
        self.running.load(Ordering::Relaxed)
    }

    /// Starts a handler, until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> Running<'_> {
        // Relaxed: only the leader changes them.
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
        // Relaxed: only the leader changes it. Handlers nest.
        let outer = self.has_dropped_reply.load(Ordering::Relaxed);
        self.has_dropped_reply.store(false, Ordering::Relaxed);
        Replies { stack: self, outer }
    }

    /// Notes that a panic in the handler that runs has dropped its reply.
    pub(crate) fn note_dropped_reply(&self) {
        self.has_dropped_reply.store(true, Ordering::Relaxed);
    }
}

/// A handler runs, until this is dropped.
pub(crate) struct Running<'a> {
    stack: &'a HandlerStack,
    /// What was there before.
    depth: u32,
    outer: u64,
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        self.stack.running.store(self.outer, Ordering::Relaxed);
        // Release: a thread that sees the handler gone sees whether its answer is in transit; pairs with
        // the Acquire in `is_idle`.
        self.stack.depth.store(self.depth, Ordering::Release);
    }
}

/// See [`HandlerStack::watch_replies`].
pub(crate) struct Replies<'a> {
    stack: &'a HandlerStack,
    outer: bool,
}

impl Replies<'_> {
    /// Returns `true` if a panic has dropped the reply of the handler.
    #[inline]
    pub(crate) fn end(self) -> bool {
        let has_dropped = self.stack.has_dropped_reply.load(Ordering::Relaxed);
        self.stack.has_dropped_reply.store(self.outer, Ordering::Relaxed);
        has_dropped
    }
}
