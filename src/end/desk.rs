//! Holds what a thread works with while it dispatches, and what a look at the inbox brings.
//!
//! A thread makes a desk for one wait or one round of dispatching, and does not share it. The bytes
//! of [`Received::Answer`] lie in the buffer of the desk: read them before the next message comes.

use crate::calls::answer::Answer;
use crate::calls::timers::Timers;
use crate::end::End;
use crate::recv::handlers::Snapshot;
use crate::time::deadline::Deadline;
use crate::wire::message::{keep_spare, take_spare};

/// Holds the buffer and the handlers of a thread that dispatches.
pub(crate) struct Desk {
    /// The message that was received last.
    pub(crate) buffer: Vec<u64>,
    /// The handlers as this thread saw them last.
    pub(crate) handlers: Snapshot<End>,
}

impl Desk {
    #[inline]
    pub(crate) fn new() -> Desk {
        Desk { buffer: take_spare(), handlers: Snapshot::default() }
    }
}

impl Drop for Desk {
    #[inline]
    fn drop(&mut self) {
        keep_spare(std::mem::take(&mut self.buffer));
    }
}

/// Says what one look at the inbox brought.
#[derive(Debug)]
pub(crate) enum Received {
    /// No message was there, and none came in the time that is worth a spin.
    Nothing,
    /// No whole message came. A part of a message is there, or the state of the end has changed, or
    /// another thread needs something of this thread.
    Interrupted,
    /// No message was taken: too many answers wait for the peer to read them.
    AboveWatermark,
    /// A message was handled.
    Dispatched,
    /// A message of the library itself, about types, was handled.
    Noted,
    /// The answer to the awaited call came. Its result is in the buffer of the desk.
    Answer(Answer),
}

/// Says whether to spin for a message, and what else ends the spin.
#[derive(Clone, Copy)]
pub(crate) enum SpinFor<'a> {
    /// The thread does not spin.
    Nothing,
    /// The thread waits for an answer, until this deadline.
    Answer(Deadline),
    /// The thread is the driver, and stops spinning if this returns `true`.
    Driver(&'a dyn Fn() -> bool),
}

impl SpinFor<'_> {
    /// Returns `true` if the driver must stop spinning.
    #[inline]
    pub(crate) fn is_over(self) -> bool {
        matches!(self, SpinFor::Driver(over) if over())
    }

    /// Returns when the spin ends at the latest: the deadline of the wait, or the earliest timer.
    #[inline]
    pub(crate) fn until(self, timers: &Timers) -> Deadline {
        match self {
            SpinFor::Answer(deadline) => deadline.earlier(timers.earliest()),
            SpinFor::Driver(_) | SpinFor::Nothing => timers.earliest(),
        }
    }
}
