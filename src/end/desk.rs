//! What a thread that dispatches works with.

use crate::calls::answer::Answer;
use crate::calls::timers::Timers;
use crate::end::End;
use crate::recv::handlers::Snapshot;
use crate::time::deadline::Deadline;
use crate::wire::message::{keep_spare, take_spare};

pub(crate) struct Desk {
    /// The message received last.
    pub(crate) buffer: Vec<u64>,
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

/// What one look at the inbox brought.
#[derive(Debug)]
pub(crate) enum Received {
    /// Nothing was there, or has come in the time that was worth a spin.
    Nothing,
    /// No message, but a part of one, or the state of the end has changed, or another thread needs
    /// something of this one.
    Interrupted,
    /// Nothing was taken: too many answers wait for the peer to read them.
    AboveWatermark,
    /// A message was handled.
    Dispatched,
    /// A message of the library itself was handled: it is about types.
    Noted,
    /// The answer to the awaited call: its result is in the buffer of the desk.
    Answer(Answer),
}

/// Whether to spin for a message, and what else ends the spin.
#[derive(Clone, Copy)]
pub(crate) enum SpinFor<'a> {
    /// Does not spin.
    Nothing,
    /// This thread waits for an answer, until then.
    Answer(Deadline),
    /// This thread is the driver, and goes if this returns `true`.
    Driver(&'a dyn Fn() -> bool),
}

impl SpinFor<'_> {
    #[inline]
    pub(crate) fn is_over(self) -> bool {
        matches!(self, SpinFor::Driver(over) if over())
    }

    #[inline]
    pub(crate) fn until(self, timers: &Timers) -> Deadline {
        match self {
            SpinFor::Answer(deadline) => deadline.earlier(timers.earliest()),
            SpinFor::Driver(_) | SpinFor::Nothing => timers.earliest(),
        }
    }
}
