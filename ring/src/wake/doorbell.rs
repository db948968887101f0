//! The semaphore of a ring: says when to look, never what is there.
//!
//! A doorbell is one word in the segment. It is zero while nobody sleeps; a side that is about to sleep writes its mark into it, and the
//! other side, having changed what the sleeper waits for, clears the mark and wakes it. While both sides are busy nobody makes a call
//! into the kernel.
//!
//! # Why no wake-up is lost
//!
//! The sleeper does:   `arm` (store mark) → `fence(SeqCst)` → look at the ring → sleep while the word is still the mark.
//! The other side does: publish into the ring → `fence(SeqCst)` → load the word → if it is not zero: clear it, wake.
//!
//! The two fences are totally ordered. If the sleeper's is first, the other side's load sees the mark, clears it and wakes: the kernel
//! compares the word under its own lock before it lets anybody sleep, so the sleeper either is in the queue already and is woken, or
//! finds the word changed and does not sleep. If the other side's fence is first, the sleeper's look at the ring sees what was
//! published and it does not sleep at all. `tests` has the model of this, and a broken variant that the model catches.
//!
//! # Two sleepers on one doorbell
//!
//! [`Sleeper::Driver`] stays asleep in the kernel while a [`Sleeper::Waiter`] of the same process takes over the watch: the guest
//! writes zero or its own mark into the word, and the resident's mark again when it leaves, with a look at the ring. The mark is also the
//! set of bits that the waker passes to the kernel, so only the one whose mark is up is woken.
//!
//! # What a hostile side can do
//!
//! It can write any mark at any time. That costs the waker one system call a message; and it can make a sleeper miss a wake-up of its own
//! process, so a local waker repeats [`Doorbell::wake_local`] until the sleeper has answered. It can never make a wait outlast its deadline.

use std::io;
use std::time::Instant;

use crate::sync::atomic::{AtomicU32, Ordering, fence};
use crate::wake::doorbell_id::DoorbellId;
use crate::wake::primitive::Primitive;
use crate::wake::wait_end::WaitEnd;

/// Who sleeps on a doorbell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Sleeper {
    /// The thread that looks after the ring when nobody else does.
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

    /// Announces a sleep. The caller must look at what it waits for once more before it calls [`sleep`](Self::sleep).
    pub(crate) fn arm(&self, who: Sleeper) {
        // Relaxed: the fence orders it; the word carries no data, only "look again".
        self.word.store(who as u32, Ordering::Relaxed);
        // The sleeper's half of the proof above; its partner is the fence in `ring`.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back.
    pub(crate) fn disarm(&self) {
        // Relaxed: a mark that is seen too long costs the other side one needless system call, no more.
        self.word.store(0, Ordering::Relaxed);
    }

    /// Sleeps until the doorbell is pending_marks, at most until `deadline`. Returns false if the deadline passed.
    pub(crate) fn sleep(&self, who: Sleeper, deadline: Option<Instant>) -> io::Result<bool> {
        Ok(self.primitive.wait(self.id, self.word, who as u32, deadline)? == WaitEnd::Recheck)
    }

    /// Wakes the other side if it sleeps. Call after publishing. Returns whether a system call was made.
    #[inline]
    pub(crate) fn ring(&self) -> io::Result<bool> {
        // The publisher's half of the proof above; its partner is the fence in `arm`.
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence.
        if self.word.load(Ordering::Relaxed) == 0 {
            return Ok(false);
        }
        ring_slowly(self.word, self.primitive, self.id)
    }

    /// Wakes a sleeper of this process, whatever the word says. Returns how many were in the kernel: where the answer is zero and the
    /// sleeper has not noticed by itself, it is on its way there, and the caller must repeat.
    pub(crate) fn wake_local(&self, who: Sleeper) -> io::Result<usize> {
        // Relaxed: see `arm`. Only this one's mark: another who has the watch sleeps on, and must be found by the other side.
        let _ = self.word.compare_exchange(who as u32, 0, Ordering::Relaxed, Ordering::Relaxed);
        self.primitive.wake_local(self.id, self.word, who as u32)
    }
}

/// In pieces, so that the doorbell of a side that does not sleep, which is nearly every one, never comes to be in memory.
#[cold]
fn ring_slowly(word: &AtomicU32, primitive: &Primitive, id: DoorbellId) -> io::Result<bool> {
    // Relaxed: see `Doorbell::arm`. Clearing comes before waking, so that a sleeper on its way into the kernel finds the word changed.
    let mark = word.swap(0, Ordering::Relaxed);
    if mark == 0 {
        return Ok(false);
    }
    primitive.wake_peer(id, word, mark)?;
    Ok(true)
}
