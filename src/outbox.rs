//! The sending side of an end: one message at a time, in the order of the senders, with a deadline for each.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use coprocess_ring::{ChannelError, Progress, Room, Sender};

use crate::end::End;
use crate::envelope::Message;
use crate::error::{Error, Result};
use crate::sync::lock;

/// How long a sender is prepared to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until this moment, or for ever.
    Until(Option<Instant>),
    /// For ever, even where an emit would be refused because both ends flood each other: the other end waits for this answer.
    Answer,
}

impl Patience {
    fn deadline(self) -> Option<Instant> {
        match self {
            Patience::Until(deadline) => deadline,
            Patience::None | Patience::Answer => None,
        }
    }
}

#[derive(Debug)]
struct Out {
    sender: Sender,
    /// A sender waits for room without holding the lock, perhaps in the midst of its message: nobody else may send.
    busy: bool,
    messages: u64,
    bytes: u64,
    waits_for_room: u64,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    out: Mutex<Out>,
    /// `busy` has become false, or the end has ended, or the backlog is full.
    turn: Condvar,
}

/// Counters of the sending side.
pub(crate) struct Sent {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) waits_for_room: u64,
    pub(crate) wakeups: u64,
}

impl Outbox {
    pub(crate) fn new(sender: Sender) -> Outbox {
        Outbox { out: Mutex::new(Out { sender, busy: false, messages: 0, bytes: 0, waits_for_room: 0 }), turn: Condvar::new() }
    }

    /// Publishes a message, waiting for room as long as `patience` allows.
    ///
    /// # Errors
    ///
    /// Nothing was sent in the sense that the receiver will ever see it.
    #[inline]
    pub(crate) fn send(&self, end: &End, message: &Message, patience: Patience) -> Result<()> {
        let mut out = lock(&self.out);
        if !out.busy {
            end.check_open()?;
            match out.sender.send(message.words(), message.bytes()) {
                Ok(Progress::Sent) => {
                    out.messages += 1;
                    out.bytes += message.bytes() as u64;
                    return Ok(());
                }
                Ok(Progress::NoRoom(room)) => return self.send_in_turns(end, out, message, patience, room),
                Err(error) => {
                    drop(out);
                    return Err(end.channel_failed(error));
                }
            }
        }
        self.queue(end, out, message, patience)
    }

    /// Waits until nobody else is in the midst of sending.
    #[cold]
    fn queue<'a>(&'a self, end: &End, mut out: MutexGuard<'a, Out>, message: &Message, patience: Patience) -> Result<()> {
        while out.busy {
            end.check_open()?;
            if patience == Patience::None {
                return Err(Error::Full);
            }
            if patience != Patience::Answer && end.must_not_wait_here() {
                return Err(Error::Full);
            }
            out = match patience.deadline() {
                None => self.turn.wait(out).unwrap_or_else(|p| p.into_inner()),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Error::Timeout);
                    }
                    self.turn.wait_timeout(out, left).unwrap_or_else(|p| p.into_inner()).0
                }
            };
        }
        end.check_open()?;
        match out.sender.send(message.words(), message.bytes()) {
            Ok(Progress::Sent) => {
                out.messages += 1;
                out.bytes += message.bytes() as u64;
                Ok(())
            }
            Ok(Progress::NoRoom(room)) => self.send_in_turns(end, out, message, patience, room),
            Err(error) => {
                drop(out);
                Err(end.channel_failed(error))
            }
        }
    }

    /// Sends what is left of a message, waiting for room in between.
    #[cold]
    fn send_in_turns<'a>(
        &'a self,
        end: &End,
        mut out: MutexGuard<'a, Out>,
        message: &Message,
        patience: Patience,
        mut room: Room,
    ) -> Result<()> {
        out.busy = true;
        out.waits_for_room += 1;
        let outcome = loop {
            if patience == Patience::None {
                break Err(Error::Full);
            }
            drop(out);
            let waited = end.wait_for_room(room, patience.deadline(), patience == Patience::Answer, || self.stir());
            out = lock(&self.out);
            if let Err(error) = waited.and_then(|()| end.check_open()) {
                break Err(error);
            }
            match out.sender.send(message.words(), message.bytes()) {
                Ok(Progress::Sent) => break Ok(()),
                Ok(Progress::NoRoom(more)) => room = more,
                Err(error) => {
                    drop(out);
                    let failed = end.channel_failed(error);
                    out = lock(&self.out);
                    break Err(failed);
                }
            }
        };
        match outcome {
            Ok(()) => {
                out.messages += 1;
                out.bytes += message.bytes() as u64;
            }
            // The receiver drops what it has of it.
            Err(_) => out.sender.abandon(),
        }
        out.busy = false;
        self.turn.notify_all();
        outcome
    }

    /// Says that nothing follows. A message that is under way is not waited for.
    pub(crate) fn close(&self) -> std::result::Result<(), ChannelError> {
        lock(&self.out).sender.close()
    }

    /// Lets everybody who waits for a turn look again.
    pub(crate) fn stir(&self) {
        // The lock makes sure that nobody is between looking and waiting.
        drop(lock(&self.out));
        self.turn.notify_all();
    }

    pub(crate) fn counters(&self) -> Sent {
        let out = lock(&self.out);
        Sent { messages: out.messages, bytes: out.bytes, waits_for_room: out.waits_for_room, wakeups: out.sender.wakeups() }
    }
}
