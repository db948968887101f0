//! Sends messages of any size.

use crate::error::ChannelError;
use crate::pair::region::Region;
use crate::queue::frame::FrameKind;
use crate::queue::producer::Producer;
use crate::queue::progress::{Progress, Space};
use crate::side::Side;

/// The sending end of a pair.
///
/// There is one producer: the thread that has the `&mut` may send.
#[derive(Debug)]
pub struct Sender {
    producer: Producer,
    region: Region,
    ring: usize,
    /// The bytes of the message under way that are already published; zero between messages.
    published: usize,
    /// Says whether fragments of an abandoned message are in the ring. Then the next frame must say
    /// so.
    abort: bool,
    wakeups: u64,
}

impl Sender {
    /// Makes the sender of `side`. Make only one.
    pub fn new(region: &Region, side: Side) -> Sender {
        let ring = side.outgoing();
        Sender {
            producer: Producer::new(region.clone(), ring),
            region: region.clone(),
            ring,
            published: 0,
            abort: false,
            wakeups: 0,
        }
    }

    /// Publishes as much of a message as there is space for, and wakes the receiver if it sleeps.
    ///
    /// `words` hold `bytes` bytes, and zeros after them. After [`Progress::NoSpace`], call again
    /// with the same message, or give the message up by [`abandon`](Self::abandon).
    ///
    /// # Errors
    ///
    /// [`ChannelError::Misbehaved`] if the receiver's position makes no sense: the channel is dead.
    /// [`ChannelError::Wakeup`] if the wake-up failed.
    #[inline]
    pub fn send(&mut self, words: &[u64], bytes: usize) -> Result<Progress, ChannelError> {
        if bytes <= self.producer.max_frame_bytes() && self.published == 0 && !self.abort {
            if !self.producer.push(words, bytes, FrameKind::Last)? {
                return Ok(Progress::NoSpace(self.space_for(bytes)));
            }
            self.ring_doorbell()?;
            return Ok(Progress::Sent);
        }
        let all: &[u8] = bytemuck::cast_slice(words);
        self.send_fragmented(all.get(..bytes).unwrap_or(all), &[])
    }

    /// Sends a message as [`send`](Self::send) does, from two places: `words`, then `rest`, without
    /// a copy that joins them.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_joined(&mut self, words: &[u64], rest: &[u8]) -> Result<Progress, ChannelError> {
        self.send_fragmented(bytemuck::cast_slice(words), rest)
    }

    fn send_fragmented(&mut self, first: &[u8], second: &[u8]) -> Result<Progress, ChannelError> {
        let sent = self.publish_frames(first, second);
        if sent.is_err() {
            // Another thread may send before every thread knows that the channel is dead: its
            // message is not the rest of this one.
            self.abandon();
        }
        sent
    }

    fn publish_frames(&mut self, first: &[u8], second: &[u8]) -> Result<Progress, ChannelError> {
        if self.abort {
            if !self.producer.push(&[], 0, FrameKind::Abort)? {
                return Ok(Progress::NoSpace(self.space_for(0)));
            }
            self.abort = false;
            self.ring_doorbell()?;
        }
        let fragment = self.producer.max_frame_bytes();
        loop {
            // Every fragment but the last is of whole words: the first part is, if there is a
            // second one.
            let (left, is_last_part) = match first.get(self.published..) {
                Some(left) if !left.is_empty() || second.is_empty() => (left, second.is_empty()),
                _ => (
                    second.get(self.published.wrapping_sub(first.len())..).unwrap_or_default(),
                    true,
                ),
            };
            let (part, kind) = match left.split_at_checked(fragment) {
                Some((part, [_, ..])) => (part, FrameKind::More),
                _ => (left, if is_last_part { FrameKind::Last } else { FrameKind::More }),
            };
            if !self.producer.push_bytes(part, kind)? {
                return Ok(Progress::NoSpace(self.space_for(part.len())));
            }
            self.ring_doorbell()?;
            if kind == FrameKind::Last {
                self.published = 0;
                return Ok(Progress::Sent);
            }
            self.published = self.published.wrapping_add(part.len());
        }
    }

    /// Gives up a message that was not sent to its end. The receiver will forget the part that it
    /// has got.
    pub fn abandon(&mut self) {
        self.abort |= self.published > 0;
        self.published = 0;
    }

    /// Returns `true` if a message is half published.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_under_way(&self) -> bool {
        self.published > 0
    }

    /// Says that nothing follows, and wakes the receiver.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Wakeup`] if the wake-up failed.
    pub fn close(&mut self) -> Result<(), ChannelError> {
        self.producer.close();
        self.ring_doorbell()
    }

    /// Returns the bytes of the longest message that is sent without waiting if the receiver has
    /// received everything. A longer message may have no space even then.
    pub fn most_at_once(&self) -> usize {
        self.producer.most_at_once()
    }

    /// Says that something among what is published must be looked at before the receiver acts on
    /// the rest; see [`Watch::urged`](crate::Watch::urged).
    pub fn urge(&mut self) {
        self.producer.urge();
    }

    /// Returns the wake-up calls made into the kernel so far.
    pub fn wakeups(&self) -> u64 {
        self.wakeups
    }

    fn space_for(&self, bytes: usize) -> Space {
        Space { from: self.producer.space_for(bytes) }
    }

    #[inline]
    fn ring_doorbell(&mut self) -> Result<(), ChannelError> {
        self.wakeups =
            self.wakeups.wrapping_add(self.region.data_doorbell(self.ring).ring()?.into());
        Ok(())
    }
}
