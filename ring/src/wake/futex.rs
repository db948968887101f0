//! Waits on a word of memory that other processes share: the futex system call, without policy.
//!
//! This is the only file that looks at the errno of the call. The call always has the shared form,
//! never `FUTEX_PRIVATE_FLAG`: two processes map the word at different addresses. Each sleeper
//! carries a set of bits, and a wake-up names the bits it means. Thus two sleepers on one word can
//! be told apart.

use std::io;
use std::time::Instant;

use crate::sync::atomic::AtomicU32;
use crate::wake::wait_end::WaitEnd;

#[cfg(not(loom))]
mod imp {
    use super::*;
    use nix::time::{ClockId, clock_gettime};

    /// Sleeps while `word` is `expected`, at most until `deadline`. After a signal the sleep goes
    /// on, to the same deadline.
    pub(crate) fn wait(
        word: &AtomicU32,
        expected: u32,
        bits: u32,
        deadline: Option<Instant>,
    ) -> io::Result<WaitEnd> {
        // FUTEX_WAIT_BITSET takes an absolute time of the monotonic clock, so a signal does not
        // prolong the wait.
        let until = match deadline {
            None => None,
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                let now = std::time::Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
                // A deadline too far away for the kernel's clock is no deadline.
                now.checked_add(left).and_then(|t| {
                    // The type has another name, and a deprecated one, with each C library.
                    let tv_sec = t.as_secs().try_into().ok()?;
                    Some(libc::timespec {
                        tv_sec,
                        tv_nsec: libc::c_long::from(t.subsec_nanos() as i32),
                    })
                })
            }
        };
        let timeout = until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        loop {
            // SAFETY: the word is a live, aligned u32; `timeout` is null or points to a timespec
            // that outlives the call; the kernel only reads both.
            let r = unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    word.as_ptr(),
                    libc::FUTEX_WAIT_BITSET,
                    expected,
                    timeout,
                    std::ptr::null::<u32>(),
                    bits,
                )
            };
            if r == 0 {
                return Ok(WaitEnd::Recheck);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(WaitEnd::Recheck),
                Some(libc::ETIMEDOUT) => return Ok(WaitEnd::TimedOut),
                Some(libc::EINTR) => {}
                _ => return Err(error),
            }
        }
    }

    /// Wakes all threads that sleep on `word` with one of `bits`, which must not be zero. Returns
    /// how many slept.
    pub(crate) fn wake(word: &AtomicU32, bits: u32) -> io::Result<usize> {
        // SAFETY: the word is a live, aligned u32 whose address is only used as a key.
        let r = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE_BITSET,
                libc::c_int::MAX,
                std::ptr::null::<libc::timespec>(),
                std::ptr::null::<u32>(),
                bits,
            )
        };
        usize::try_from(r).map_err(|_| io::Error::last_os_error())
    }
}

#[cfg(loom)]
mod imp {
    //! Models the kernel's queue of waiters: a waiter sleeps until it is taken out of the queue,
    //! never longer, never shorter.
    use super::*;
    use loom::sync::{Condvar, Mutex};

    struct Entry {
        word: usize,
        bits: u32,
        id: usize,
    }

    loom::lazy_static! {
        static ref QUEUE: Mutex<(usize, Vec<Entry>)> = Mutex::new((0, Vec::new()));
        static ref WOKEN: Condvar = Condvar::new();
    }

    pub(crate) fn wait(
        word: &AtomicU32,
        expected: u32,
        bits: u32,
        _deadline: Option<Instant>,
    ) -> io::Result<WaitEnd> {
        let key = std::ptr::from_ref(word).addr();
        let mut queue = QUEUE.lock().unwrap();
        if word.load(loom::sync::atomic::Ordering::SeqCst) != expected {
            return Ok(WaitEnd::Recheck);
        }
        let id = queue.0;
        queue.0 += 1;
        queue.1.push(Entry { word: key, bits, id });
        while queue.1.iter().any(|e| e.id == id) {
            queue = WOKEN.wait(queue).unwrap();
        }
        Ok(WaitEnd::Recheck)
    }

    pub(crate) fn wake(word: &AtomicU32, bits: u32) -> io::Result<usize> {
        let key = std::ptr::from_ref(word).addr();
        let mut queue = QUEUE.lock().unwrap();
        let before = queue.1.len();
        queue.1.retain(|e| e.word != key || e.bits & bits == 0);
        let woken = before - queue.1.len();
        if woken > 0 {
            WOKEN.notify_all();
        }
        Ok(woken)
    }
}

pub(crate) use imp::{wait, wake};
