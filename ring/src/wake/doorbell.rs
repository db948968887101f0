//! Says when to look at a ring, never what is there.
//!
//! A doorbell is one word in the segment. The word is zero while no thread sleeps. A thread that is
//! about to sleep writes its mark into the word. The peer changes what the sleeper waits for, then
//! clears the mark and wakes the sleeper. While both sides are busy, neither makes a call into the
//! kernel.
//!
//! # Why no wake-up is lost
//!
//! - The sleeper: `arm` (store the mark) → `fence(SeqCst)` → look at the ring → sleep while the
//!   word is still the mark.
//! - The peer: publish into the ring → `fence(SeqCst)` → load the word → if the word is not zero,
//!   clear it and wake.
//!
//! The two fences are totally ordered.
//!
//! - If the sleeper's fence is first, the peer's load sees the mark, and the peer clears it and
//!   wakes. The kernel compares the word under its own lock before it lets a thread sleep. So the
//!   sleeper is in the queue already and is woken, or finds the word changed and does not sleep.
//! - If the peer's fence is first, the sleeper's look at the ring sees what was published, and the
//!   sleeper does not sleep at all.
//!
//! The tests have the model of this, and broken variants that the model catches.
//!
//! # Two sleepers on one doorbell
//!
//! A [`Sleeper::Driver`] stays asleep in the kernel while a [`Sleeper::Waiter`] of the same process
//! takes over the watch. The waiter writes zero or its own mark into the word. When the waiter
//! leaves, it writes the driver's mark again and looks at the ring. The waker passes the mark to
//! the kernel as a set of bits, so only the thread whose mark is in the word is woken.
//!
//! # What a hostile peer can do
//!
//! A hostile peer can write any mark at any time.
//!
//! - A needless mark costs the waker one system call a message.
//! - A mark that is rewritten can make a sleeper miss a wake-up by its own process. So a local
//!   waker repeats [`Doorbell::wake_local`] until the sleeper has answered.
//! - No mark makes a wait outlast its deadline.

use std::io;
use std::time::Instant;

use crate::sync::atomic::{AtomicU32, Ordering, fence};
use crate::wake::doorbell_id::DoorbellId;
use crate::wake::primitive::Primitive;
use crate::wake::wait_end::WaitEnd;

/// Says which thread of a side sleeps on a doorbell. Each kind has a bit of its own, its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Sleeper {
    /// The thread that receives when no other thread of its side does.
    Driver = 1,
    /// A thread that waits for something of its own.
    Waiter = 2,
}

/// A doorbell, by reference to its word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doorbell<'a> {
    word: &'a AtomicU32,
    primitive: &'a Primitive,
    id: DoorbellId,
}

impl<'a> Doorbell<'a> {
    #[inline]
    pub(crate) fn new(word: &'a AtomicU32, primitive: &'a Primitive, id: DoorbellId) -> Self {
        Doorbell { word, primitive, id }
    }

    /// Announces a sleep.
    ///
    /// Before the caller calls [`sleep`](Self::sleep), it must look once more at what it waits for.
    pub(crate) fn arm(&self, sleeper: Sleeper) {
        // Relaxed: the fence orders the store; the word carries no data, only "look again".
        self.word.store(sleeper as u32, Ordering::Relaxed);
        // The sleeper's half of the proof above; pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back.
    pub(crate) fn disarm(&self) {
        // Relaxed: a mark that the peer sees too long costs it one needless system call, no more.
        self.word.store(0, Ordering::Relaxed);
    }

    /// Sleeps until the doorbell is rung, at most until `deadline`. Returns `false` if the deadline
    /// passed.
    pub(crate) fn sleep(&self, sleeper: Sleeper, deadline: Option<Instant>) -> io::Result<bool> {
        Ok(self.primitive.wait(self.id, self.word, sleeper as u32, deadline)? == WaitEnd::Recheck)
    }

    /// Wakes the peer if it sleeps. Returns `true` if a system call was made.
    ///
    /// The caller calls this after publishing.
    #[inline]
    pub(crate) fn ring(&self) -> io::Result<bool> {
        // The publisher's half of the proof above; pairs with the fence in `arm`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders the load.
        if self.word.load(Ordering::Relaxed) == 0 {
            return Ok(false);
        }
        ring_slowly(self.word, self.primitive, self.id)
    }

    /// Wakes a sleeper of this process, whatever the word says. Returns how many slept in the
    /// kernel.
    ///
    /// If the answer is zero and the sleeper has not noticed by itself, the sleeper is on its way
    /// into the kernel. Then the caller must repeat.
    pub(crate) fn wake_local(&self, sleeper: Sleeper) -> io::Result<usize> {
        // Relaxed: see `arm`. Only this sleeper's mark is cleared: another thread that has the
        // watch sleeps on, and the peer must find it.
        let _ = self.word.compare_exchange(sleeper as u32, 0, Ordering::Relaxed, Ordering::Relaxed);
        self.primitive.wake_local(self.id, self.word, sleeper as u32)
    }
}

/// Takes the doorbell in pieces, so that the doorbell of a side that does not sleep never has to be
/// in memory. Nearly every doorbell is one of those.
#[cold]
fn ring_slowly(word: &AtomicU32, primitive: &Primitive, id: DoorbellId) -> io::Result<bool> {
    // Relaxed: see `Doorbell::arm`. The mark is cleared before the wake-up, so that a sleeper on
    // its way into the kernel finds the word changed.
    let mark = word.swap(0, Ordering::Relaxed);
    if mark == 0 {
        return Ok(false);
    }
    primitive.wake_peer(id, word, mark)?;
    Ok(true)
}
