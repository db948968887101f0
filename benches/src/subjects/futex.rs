//! A bare futex each way, on which both sides always sleep.

#![allow(unsafe_code, reason = "the system call, and promising that the words are atomics")]

use std::cell::Cell;
use std::io;
use std::process::Stdio;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};
use std::time::Duration;

use crate::Result;
use crate::measure::Subject;
use crate::peer::Peer;
use crate::subjects::memory::{Shared, Words};

pub(crate) const PEER: &str = "futex";

/// Bounds how long the parent waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A word on a cache line of its own.
#[repr(C, align(128))]
#[derive(Debug)]
struct Word(AtomicU32);

#[repr(C)]
#[derive(Debug)]
struct Board {
    request: Word,
    response: Word,
}

// SAFETY: atomics and padding, less than a page.
unsafe impl Words for Board {}

impl Word {
    /// Stores `value` and wakes the side that waits for it.
    fn publish(&self, value: u32) -> io::Result<()> {
        self.0.store(value, Release);
        // SAFETY: the word is valid, and the kernel uses its address only.
        let woken =
            unsafe { libc::syscall(libc::SYS_futex, &raw const self.0, libc::FUTEX_WAKE, 1) };
        if woken < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sleeps while the word is `old`, and returns the new value.
    fn wait(&self, old: u32, patience: Option<Duration>) -> io::Result<u32> {
        let timeout = patience.map(|patience| libc::timespec {
            tv_sec: patience.as_secs().cast_signed(),
            tv_nsec: 0,
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        loop {
            let value = self.0.load(Acquire);
            if value != old {
                return Ok(value);
            }
            // SAFETY: the word is valid. The kernel reads only the word and the timeout, which is
            // null or lives until the call returns.
            let waited = unsafe {
                libc::syscall(libc::SYS_futex, &raw const self.0, libc::FUTEX_WAIT, old, timeout)
            };
            if waited < 0 {
                let error = io::Error::last_os_error();
                if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) {
                    return Err(error);
                }
            }
        }
    }
}

/// Two processes that wake each other.
#[derive(Debug)]
pub struct Futex {
    shared: Shared<Board>,
    sent: Cell<u32>,
    peer: Peer,
}

impl Futex {
    /// Starts the second process, which sleeps until there is something to answer.
    ///
    /// # Errors
    ///
    /// Memory cannot be shared, or the process cannot be started.
    pub fn start() -> Result<Futex> {
        let (shared, file) = Shared::create(c"futex")?;
        let peer = Peer::start(PEER, &[], Stdio::null(), file)?;
        Ok(Futex { shared, sent: Cell::new(0), peer })
    }

    /// Returns the id of the second process.
    pub fn peer_id(&self) -> u32 {
        self.peer.id()
    }

    /// Sends four bytes, the word itself, there and back.
    pub fn round_trip(&self) -> Subject<'_> {
        let exchange = |_| {
            let old = self.sent.get();
            let value = old.wrapping_add(1);
            self.sent.set(value);
            self.shared.request.publish(value)?;
            if self.shared.response.wait(old, Some(PATIENCE))? != value {
                return Err("the words are mixed up".into());
            }
            Ok(())
        };
        Subject::new(
            "futex",
            "a word: no bytes of one's own, always sleeps",
            move |count, timing| {
                exchange(0)?;
                Ok(timing.laps(count, exchange)?.into())
            },
        )
    }
}

/// Runs in the second process: answers every word with itself, until it is killed.
pub(crate) fn serve(_: &[String]) -> Result<()> {
    let shared = Shared::<Board>::inherited()?;
    let mut seen = 0;
    loop {
        seen = shared.request.wait(seen, None)?;
        shared.response.publish(seen)?;
    }
}
