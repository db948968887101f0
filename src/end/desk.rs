//! TODO end::desk

use std::ops::Range;
use std::time::Instant;

use crate::calls::in_flight::Outcome;
use crate::calls::timers::Timers;
use crate::end::End;
use crate::recv::handlers::Snapshot;
use crate::time::deadline::earlier;
use crate::wire::message::{keep_spare, take_spare};

/// What a thread that dispatches works with.
pub(crate) struct Desk {
    /// The message received last.
    pub(crate) buffer: Vec<u64>,
    /// Where in it the answer to the awaited call is.
    pub(crate) answer: Range<usize>,
    /// The outcome of the awaited call, if it is no answer, or was received by somebody else.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) handlers: Snapshot<End>,
}

impl Desk {
    #[inline]
    pub(crate) fn new() -> Desk {
        Desk { buffer: take_spare(), answer: 0..0, outcome: None, handlers: Snapshot::default() }
    }
}

impl Drop for Desk {
    #[inline]
    fn drop(&mut self) {
        keep_spare(std::mem::take(&mut self.buffer));
    }
}

/// What one look at the inbox brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Nothing was there, or has come in the time that was worth a spin.
    Nothing,
    /// No message, but a part of one, or the state of the end has changed, or another thread needs something of this one.
    Disturbed,
    /// Nothing was taken: too many answers wait for the other end to read them.
    Crowded,
    /// A message, and it is done with.
    Dispatched,
    /// The same, of the library itself, about types.
    Noted,
    /// The answer to the awaited call: the desk has it.
    Answer,
    /// The failure of the awaited call: the desk has it.
    Failure,
}

/// Whether to spin for a message, and what ends that besides.
#[derive(Clone, Copy)]
pub(crate) enum SpinFor<'a> {
    /// Not at all.
    Nothing,
    /// This thread waits for something of its own, until then.
    Answer(Option<Instant>),
    /// This thread is the resident, and goes if somebody says so.
    Resident(&'a dyn Fn() -> bool),
}

impl SpinFor<'_> {
    #[inline]
    pub(crate) fn is_over(self) -> bool {
        matches!(self, SpinFor::Resident(over) if over())
    }

    #[inline]
    pub(crate) fn until(self, timers: &Timers) -> Option<Instant> {
        match self {
            SpinFor::Answer(deadline) => earlier(deadline, timers.earliest()),
            SpinFor::Resident(_) | SpinFor::Nothing => timers.earliest(),
        }
    }
}
