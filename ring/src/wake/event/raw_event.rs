//! Wraps an event in shared memory, of the package `raw_sync`, as far as it can be used safely.
//!
//! Safe use takes a peer that can be trusted: the C library believes what it finds in a mutex and a
//! condition, pointers included.
//!
//! An event is binary: set any number of times, it ends one wait. `proxy` shows what it takes to
//! use one.

#[cfg(not(loom))]
mod imp {
    use std::fmt;
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use raw_sync::Timeout;
    use raw_sync::events::{Event as Inner, EventImpl, EventInit, EventState};
    use raw_sync::locks::{LockImpl, LockInit, Mutex};

    use crate::error::SegmentError;
    use crate::shm::layout::EVENT_BYTES;
    use crate::shm::memory::Memory;
    use crate::side::Side;

    pub(crate) struct Event {
        inner: Box<dyn EventImpl>,
        /// The mutex that is entered to wait for the event and to set it: the beginning of the
        /// event itself.
        mutex: Box<dyn LockImpl>,
        /// The memory that holds the event.
        _memory: Arc<Memory>,
    }

    // SAFETY: the event is two pointers into memory that belongs to no thread. All that is done
    // through the pointers is done under a mutex in that memory.
    unsafe impl Send for Event {}
    // SAFETY: as above.
    unsafe impl Sync for Event {}

    impl fmt::Debug for Event {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Event").finish_non_exhaustive()
        }
    }

    impl Event {
        /// Opens the event by which the side `of` is woken. Makes a new one if `make` is true.
        pub(crate) fn at(memory: Arc<Memory>, of: Side, make: bool) -> Result<Event, SegmentError> {
            let [parents, workers] = &memory.events().events;
            let place = match of {
                Side::Parent => parents,
                Side::Worker => workers,
            };
            let at: *mut u8 = place.as_ptr().cast_mut().cast();
            if Inner::size_of(Some(at)) > EVENT_BYTES / 2 {
                return Err(failed("this C library's events are larger than any known"));
            }
            let found = if make {
                // SAFETY: EVENT_BYTES of memory are shared, writable, aligned to 128 and stay while
                // `memory` does. The event takes at most half of them and, wrongly, says that it
                // takes more. No other process has the segment yet.
                unsafe { Inner::new(at, true) }
            } else {
                // SAFETY: as above; the parent has made the event before it wrote the header, which
                // was checked.
                unsafe { Inner::from_existing(at) }
            };
            let (inner, _) = found.map_err(|error| failed(&error.to_string()))?;
            // SAFETY: the event that is there now begins with its mutex. The mutex has no data:
            // what a guard of it would point to is never looked at.
            let mutex = unsafe { Mutex::from_existing(at, std::ptr::null_mut()) };
            let (mutex, _) = mutex.map_err(|error| failed(&error.to_string()))?;
            Ok(Event { inner, mutex, _memory: memory })
        }

        /// Waits until the event is set, at most `seconds` by the wall clock. Returns `false` if it
        /// was not set, and also if the wait was refused: the package does not tell the two apart.
        pub(crate) fn wait(&self, seconds: u64) -> bool {
            self.inner.wait(Timeout::Val(Duration::from_secs(seconds))).is_ok()
        }

        /// Sets the event.
        pub(crate) fn set(&self) {
            let set = self.inner.set(EventState::Signaled);
            debug_assert!(set.is_ok(), "signalling a condition does not fail");
        }

        /// Lets those threads go that are about to enter an event in which a process has died.
        ///
        /// Call this only once the peer has ended. Threads of this process are inside for moments
        /// only, so what is inside for a second is the dead process.
        ///
        /// POSIX does not say what happens when a thread opens a mutex for another; the C libraries
        /// of Linux open it. The second is one of the time of day. If that clock jumps, a thread of
        /// this process may be inside, and its mutex is opened twice. That does no harm to a pair
        /// that is over.
        pub(crate) fn free(&self) {
            if self.mutex.try_lock(Timeout::Val(Duration::from_secs(1))).is_err() {
                let opened = self.mutex.release();
                debug_assert!(opened.is_ok(), "a plain mutex does not check which thread opens it");
            }
        }
    }

    /// Returns what an event is, in 32 bits: a hash of the sizes and of the library that it belongs
    /// to. Thus no side opens an event that means something else.
    pub(crate) fn kind() -> u64 {
        let (mutex, condition) =
            (size_of::<libc::pthread_mutex_t>(), size_of::<libc::pthread_cond_t>());
        // Another version may be another algorithm over the same bytes.
        let library = [format!("{mutex} {condition} {} ", usize::BITS), library()].concat();
        // FNV-1a: the hash must differ, no more.
        let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        library.bytes().fold(0x811c_9dc5, hash).into()
    }

    #[cfg(target_env = "gnu")]
    fn library() -> String {
        // SAFETY: takes nothing, and returns a text that is part of the library.
        let version = unsafe { libc::gnu_get_libc_version() };
        // SAFETY: as above: the text ends with a zero and stays.
        format!("gnu {}", unsafe { std::ffi::CStr::from_ptr(version) }.to_string_lossy())
    }

    /// Names a C library whose version cannot be asked for. Its layout has not changed since it
    /// supports the machines that this package does.
    #[cfg(not(target_env = "gnu"))]
    fn library() -> String {
        if cfg!(target_env = "musl") { "musl" } else { "other" }.to_owned()
    }

    fn failed(what: &str) -> SegmentError {
        SegmentError::Os {
            action: "make or find an event in the shared memory",
            source: io::Error::other(what.to_owned()),
        }
    }
}

#[cfg(loom)]
mod imp {
    use crate::sync::{Arc, Condvar, Mutex};

    /// A model of the event. Clones are the same event.
    #[derive(Debug, Clone)]
    pub(crate) struct Event(Arc<(Mutex<bool>, Condvar)>);

    impl Event {
        pub(crate) fn new() -> Event {
            Event(Arc::new((Mutex::new(false), Condvar::new())))
        }

        pub(crate) fn wait(&self) {
            let (set, changed) = &*self.0;
            let mut set = set.lock().unwrap();
            while !*set {
                set = changed.wait(set).unwrap();
            }
            *set = false;
        }

        pub(crate) fn set(&self) {
            let (set, changed) = &*self.0;
            *set.lock().unwrap() = true;
            changed.notify_one();
        }
    }
}

pub(crate) use imp::Event;
#[cfg(not(loom))]
pub(crate) use imp::kind;
