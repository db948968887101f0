//! Takes frames out of a ring.

use crate::error::Misbehaved;
use crate::pair::region::Region;
use crate::queue::copy::load_words;
use crate::queue::cursor::{Cursor, NextFrame, peek};
use crate::queue::frame::{Frame, FrameKind, JUMP, length, max_frame_bytes, period, reached};
use crate::sync::atomic::Ordering;

/// Goes ahead of a consumer and looks at frames without taking them.
#[derive(Debug)]
pub(crate) struct Lookahead {
    cursor: Cursor,
    /// Says whether the frames before the cursor are the beginning of a message.
    mid_message: bool,
}

/// The receiving side of a ring.
#[derive(Debug)]
pub(crate) struct Consumer {
    region: Region,
    ring: usize,
    slots: u64,
    cursor: Cursor,
    /// The position that the producer knows.
    published: u64,
    /// A position at which, or beyond which, no honest producer has put a frame, once the producer
    /// has ended.
    end: Option<u64>,
}

impl Consumer {
    pub(crate) fn new(region: Region, ring: usize) -> Consumer {
        let slots = region.slots(ring).len() as u64;
        let cursor = Cursor { head: 0, serial: 1, wrapped: false, jumped_at: 0 };
        Consumer { region, ring, slots, cursor, published: 0, end: None }
    }

    /// Makes a consumer as if frames had gone before: for tests of where the numbers end.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn starting_at(region: Region, ring: usize, position: u64, serial: u64) -> Consumer {
        let new = Consumer::new(region, ring);
        Consumer {
            cursor: Cursor { head: position, serial, ..new.cursor },
            published: position,
            ..new
        }
    }

    fn period(&self) -> u64 {
        period(self.slots)
    }

    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }

    pub(crate) fn position(&self) -> u64 {
        self.cursor.head
    }

    pub(crate) fn next_frame(&self) -> NextFrame {
        self.cursor.next_frame()
    }

    /// Takes the next frame out of the ring, and appends its payload to `into`.
    #[inline]
    pub(crate) fn pop(&mut self, into: &mut Vec<u64>) -> Result<Option<Frame>, Misbehaved> {
        let slots = self.region.slots(self.ring);
        let Some(word) = peek(slots, self.next_frame())? else {
            return Ok(None);
        };
        let bytes = length(word);
        if bytes > max_frame_bytes(self.slots) {
            return Err(Misbehaved::Length);
        }
        load_words(slots, self.cursor.head, bytes.div_ceil(8), into);
        let left_out = self.cursor.step(word, bytes, self.slots)?;
        let made_space = left_out || self.cursor.head.wrapping_sub(self.published) >= self.period();
        if made_space {
            self.publish_head();
            if self.end.is_some_and(|end| reached(self.cursor.head, end)) {
                return Err(Misbehaved::Afterwards);
            }
        }
        Ok(Some(Frame(if made_space { word | JUMP } else { word })))
    }

    /// Makes a lookahead that starts here. `mid_message` says whether the frames taken so far end
    /// in the middle of a message.
    pub(crate) fn start_lookahead(&self, mid_message: bool) -> Lookahead {
        Lookahead { cursor: self.cursor, mid_message }
    }

    /// Looks at what has come since, at most `most` frames. Returns `true` if nothing was left to
    /// look at.
    ///
    /// `see` is shown each message of one frame of `words` words. If this consumer has overtaken
    /// the lookahead, the lookahead starts anew. What the lookahead finds wrong, this consumer will
    /// find, too.
    pub(crate) fn look_ahead(
        &self,
        lookahead: &mut Lookahead,
        mid_message: bool,
        most: usize,
        words: usize,
        mut see: impl FnMut(&[u64]),
    ) -> bool {
        if reached(self.cursor.head, lookahead.cursor.head) {
            *lookahead = self.start_lookahead(mid_message);
        }
        let slots = self.region.slots(self.ring);
        let mut into = Vec::new();
        for _ in 0..most {
            let Ok(Some(word)) = peek(slots, lookahead.cursor.next_frame()) else { return true };
            let (start, bytes, frame) = (lookahead.cursor.head, length(word), Frame(word));
            if bytes > max_frame_bytes(self.slots)
                || lookahead.cursor.step(word, bytes, self.slots).is_err()
            {
                return true;
            }
            if frame.kind() == FrameKind::Last
                && !lookahead.mid_message
                && bytes == words.saturating_mul(8)
            {
                into.clear();
                load_words(slots, start, words, &mut into);
                see(&into);
            }
            lookahead.mid_message = match frame.kind() {
                FrameKind::Last | FrameKind::Abort => false,
                FrameKind::More => true,
                FrameKind::Skip => lookahead.mid_message,
            };
        }
        false
    }

    /// Says that the producer puts in no more frames. What is there is less than two laps,
    /// including the rest of a lap that a jump has left.
    pub(crate) fn expect_end(&mut self) {
        self.end.get_or_insert(
            self.cursor.head.wrapping_add(self.slots.wrapping_mul(2)).wrapping_add(self.period()),
        );
    }

    /// Returns `true` if the producer said that nothing follows. Look for frames once more after
    /// that.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        is_closed(&self.region, self.ring)
    }

    fn publish_head(&mut self) {
        // Release: the loads of the slots before it are done; pairs with the Acquire in
        // `Producer::refresh`.
        self.region.control(self.ring).head.word.store(self.cursor.head, Ordering::Release);
        self.published = self.cursor.head;
    }
}

/// Returns a number that changes when the producer says that something is urgent.
#[inline]
pub(crate) fn urged(region: &Region, ring: usize) -> u32 {
    // Acquire: pairs with the Release in `Producer::urge`.
    region.control(ring).urgent.word.load(Ordering::Acquire)
}

pub(crate) fn is_closed(region: &Region, ring: usize) -> bool {
    // Acquire: pairs with the Release in `Producer::close`.
    region.control(ring).closed.word.load(Ordering::Acquire) != 0
}
