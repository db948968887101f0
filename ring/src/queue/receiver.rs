//! Receives messages of any size.

use crate::error::{ChannelError, Misbehaved};
use crate::pair::region::Region;
use crate::queue::consumer::{Consumer, Lookahead};
use crate::queue::cursor::NextFrame;
use crate::queue::frame::{Frame, FrameKind, slots_of};
use crate::side::Side;

/// The receiving end of a pair.
#[derive(Debug)]
pub struct Receiver {
    consumer: Consumer,
    region: Region,
    ring: usize,
    /// Looks at what has come behind the next frame.
    lookahead: Lookahead,
    /// The fragments of a message that is not complete.
    partial: Vec<u64>,
    max_message: usize,
    wakeups: u64,
}

impl Receiver {
    /// Makes the receiver of `side`, for messages of at most `max_message` bytes. Make only one.
    pub fn new(region: &Region, side: Side, max_message: usize) -> Receiver {
        let ring = side.incoming();
        let consumer = Consumer::new(region.clone(), ring);
        let lookahead = consumer.start_lookahead(false);
        Receiver {
            consumer,
            lookahead,
            region: region.clone(),
            ring,
            partial: Vec::new(),
            max_message,
            wakeups: 0,
        }
    }

    /// Takes the next complete message, if there is one, into `message`, whose former content is
    /// lost.
    ///
    /// Returns the length of the message in bytes. The rest of the last word is not part of the
    /// message.
    ///
    /// One call takes out what can have been in the ring when the call began, and little more. So a
    /// sender that goes on and on with fragments cannot keep the caller from looking at the clock.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Misbehaved`] if no honest sender puts into the ring what is there: the
    /// channel is dead. [`ChannelError::Wakeup`] if the wake-up of a sender that waits for space
    /// failed.
    #[inline]
    pub fn receive(&mut self, message: &mut Vec<u64>) -> Result<Option<usize>, ChannelError> {
        message.clear();
        if !self.partial.is_empty() {
            return self.receive_fragments(None, message);
        }
        let Some(frame) = self.consumer.pop(message)? else {
            return Ok(None);
        };
        self.ring_doorbell(frame)?;
        if frame.kind() == FrameKind::Last {
            self.check_size(frame.bytes()).map(Some)
        } else {
            self.receive_fragments(Some(frame), message)
        }
    }

    /// Goes on with a message of several frames. The frame `taken` is in `message`, and all others
    /// are in `partial`.
    #[cold]
    fn receive_fragments(
        &mut self,
        taken: Option<Frame>,
        message: &mut Vec<u64>,
    ) -> Result<Option<usize>, ChannelError> {
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
                    self.ring_doorbell(frame)?;
                    frame
                }
            };
            if whole && frame.kind() == FrameKind::Last {
                return self.check_size(frame.bytes()).map(Some);
            }
            if frame.kind() != FrameKind::Skip
                && let Some(bytes) = self.assemble(frame, message)?
            {
                return Ok(Some(bytes));
            }
            // After a lap, all that was there before this call is out, and all that was there
            // before `closed` if that was seen.
            passed = slots_of(frame.bytes()).wrapping_add(passed);
            if passed >= self.consumer.slots() {
                return Ok(None);
            }
        }
    }

    /// Looks at what has arrived and was not received, without taking it. Looks at `most` frames,
    /// and returns `true` if nothing was left.
    ///
    /// `see` is shown each message of `words` words that came in one frame. Each is shown once,
    /// unless it was taken by then.
    ///
    /// A hostile peer may have replaced a message by the time it is taken.
    pub fn look_ahead(&mut self, most: usize, words: usize, see: impl FnMut(&[u64])) -> bool {
        self.consumer.look_ahead(&mut self.lookahead, !self.partial.is_empty(), most, words, see)
    }

    #[inline]
    fn ring_doorbell(&mut self, frame: Frame) -> Result<(), ChannelError> {
        if frame.made_space() {
            self.wakeups =
                self.wakeups.wrapping_add(self.region.space_doorbell(self.ring).ring()?.into());
        }
        Ok(())
    }

    #[inline]
    fn check_size(&self, bytes: usize) -> Result<usize, ChannelError> {
        if bytes > self.max_message { Err(Misbehaved::Oversize.into()) } else { Ok(bytes) }
    }

    /// Adds a received frame to the fragments so far. Returns the length of the message if the
    /// frame ends it.
    fn assemble(
        &mut self,
        frame: Frame,
        message: &mut Vec<u64>,
    ) -> Result<Option<usize>, ChannelError> {
        if frame.kind() == FrameKind::Abort {
            self.partial = Vec::new();
            message.clear();
            return Ok(None);
        }
        if self.partial.is_empty() {
            std::mem::swap(&mut self.partial, message);
        }
        let bytes = frame.bytes();
        // The words of this frame are the last of `partial`. The length of a vector in memory is no
        // number from the peer, so nothing wraps.
        let total = self.check_size(
            self.partial.len().wrapping_sub(bytes.div_ceil(8)).wrapping_mul(8).wrapping_add(bytes),
        )?;
        if frame.kind() == FrameKind::Last {
            *message = std::mem::take(&mut self.partial);
            return Ok(Some(total));
        }
        if bytes == 0 || !bytes.is_multiple_of(8) {
            return Err(Misbehaved::Fragment.into());
        }
        Ok(None)
    }

    /// Wakes a sender that waits for space, so that the sender looks whether this side has closed.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Wakeup`] if the wake-up failed.
    pub fn close(&mut self) -> Result<(), ChannelError> {
        self.wakeups =
            self.wakeups.wrapping_add(self.region.space_doorbell(self.ring).ring()?.into());
        Ok(())
    }

    /// Says that the sender has closed or has ended.
    ///
    /// What the sender has left in the ring is received as before, and then nothing more. If frames
    /// keep coming nevertheless, receiving them ends in an error.
    pub fn expect_end(&mut self) {
        self.consumer.expect_end();
    }

    /// Returns a number that grows with every message. While what is there now is received, the
    /// number grows by two laps of the ring, at most.
    pub fn position(&self) -> u64 {
        self.consumer.position()
    }

    /// Returns how many messages the ring can hold, at most.
    pub fn slots(&self) -> usize {
        self.region.slots(self.ring).len()
    }

    /// Returns what to wait for when nothing was there.
    pub fn next_frame(&self) -> NextFrame {
        self.consumer.next_frame()
    }

    /// Returns `true` if the sender said that nothing follows. Receive once more after that:
    /// something may have come just before.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.consumer.is_closed()
    }

    /// Returns the wake-up calls made into the kernel so far, for a sender that waited for space.
    pub fn wakeups(&self) -> u64 {
        self.wakeups
    }
}
