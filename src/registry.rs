//! The handlers of an end, by name.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::contain::contain;
use crate::decode::DecodeError;
use crate::end::End;
use crate::envelope::CallId;
use crate::sync::lock;

/// Decodes the value of an event and handles it.
pub(crate) type Listener = Arc<dyn Fn(&[u8]) -> Result<(), DecodeError> + Send + Sync>;
/// A method that is served.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) name: Arc<str>,
    /// Decodes the arguments of a call, handles it and sends the answer, now or later.
    pub(crate) serve: Arc<Serve>,
}

pub(crate) type Serve = dyn Fn(&Arc<End>, CallId, &str, &[u8]) + Send + Sync;

/// All handlers, at one moment, by the bytes of their names: a name that comes is looked up as it is, and is UTF-8 if it is found.
#[derive(Clone, Default)]
pub(crate) struct Handlers {
    pub(crate) events: FxHashMap<Box<[u8]>, Listener>,
    pub(crate) methods: FxHashMap<Box<[u8]>, Server>,
}

impl Drop for Handlers {
    /// Drops what the handlers have captured, if this is the last table that has them. That is the user's code, and runs on any thread that lets go of
    /// a table, perhaps with a message in its hands; each is to be dropped, whether or not another one panics.
    fn drop(&mut self) {
        for (_, listener) in self.events.drain() {
            contain(|| drop(listener));
        }
        for (_, server) in self.methods.drain() {
            contain(|| drop(server));
        }
    }
}

fn names<T>(of: &FxHashMap<Box<[u8]>, T>) -> Vec<Cow<'_, str>> {
    of.keys().map(|name| String::from_utf8_lossy(name)).collect()
}

#[derive(Default)]
struct Current {
    handlers: Arc<Handlers>,
    /// When the last one was registered; `None` until the first.
    changed: Option<Instant>,
    /// No handler is accepted any more.
    closed: bool,
}

/// The handlers that are registered. Looked up by name for each message, changed rarely: a change makes a new table, so that the one
/// in use is read without a lock.
#[derive(Default)]
pub(crate) struct Registry {
    current: Mutex<Current>,
    version: AtomicU64,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In a child of fork(2) it may be locked for ever.
        let Ok(current) = self.current.try_lock() else { return f.debug_struct("Registry").finish_non_exhaustive() };
        f.debug_struct("Registry")
            .field("events", &names(&current.handlers.events))
            .field("methods", &names(&current.handlers.methods))
            .finish()
    }
}

/// The table as last seen by a thread that dispatches.
#[derive(Default)]
pub(crate) struct Snapshot {
    seen: Option<(u64, Arc<Handlers>)>,
}

impl Snapshot {
    /// The table of now.
    #[inline]
    pub(crate) fn of(&mut self, registry: &Registry) -> &Arc<Handlers> {
        // Acquire: pairs with the Release in `change`.
        let version = registry.version.load(Ordering::Acquire);
        if self.seen.as_ref().is_some_and(|(seen, _)| *seen != version) {
            self.seen = None;
        }
        &self.seen.get_or_insert_with(|| (version, lock(&registry.current).handlers.clone())).1
    }

    /// Lets go of the table, so that handlers which were removed meanwhile are dropped.
    pub(crate) fn forget(&mut self) {
        self.seen = None;
    }
}

impl Registry {
    /// Adds or replaces handlers. Returns whether this was the first change ever.
    pub(crate) fn add(&self, change: impl FnOnce(&mut Handlers)) -> bool {
        let mut current = lock(&self.current);
        if current.closed {
            return false;
        }
        let first = current.changed.replace(Instant::now()).is_none();
        self.change(current, change);
        first
    }

    /// Removes the listener of an event. Returns whether there was one.
    pub(crate) fn unlisten(&self, event: &str) -> bool {
        let current = lock(&self.current);
        let there = current.handlers.events.contains_key(event.as_bytes());
        if there {
            self.change(current, |handlers| drop(handlers.events.remove(event.as_bytes())));
        }
        there
    }

    /// Drops all handlers and accepts no more.
    pub(crate) fn close(&self) {
        let mut current = lock(&self.current);
        current.closed = true;
        self.change(current, |handlers| *handlers = Handlers::default());
    }

    /// When the last handler was registered.
    pub(crate) fn last_registration(&self) -> Option<Instant> {
        lock(&self.current).changed
    }

    fn change(&self, mut current: std::sync::MutexGuard<'_, Current>, change: impl FnOnce(&mut Handlers)) {
        let mut handlers = (*current.handlers).clone();
        change(&mut handlers);
        let old = std::mem::replace(&mut current.handlers, Arc::new(handlers));
        // Release: pairs with the Acquire in `Snapshot::of`.
        self.version.fetch_add(1, Ordering::Release);
        drop(current);
        // Dropping a handler runs user code: what it captured. Not under the lock.
        drop(old);
    }
}
