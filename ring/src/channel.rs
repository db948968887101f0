//! Messages of any size over a ring, and the waits for them.
//!
//! [`Sender`] and [`Receiver`] each belong to one thread at a time. What one waits for can be watched without owning them, through
//! [`Watch`]: a thread that sleeps must not keep the others from sending, or from taking the watch over.

use std::io;
use std::time::Instant;

use crate::bell::{Bell, Sleeper};
use crate::error::Misbehaved;
use crate::region::{Region, Side};
use crate::ring::{self, Consumer, Expected, Frame, Kind, Producer, Scout};
use crate::sync::atomic::Ordering;

/// Why a send or receive at this level failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The other side broke the protocol.
    #[error(transparent)]
    Misbehaved(#[from] Misbehaved),
    /// The system call that waits or wakes failed.
    #[error("cannot wait for the other side, or wake it: {0}")]
    Wakeup(#[from] io::Error),
}

/// How far a message has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All of it is published.
    Sent,
    /// There is no room for the next frame. The ticket can be waited for.
    NoRoom(Room),
}

/// The room that a sender waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    from: u64,
}

/// What a receiver waits for: its next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    expected: Expected,
}

/// What the other side reports about what this side has sent, by [`Watch::peer_report`]. A hostile
/// side reports what it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerReport {
    /// Whether it has registered a handler.
    pub has_registered: bool,
    /// Events that it has dropped, because no handler was registered for them.
    pub unheard: u64,
    /// Events that did not decode.
    pub undecodable: u64,
    /// Events that were of another type.
    pub mistyped: u64,
}

/// The sending end of a pair. One producer: whoever has the `&mut` may send.
#[derive(Debug)]
pub struct Sender {
    producer: Producer,
    region: Region,
    ring: usize,
    /// Bytes of the message under way that are already published; zero between messages.
    done: usize,
    /// Fragments of an abandoned message are in the ring: the next frame must say so.
    abort: bool,
    wakeups: u64,
}

impl Sender {
    /// The sender of `side`. Make one only.
    pub fn new(region: &Region, side: Side) -> Sender {
        let ring = side.outgoing();
        Sender { producer: Producer::new(region.clone(), ring), region: region.clone(), ring, done: 0, abort: false, wakeups: 0 }
    }

    /// Publishes as much of a message as there is room for, and wakes the receiver if it sleeps.
    ///
    /// `words` hold `bytes` bytes, and zeros after them. After [`Progress::NoRoom`] call again with the same message, or give it up by
    /// [`abandon`](Self::abandon).
    ///
    /// # Errors
    ///
    /// [`ChannelError::Misbehaved`] if the receiver's position makes no sense: the channel is dead.
    #[inline]
    pub fn send(&mut self, words: &[u64], bytes: usize) -> Result<Progress, ChannelError> {
        if bytes <= self.producer.max_frame_bytes() && self.done == 0 && !self.abort {
            if !self.producer.push(words, bytes, Kind::Last)? {
                return Ok(Progress::NoRoom(self.room_for(bytes)));
            }
            self.ring_bell()?;
            return Ok(Progress::Sent);
        }
        let all: &[u8] = bytemuck::cast_slice(words);
        self.send_slowly(all.get(..bytes).unwrap_or(all), &[])
    }

    /// As [`send`](Self::send), for a message that goes on in another place: `words`, then `rest`, without a copy that joins them.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_joined(&mut self, words: &[u64], rest: &[u8]) -> Result<Progress, ChannelError> {
        self.send_slowly(bytemuck::cast_slice(words), rest)
    }

    fn send_slowly(&mut self, first: &[u8], second: &[u8]) -> Result<Progress, ChannelError> {
        let sent = self.send_frames(first, second);
        if sent.is_err() {
            // Another thread may send before everybody knows that the channel is dead: its message is not the rest of this one.
            self.abandon();
        }
        sent
    }

    fn send_frames(&mut self, first: &[u8], second: &[u8]) -> Result<Progress, ChannelError> {
        if self.abort {
            if !self.producer.push(&[], 0, Kind::Abort)? {
                return Ok(Progress::NoRoom(self.room_for(0)));
            }
            self.abort = false;
            self.ring_bell()?;
        }
        let fragment = self.producer.max_frame_bytes();
        loop {
            // Every fragment but the last is of whole words: the first part is, if there is a second one.
            let (left, is_last_part) = match first.get(self.done..) {
                Some(left) if !left.is_empty() || second.is_empty() => (left, second.is_empty()),
                _ => (second.get(self.done.wrapping_sub(first.len())..).unwrap_or_default(), true),
            };
            let (part, kind) = match left.split_at_checked(fragment) {
                Some((part, [_, ..])) => (part, Kind::More),
                _ => (left, if is_last_part { Kind::Last } else { Kind::More }),
            };
            if !self.producer.push_bytes(part, kind)? {
                return Ok(Progress::NoRoom(self.room_for(part.len())));
            }
            self.ring_bell()?;
            if kind == Kind::Last {
                self.done = 0;
                return Ok(Progress::Sent);
            }
            self.done = self.done.wrapping_add(part.len());
        }
    }

    /// Gives up a message that was not sent to its end: the receiver will forget what it has got of it.
    pub fn abandon(&mut self) {
        self.abort |= self.done > 0;
        self.done = 0;
    }

    /// Whether a message is half published.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_under_way(&self) -> bool {
        self.done > 0
    }

    /// Says that nothing follows, and wakes the receiver.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Wakeup`] if the wake-up failed.
    pub fn close(&mut self) -> Result<(), ChannelError> {
        self.producer.close();
        self.ring_bell()
    }

    /// Bytes of the longest message that is sent without waiting if the receiver has received everything. A longer one may have no room even then.
    pub fn most_at_once(&self) -> usize {
        self.producer.most_at_once()
    }

    /// Says that among what is published is something to be looked at before the rest is acted on; see [`Watch::urged`].
    pub fn urge(&mut self) {
        self.producer.urge();
    }

    /// Wake-up calls made into the kernel so far.
    pub fn wakeups(&self) -> u64 {
        self.wakeups
    }

    fn room_for(&self, bytes: usize) -> Room {
        Room { from: self.producer.room_for(bytes) }
    }

    #[inline]
    fn ring_bell(&mut self) -> Result<(), ChannelError> {
        self.wakeups = self.wakeups.wrapping_add(self.region.data_bell(self.ring).ring()?.into());
        Ok(())
    }
}

/// The receiving end of a pair.
#[derive(Debug)]
pub struct Receiver {
    consumer: Consumer,
    region: Region,
    ring: usize,
    /// Looks at what has come behind that.
    scout: Scout,
    /// Fragments of a message that is not complete.
    partial: Vec<u64>,
    max_message: usize,
    wakeups: u64,
}

impl Receiver {
    /// The receiver of `side`, for messages of at most `max_message` bytes. Make one only.
    pub fn new(region: &Region, side: Side, max_message: usize) -> Receiver {
        let ring = side.incoming();
        let consumer = Consumer::new(region.clone(), ring);
        let scout = consumer.scout(false);
        Receiver { consumer, scout, region: region.clone(), ring, partial: Vec::new(), max_message, wakeups: 0 }
    }

    /// Takes the next complete message, if there is one, into `message`, whose former content is lost. Returns its length in bytes; the
    /// rest of the last word is not part of it.
    ///
    /// One call takes out what can have been in the ring when it began, and little more: a sender that goes on and on with fragments
    /// cannot keep the caller from looking at the clock.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Misbehaved`] if what is in the ring was not put there by an honest sender: the channel is dead.
    #[inline]
    pub fn receive(&mut self, message: &mut Vec<u64>) -> Result<Option<usize>, ChannelError> {
        message.clear();
        if !self.partial.is_empty() {
            return self.receive_fragments(None, message);
        }
        let Some(frame) = self.consumer.pop(message)? else {
            return Ok(None);
        };
        self.ring_bell(frame)?;
        if frame.kind() == Kind::Last { self.check_size(frame.bytes()).map(Some) } else { self.receive_fragments(Some(frame), message) }
    }

    /// Goes on with a message of several frames, of which `taken` is in `message`, and all others in `partial`.
    #[cold]
    fn receive_fragments(&mut self, taken: Option<Frame>, message: &mut Vec<u64>) -> Result<Option<usize>, ChannelError> {
        let mut passed = 0;
        let mut taken = taken;
        loop {
            let whole = self.partial.is_empty();
            let frame = match taken.take() {
                Some(frame) => frame,
                None => {
                    // A fragment goes straight behind those that it continues.
                    let into = if whole { &mut *message } else { &mut self.partial };
                    let Some(frame) = self.consumer.pop(into)? else {
                        return Ok(None);
                    };
                    self.ring_bell(frame)?;
                    frame
                }
            };
            if whole && frame.kind() == Kind::Last {
                return self.check_size(frame.bytes()).map(Some);
            }
            if frame.kind() != Kind::Skip
                && let Some(bytes) = self.assemble(frame, message)?
            {
                return Ok(Some(bytes));
            }
            // A lap: all that was there before this call, and before `closed` if that was seen, is out.
            passed = ring::slots_of(frame.bytes()).wrapping_add(passed);
            if passed >= self.consumer.slots() {
                return Ok(None);
            }
        }
    }

    /// Looks at what has arrived and was not received, without taking it: `see` is shown each message of so many words that came in one frame. Each is shown once,
    /// unless it was taken by then. Looks at `most` frames, and returns whether nothing was left.
    ///
    /// A hostile side may have something else there when it is taken.
    pub fn look_ahead(&mut self, most: usize, words: usize, see: impl FnMut(&[u64])) -> bool {
        self.consumer.look_ahead(&mut self.scout, !self.partial.is_empty(), most, words, see)
    }

    #[inline]
    fn ring_bell(&mut self, frame: Frame) -> Result<(), ChannelError> {
        if frame.made_room() {
            self.wakeups = self.wakeups.wrapping_add(self.region.room_bell(self.ring).ring()?.into());
        }
        Ok(())
    }

    #[inline]
    fn check_size(&self, bytes: usize) -> Result<usize, ChannelError> {
        if bytes > self.max_message { Err(Misbehaved::Oversize.into()) } else { Ok(bytes) }
    }

    /// Adds a frame that was received to the fragments so far, and returns the length of the message if it ends it.
    fn assemble(&mut self, frame: Frame, message: &mut Vec<u64>) -> Result<Option<usize>, ChannelError> {
        if frame.kind() == Kind::Abort {
            self.partial = Vec::new();
            message.clear();
            return Ok(None);
        }
        if self.partial.is_empty() {
            std::mem::swap(&mut self.partial, message);
        }
        let bytes = frame.bytes();
        // The words of this frame are the last of them: the length of a vector in memory, no number from the wire, so nothing wraps.
        let total = self.check_size(self.partial.len().wrapping_sub(bytes.div_ceil(8)).wrapping_mul(8).wrapping_add(bytes))?;
        if frame.kind() == Kind::Last {
            *message = std::mem::take(&mut self.partial);
            return Ok(Some(total));
        }
        if bytes == 0 || !bytes.is_multiple_of(8) {
            return Err(Misbehaved::Fragment.into());
        }
        Ok(None)
    }

    /// Wakes a sender that waits for room, so that it looks whether this side has closed.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Wakeup`] if the wake-up failed.
    pub fn close(&mut self) -> Result<(), ChannelError> {
        self.wakeups = self.wakeups.wrapping_add(self.region.room_bell(self.ring).ring()?.into());
        Ok(())
    }

    /// Says that the sender has closed, or has ended: what it has left in the ring is received as before, and then nothing more. If frames
    /// keep coming nevertheless, receiving them ends in an error.
    pub fn expect_end(&mut self) {
        self.consumer.expect_end();
    }

    /// A number that grows with every message, by two laps of the ring, at most, while what is there now is received.
    pub fn position(&self) -> u64 {
        self.consumer.position()
    }

    /// How many messages the ring can hold, at most.
    pub fn slots(&self) -> usize {
        self.region.slots(self.ring).len()
    }

    /// What to wait for when there was nothing.
    pub fn next(&self) -> Next {
        Next { expected: self.consumer.expected() }
    }

    /// Whether the sender said that nothing follows. Receive once more after it was true: something may have come just before.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.consumer.is_closed()
    }

    /// Wake-up calls made into the kernel so far, for a sender that waited for room.
    pub fn wakeups(&self) -> u64 {
        self.wakeups
    }
}

/// Sees what a side waits for, and sleeps until it may be there.
#[derive(Debug, Clone)]
pub struct Watch {
    region: Region,
    outgoing: usize,
    incoming: usize,
}

impl Watch {
    /// For `side`.
    pub fn new(region: &Region, side: Side) -> Watch {
        Watch { region: region.clone(), outgoing: side.outgoing(), incoming: side.incoming() }
    }

    /// Whether a frame has come, or the end of all frames, or something that is an error to receive.
    #[inline]
    pub fn has_come(&self, next: Next) -> bool {
        !matches!(ring::peek(self.region.slots(self.incoming), next.expected), Ok(None))
    }

    /// Whether the other side said that nothing follows.
    pub fn is_closed(&self) -> bool {
        ring::is_closed(&self.region, self.incoming)
    }

    /// A number that is another one each time when the other side has said, by [`Sender::urge`], that something of what it has published is worth a look ahead.
    /// It starts as zero, and a hostile side makes it what it likes.
    #[inline]
    pub fn urged(&self) -> u32 {
        ring::urged(&self.region, self.incoming)
    }

    /// Tells the other side that this one has registered a handler.
    pub fn report_registered(&self) {
        // Relaxed: a hint for people and for a wait that has lasted for seconds.
        self.region.control(self.incoming).report.registered.store(1, Ordering::Relaxed);
    }

    /// Tells the other side how many of its events this side has dropped, because no handler was
    /// registered for them.
    pub fn report_unheard(&self, events: u64) {
        // Relaxed: a statistic.
        self.region.control(self.incoming).report.unheard.store(events, Ordering::Relaxed);
    }

    /// Tells the other side how many of its events did not decode.
    pub fn report_undecodable(&self, events: u64) {
        // Relaxed: a statistic.
        self.region.control(self.incoming).report.undecodable.store(events, Ordering::Relaxed);
    }

    /// Tells the other side how many of its events were of another type.
    pub fn report_mistyped(&self, events: u64) {
        // Relaxed: a statistic.
        self.region.control(self.incoming).report.mistyped.store(events, Ordering::Relaxed);
    }

    /// Returns what the other side reports about what this side has sent.
    pub fn peer_report(&self) -> PeerReport {
        let report = &self.region.control(self.outgoing).report;
        // Relaxed: pairs with nothing; see the methods that write these.
        PeerReport {
            has_registered: report.registered.load(Ordering::Relaxed) != 0,
            unheard: report.unheard.load(Ordering::Relaxed),
            undecodable: report.undecodable.load(Ordering::Relaxed),
            mistyped: report.mistyped.load(Ordering::Relaxed),
        }
    }

    /// Returns a number that changes when the other side takes something out of the ring. A hostile
    /// side makes it what it likes.
    pub fn taken(&self) -> u64 {
        // Relaxed: only compared with what it was seconds before.
        self.region.control(self.outgoing).head.word.load(Ordering::Relaxed)
    }

    /// Whether there is room now, or an error to be found by sending.
    #[inline]
    pub fn has_room(&self, room: Room) -> bool {
        // Acquire: as in `Producer::refresh`, which loads it again and checks it.
        let head = self.region.control(self.outgoing).head.word.load(Ordering::Acquire);
        ring::reached(head, room.from)
    }

    /// Says that this side is over: it neither sends nor waits for the other side any more. What it takes to be woken by that is let go.
    #[cfg(not(loom))]
    pub fn retire(&self) {
        self.region.retire();
    }

    /// Announces that this side sleeps until a frame comes. Look at the ring again before [`sleep`](Self::sleep).
    pub fn arm(&self, who: Sleeper) {
        self.data_bell().arm(who);
    }

    /// Takes the announcement back.
    pub fn disarm(&self) {
        self.data_bell().disarm();
    }

    /// Sleeps until a frame comes, at most until `deadline`; returns false if that passed. Whatever woke it, look again.
    ///
    /// # Errors
    ///
    /// What the system call that waits or wakes says, other than what belongs to its normal work.
    pub fn sleep(&self, who: Sleeper, deadline: Option<Instant>) -> io::Result<bool> {
        self.data_bell().sleep(who, deadline)
    }

    /// Wakes a sleeper of this process from [`sleep`](Self::sleep). Returns how many slept.
    ///
    /// # Errors
    ///
    /// What the system call that waits or wakes says.
    pub fn wake_local(&self, who: Sleeper) -> io::Result<usize> {
        self.data_bell().wake_local(who)
    }

    /// Announces that this side sleeps until there is room. Look at [`has_room`](Self::has_room) again before
    /// [`sleep_for_room`](Self::sleep_for_room).
    pub fn arm_for_room(&self) {
        self.room_bell().arm(Sleeper::Guest);
    }

    /// Takes the announcement back.
    pub fn disarm_for_room(&self) {
        self.room_bell().disarm();
    }

    /// Sleeps until there may be room, at most until `deadline`; returns false if that passed.
    ///
    /// # Errors
    ///
    /// As [`sleep`](Self::sleep).
    pub fn sleep_for_room(&self, deadline: Option<Instant>) -> io::Result<bool> {
        self.room_bell().sleep(Sleeper::Guest, deadline)
    }

    /// Wakes a sleeper of this process from [`sleep_for_room`](Self::sleep_for_room). Returns how many slept.
    ///
    /// # Errors
    ///
    /// What the system call that waits or wakes says.
    pub fn wake_local_for_room(&self) -> io::Result<usize> {
        self.room_bell().wake_local(Sleeper::Guest)
    }

    fn data_bell(&self) -> Bell<'_> {
        self.region.data_bell(self.incoming)
    }

    fn room_bell(&self) -> Bell<'_> {
        self.region.room_bell(self.outgoing)
    }
}
