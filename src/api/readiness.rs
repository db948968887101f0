//! A descriptor for event loops: readable while there is something to dispatch.
//!
//! While the descriptor exists, a thread of the library has the driver slot, but dispatches
//! nothing. That thread sleeps on the ring's doorbell, as any driver does. When a message comes,
//! the thread *raises* the descriptor. Then it sleeps away from the doorbell, until `poll` has
//! lowered the descriptor.
//!
//! So the peer makes no system call for messages that come meanwhile. Where there is no such
//! descriptor, no thread makes a system call for it.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Weak};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::api::coprocess::Coprocess;
use crate::drive::ready_signal::ReadySignal;
use crate::end::End;
use crate::error::{Error, Result};
use crate::process::Descriptor;

/// A descriptor that is readable while [`Coprocess::poll`] has something to do, by
/// [`Coprocess::readiness`].
///
/// It is for `epoll`, and for event loops that are built on `epoll`. Wait until it is readable,
/// then call [`poll`](Coprocess::poll). `poll` also resets the descriptor: do not read from it.
///
/// - The descriptor stays readable while something is left to dispatch.
/// - Once the pair is over, the descriptor is readable for ever, and `poll` returns why.
/// - If another thread has dispatched everything meanwhile, the descriptor may be readable all the
///   same.
///
/// A `Readiness` does not keep the pair open.
///
/// # An event loop that has one must poll
///
/// As long as a `Readiness` exists, the driver dispatches nothing for this end. Handlers run inside
/// of `poll`, on the thread of the event loop. As ever, they also run where a thread waits in a
/// call.
///
/// The same threads wake futures, run callbacks, and notice the deadlines of both. The descriptor
/// becomes readable for these, too. But as long as no thread polls or waits in a call, no future
/// and no callback ends.
///
/// Dropping the last `Readiness` of an end hands all this back to the driver.
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
/// let readiness = co.readiness()?;
/// // SAFETY: the descriptor is open as long as the value, and always has the same number.
/// // (In a tokio before 1.54: `AsyncFd::with_interest`.)
/// let readiness = unsafe { AsyncFd::register_with_interest(readiness, Interest::READABLE)? };
/// loop {
///     // Before the poll: what comes during the poll makes the descriptor ready again.
///     readiness.readable().await?.clear_ready();
///     co.poll()?;
/// }
/// # }
/// ```
pub struct Readiness {
    signal: Arc<ReadySignal>,
    end: Weak<End>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("descriptor", &self.as_raw_fd()).finish()
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        // Without the end, there is no thread any more. In a child of fork(2), this handle is a
        // copy.
        let Some(end) = self.end.upgrade().filter(|end| !end.is_foreign()) else { return };
        if end.ready_slot.drop_handle(&self.signal) {
            end.evict();
            end.driver.slot.notify_all();
        }
    }
}

impl Coprocess {
    /// Returns a descriptor that is readable while [`poll`](Self::poll) has something to do.
    ///
    /// Use it for an event loop that should run the handlers of this end: see [`Readiness`]. While
    /// no `Readiness` exists, no thread pays for it. Several of one end are one descriptor.
    ///
    /// If a thread is in [`run`](Self::run), that thread goes on to dispatch, and the descriptor
    /// stays silent until `run` has returned.
    ///
    /// # Blocking
    ///
    /// Blocks until the driver has returned from the handler that it may be in. In that handler,
    /// does not block.
    ///
    /// # Errors
    ///
    /// - [`Error::Os`]: the system refuses the descriptor or a thread.
    /// - If the pair is over: why the pair is over.
    ///
    /// # Examples
    ///
    /// See [`Readiness`].
    pub fn readiness(&self) -> Result<Readiness> {
        let end = self.end();
        end.check_own()?;
        let (signal, is_new) = end.ready_slot.get_or_open(|| {
            if end.is_over() {
                return Err(end.terminal_error());
            }
            let descriptor = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(std::io::Error::from)
                .and_then(Descriptor::new)
                .map_err(|source| Error::Os { action: "make an eventfd", source })?;
            let signal = ReadySignal::new(descriptor);
            let (thread_end, thread_signal) = (end.clone(), signal.clone());
            std::thread::Builder::new()
                .name("coprocess-ready".to_owned())
                .spawn(move || thread_end.raise_when_ready(&thread_signal))
                .map_err(|source| Error::Os {
                    action: "start the thread that watches for an event loop",
                    source,
                })?;
            Ok(signal)
        })?;
        let readiness = Readiness { signal, end: Arc::downgrade(end) };
        if is_new {
            end.evict();
            if !end.lead.is_mine() {
                end.driver.slot.wait_for_background();
            }
        }
        Ok(readiness)
    }
}
