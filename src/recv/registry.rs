//! Looks up the handlers of an end by name.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::sync::lock;
use crate::sync::user_panic::catch_user_panic;

/// Holds handlers of one sort, by the bytes of their names. The name in a message is looked up as
/// it is; a name that is found is UTF-8.
#[derive(Clone)]
pub(crate) struct Table<T> {
    indexes: FxHashMap<Box<[u8]>, u32>,
    /// The handlers by their indexes. A thread that knows the index of a handler does not look the
    /// name up.
    handlers: Vec<Option<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { indexes: FxHashMap::default(), handlers: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Returns the index of a handler, and the handler.
    pub(crate) fn get(&self, name: &[u8]) -> Option<(u32, &T)> {
        let index = *self.indexes.get(name)?;
        Some((index, self.at(index)?))
    }

    /// Returns the handler with this index.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<&T> {
        self.handlers.get(index as usize)?.as_ref()
    }

    /// Adds or replaces the handler of this name.
    pub(crate) fn insert(&mut self, name: &str, handler: T) {
        let free = match self.indexes.get(name.as_bytes()) {
            Some(index) => Some(*index as usize),
            None => self.handlers.iter().position(Option::is_none),
        };
        let index = free.unwrap_or(self.handlers.len());
        self.indexes.insert(name.as_bytes().into(), index as u32);
        match self.handlers.get_mut(index) {
            Some(former) => *former = Some(handler),
            None => self.handlers.push(Some(handler)),
        }
    }

    fn remove(&mut self, name: &str) {
        if let Some(index) = self.indexes.remove(name.as_bytes())
            && let Some(handler) = self.handlers.get_mut(index as usize)
        {
            *handler = None;
        }
    }

    fn names(&self) -> Vec<Cow<'_, str>> {
        self.indexes.keys().map(|name| String::from_utf8_lossy(name)).collect()
    }
}

#[cfg(feature = "interface")]
impl<T: Clone> Table<T> {
    /// Adds the handlers of another table.
    pub(crate) fn extend(&mut self, others: &Table<T>) {
        for (name, index) in &others.indexes {
            if let (Ok(name), Some(handler)) = (std::str::from_utf8(name), others.at(*index)) {
                self.insert(name, handler.clone());
            }
        }
    }
}

/// Holds all handlers, at one moment.
#[derive(Clone)]
pub(crate) struct Handlers<L, S> {
    pub(crate) events: Table<L>,
    pub(crate) methods: Table<S>,
}

impl<L, S> Default for Handlers<L, S> {
    fn default() -> Handlers<L, S> {
        Handlers { events: Table::default(), methods: Table::default() }
    }
}

impl<L, S> Drop for Handlers<L, S> {
    /// Drops what the handlers have captured, if this is the last table that has them.
    ///
    /// The drop is user code. It runs on any thread that releases a table, perhaps with a message
    /// in its hands. Each handler is to be dropped, whether or not another drop panics.
    fn drop(&mut self) {
        for listener in self.events.handlers.drain(..) {
            catch_user_panic(|| drop(listener));
        }
        for server in self.methods.handlers.drain(..) {
            catch_user_panic(|| drop(server));
        }
    }
}

struct Current<L, S> {
    handlers: Arc<Handlers<L, S>>,
    /// The time of the last registration; `None` until the first.
    changed: Option<Instant>,
    /// `true` once no handler is accepted any more.
    closed: bool,
}

/// Holds the registered handlers.
///
/// Handlers are looked up by name for each message, and change rarely. A change makes a new table,
/// so that threads read the current table without a lock.
pub(crate) struct Registry<L, S> {
    current: Mutex<Current<L, S>>,
    version: AtomicU64,
}

impl<L, S> Default for Registry<L, S> {
    fn default() -> Registry<L, S> {
        let current = Current { handlers: Arc::default(), changed: None, closed: false };
        Registry { current: Mutex::new(current), version: AtomicU64::new(0) }
    }
}

impl<L, S> fmt::Debug for Registry<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In a child of fork(2) the mutex may be locked for ever.
        let Ok(current) = self.current.try_lock() else {
            return f.debug_struct("Registry").finish_non_exhaustive();
        };
        f.debug_struct("Registry")
            .field("events", &current.handlers.events.names())
            .field("methods", &current.handlers.methods.names())
            .finish()
    }
}

/// Holds the table as a dispatching thread last saw it.
pub(crate) struct Snapshot<L, S> {
    seen: Option<(u64, Arc<Handlers<L, S>>)>,
}

impl<L, S> Default for Snapshot<L, S> {
    fn default() -> Snapshot<L, S> {
        Snapshot { seen: None }
    }
}

impl<L, S> Snapshot<L, S> {
    /// Returns the current table, and its number.
    #[inline]
    pub(crate) fn of(&mut self, registry: &Registry<L, S>) -> (u64, &Handlers<L, S>) {
        // Acquire: pairs with the Release in `change`.
        let version = registry.version.load(Ordering::Acquire);
        if !matches!(&self.seen, Some((seen, _)) if *seen == version) {
            self.refresh(version, registry);
        }
        let (_, handlers) = self.seen.get_or_insert_with(Default::default);
        (version, handlers)
    }

    #[cold]
    fn refresh(&mut self, version: u64, registry: &Registry<L, S>) {
        // Releases the former table first: dropping it may run user code.
        self.seen = None;
        self.seen = Some((version, lock(&registry.current).handlers.clone()));
    }

    /// Releases the table, so that handlers that were removed meanwhile are dropped.
    pub(crate) fn forget(&mut self) {
        self.seen = None;
    }
}

impl<L: Clone, S: Clone> Registry<L, S> {
    /// Adds or replaces handlers. Returns `true` if this was the first change ever.
    pub(crate) fn add(&self, change: impl FnOnce(&mut Handlers<L, S>)) -> bool {
        let mut current = lock(&self.current);
        if current.closed {
            return false;
        }
        let first = current.changed.replace(Instant::now()).is_none();
        self.change(current, change);
        first
    }

    /// Removes the handler of an event. Returns `true` if there was one.
    pub(crate) fn unlisten(&self, event: &str) -> bool {
        let current = lock(&self.current);
        let there = current.handlers.events.get(event.as_bytes()).is_some();
        if there {
            self.change(current, |handlers| handlers.events.remove(event));
        }
        there
    }

    /// Drops all handlers and accepts no more.
    pub(crate) fn close(&self) {
        let mut current = lock(&self.current);
        current.closed = true;
        self.change(current, |handlers| *handlers = Handlers::default());
    }

    /// Returns what `look` finds at the handler of an event. `look` runs under the lock.
    pub(crate) fn listener<T>(&self, event: &str, look: impl FnOnce(&L) -> T) -> Option<T> {
        lock(&self.current)
            .handlers
            .events
            .get(event.as_bytes())
            .map(|(_, listener)| look(listener))
    }

    /// Returns when the last handler was registered.
    pub(crate) fn last_registration(&self) -> Option<Instant> {
        lock(&self.current).changed
    }

    fn change(
        &self,
        mut current: std::sync::MutexGuard<'_, Current<L, S>>,
        change: impl FnOnce(&mut Handlers<L, S>),
    ) {
        let mut handlers = (*current.handlers).clone();
        change(&mut handlers);
        let old = std::mem::replace(&mut current.handlers, Arc::new(handlers));
        // Release: pairs with the Acquire in `Snapshot::of`.
        self.version.fetch_add(1, Ordering::Release);
        drop(current);
        // Dropping a handler runs user code: what the handler captured. So the drop is not under
        // the lock.
        drop(old);
    }
}
