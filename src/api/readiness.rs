//! A descriptor for event loops: readable while there is something to dispatch.
//!
//! While it exists, a thread of the library has the seat of the driver, but dispatches nothing. It sleeps on the ring's bell, as any driver does; when a
//! message comes it *raises* the descriptor, and then sleeps until `poll` has lowered it, away from the bell. So the other side makes no system call for messages that
//! come meanwhile, and nobody makes any where there is no such descriptor.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Weak};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::api::coprocess::Coprocess;
use crate::drive::ready_signal::ReadySignal;
use crate::end::End;
use crate::error::{Error, Result};
use crate::process::Descriptor;

/// A descriptor that is readable while [`Coprocess::poll`] has something to do, by [`Coprocess::readiness`].
///
/// It is for `epoll` and whatever is built on it. Wait until it is readable, then call [`poll`](Coprocess::poll), which takes care of the
/// descriptor: do not read from it. It stays readable while something is left to dispatch, and for ever once the pair is over, when `poll` returns why. It may be readable although
/// another thread has dispatched everything meanwhile.
///
/// As long as it exists, the library's own thread dispatches nothing for this end: handlers run inside of `poll`, on the thread of the event loop (and, as ever, where a
/// thread waits in a call), and that is also where futures are woken, callbacks run and deadlines of both are noticed: the descriptor becomes readable for these, too, but as long as nobody
/// does any of this, none of them ends. So an event loop that has one must poll. Dropping it gives all that back to the library. It does not keep the pair open.
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
/// // SAFETY: the descriptor is open as long as the value, and always the same. (In a tokio before 1.54: `AsyncFd::with_interest`.)
/// let readiness = unsafe { AsyncFd::register_with_interest(co.readiness()?, Interest::READABLE)? };
/// loop {
///     readiness.readable().await?.clear_ready(); // before the poll: what comes during it makes it ready again
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
        // Without the end there is no thread any more. In a child of fork(2) this is but a copy.
        let Some(end) = self.end.upgrade().filter(|end| !end.is_foreign()) else { return };
        if end.ready_slot.drop_handle(&self.signal) {
            end.evict();
            end.driver.slot.notify_all();
        }
    }
}

impl Coprocess {
    /// A descriptor that is readable while [`poll`](Self::poll) has something to do, for an event loop that should run the handlers of this end; see
    /// [`Readiness`].
    ///
    /// Nobody pays for it while none exists. This waits for the thread of the library that dispatched so far to return from the handler that
    /// it may be in, unless this is that handler; a thread in [`run`](Self::run) goes on, and the descriptor stays silent until that has returned. Several at once are the same descriptor, twice.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system refuses the descriptor or a thread. If the pair is over: why.
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
