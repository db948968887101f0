//! An event in shared memory: the package `raw_sync`, as far as it can be used safely, which takes another side that can be trusted. What the C library
//! keeps in a mutex and a condition, pointers included, it believes.
//!
//! Binary: set any number of times, it lets one wait end. See `proxy` for what it takes to use one.

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
        /// What is entered to wait for it and to set it: the beginning of the event itself.
        mutex: Box<dyn LockImpl>,
        /// What it lies in.
        _memory: Arc<Memory>,
    }

    // SAFETY: it is two pointers into memory that belongs to no thread, and all that is done through them is done under a mutex in that memory.
    unsafe impl Send for Event {}
    // SAFETY: as above.
    unsafe impl Sync for Event {}

    impl fmt::Debug for Event {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Event").finish_non_exhaustive()
        }
    }

    impl Event {
        /// The event by which `of` is woken; a new one, if `make`.
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
                // SAFETY: EVENT_BYTES of memory that is shared, writable, aligned to 128 and stays while the memory does; it takes at most
                // half of it and says so, wrongly, in more. Nobody else has the segment yet.
                unsafe { Inner::new(at, true) }
            } else {
                // SAFETY: as above; the parent has made it before it wrote the header, which was checked.
                unsafe { Inner::from_existing(at) }
            };
            let (inner, _) = found.map_err(|error| failed(&error.to_string()))?;
            // SAFETY: the event that is there now begins with its mutex. Without data: what a guard of it would point to is never looked at.
            let mutex = unsafe { Mutex::from_existing(at, std::ptr::null_mut()) };
            let (mutex, _) = mutex.map_err(|error| failed(&error.to_string()))?;
            Ok(Event { inner, mutex, _memory: memory })
        }

        /// Waits until it is set, for at most so many seconds, by the wall clock. False, too, if the wait was refused: the package does not
        /// tell one from the other.
        pub(crate) fn wait(&self, seconds: u64) -> bool {
            self.inner.wait(Timeout::Val(Duration::from_secs(seconds))).is_ok()
        }

        /// Sets it.
        pub(crate) fn set(&self) {
            let set = self.inner.set(EventState::Signaled);
            debug_assert!(set.is_ok(), "signalling a condition does not fail");
        }

        /// Lets those go who are about to enter an event in which somebody has died. Only once the other process has ended: the threads of this
        /// one are inside for moments, so who is there for a second is the dead one.
        ///
        /// POSIX does not say what happens when one opens a mutex for another; the C libraries of Linux open it. The second is one of the time of
        /// day: if that jumps, a thread of this process may be inside, and its mutex be opened twice, which does no harm to a pair that is over.
        pub(crate) fn free(&self) {
            if self.mutex.try_lock(Timeout::Val(Duration::from_secs(1))).is_err() {
                let opened = self.mutex.release();
                debug_assert!(opened.is_ok(), "a plain mutex does not ask who opens it");
            }
        }
    }

    /// What an event is, so that nobody opens one that means something else: the sizes, and whose it is. 32 bits.
    pub(crate) fn kind() -> u64 {
        let (mutex, condition) = (size_of::<libc::pthread_mutex_t>(), size_of::<libc::pthread_cond_t>());
        // Of another version it may be another algorithm over the same bytes.
        let library = [format!("{mutex} {condition} {} ", usize::BITS), library()].concat();
        // FNV-1a: it has to differ, no more.
        let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        library.bytes().fold(0x811c_9dc5, hash).into()
    }

    #[cfg(target_env = "gnu")]
    fn library() -> String {
        // SAFETY: takes nothing, and returns a text that is part of the library.
        let version = unsafe { libc::gnu_get_libc_version() };
        // SAFETY: as above: it ends with a zero and stays.
        format!("gnu {}", unsafe { std::ffi::CStr::from_ptr(version) }.to_string_lossy())
    }

    /// Its version cannot be asked for; its layout has not changed since it supports the machines this package does.
    #[cfg(not(target_env = "gnu"))]
    fn library() -> String {
        if cfg!(target_env = "musl") { "musl" } else { "other" }.to_owned()
    }

    fn failed(what: &str) -> SegmentError {
        SegmentError::Os { action: "make or find an event in the shared memory", source: io::Error::other(what.to_owned()) }
    }
}

#[cfg(loom)]
mod imp {
    use crate::sync::{Arc, Condvar, Mutex};

    /// The same, modelled. The clones are the same event.
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
