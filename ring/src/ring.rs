//! The slot ring: frames from one producer to one consumer.
//!
//! Positions count slots and run freely; the slot of a position is its low bits. The producer owns the slots from its `tail` up to
//! `head + capacity`, the consumer those from `head` to `tail`. Each side keeps its own position in a private field.
//!
//! | word | written by | store | read by | load | carries |
//! |---|---|---|---|---|---|
//! | frame word | producer | Release | consumer | Acquire | the payload words of this frame, and a cleared frame word behind it |
//! | payload words | producer | Relaxed | consumer | Relaxed | ordered by the frame word and by `head` |
//! | `head` | consumer | Release | producer | Acquire | the consumer has done with all slots before it |
//! | `closed` | producer | Release | consumer | Acquire | every frame published before it |
//! | `urgent` | producer | Release | consumer | Acquire | every frame published before it |
//!
//! # A frame is there when its frame word carries the expected serial
//!
//! Serials count frames, starting at 1 and leaving out 0 when they wrap, so that no frame word is zero. A word left over from an earlier
//! lap is recognised as old. A slot that was the inside of a longer frame holds payload at the place of the frame word. The producer
//! remembers such slots, and clears the word before it publishes the frame that ends there: this is the one moment at which the consumer
//! learns that it will look at that slot next. Hence one slot always stays free behind the last frame, also behind a jump.
//!
//! # A small hot set inside a large ring
//!
//! While the consumer keeps up, the producer returns to the start of the ring after [`HOT_SLOTS`] slots: the frame before carries
//! the mark `jump`, and both positions go on at the next lap. So an exchange of small messages stays in the nearest cache however large
//! the ring is.
//!
//! If the consumer stops just then, the frames it has not consumed yet lie in the way of the new lap: it has room up to the first of them
//! only. Then the producer puts a frame without payload, a `skip`, into the slot that was kept free, and goes on behind them: at the slot
//! where the last jump left the lap before, which the consumer has kept in mind. So nearly all of the ring is there for a burst, whenever
//! it comes.
//!
//! ```text
//!   slot       0        h             n                                       slots
//!   lap before │consumed│not consumed │jump: nothing was written behind this  │
//!   this lap   │new, new, skip ──────►│new, new, new ..                       │
//! ```
//!
//! # The consumer's position is published lazily
//!
//! Every [`Consumer::period`] slots, and after a jump or a skip. A producer that waits for room for a frame of at most
//! [`max_frame_slots`] is woken all the same: when everything is consumed, at most `period - 1` slots are unpublished, and the rest has room
//! for the largest frame.

use crate::copy::{load_words, store_bytes, store_words};
use crate::error::Misbehaved;
use crate::layout::{SLOT_BYTES, Slot, slot_at};
use crate::marks::Marks;
use crate::region::Region;
use crate::sync::atomic::Ordering;

/// Slots that an exchange of small messages stays in. Few under the model checker, so that the models come to a jump.
const HOT_SLOTS: u64 = if cfg!(loom) { 4 } else { 32 };

const LENGTH_BITS: u32 = 16;
const MORE: u64 = 1 << 16;
const JUMP: u64 = 1 << 17;
const ABORT: u64 = 1 << 18;
const SERIAL_SHIFT: u32 = 19;
const SERIAL_MASK: u64 = (1 << (64 - SERIAL_SHIFT)) - 1;

/// Slots of the longest frame in a ring of `slots`.
fn max_frame_slots(slots: u64) -> u64 {
    (slots / 2).min(256)
}

/// Payload bytes of the longest frame in a ring of `slots`: a multiple of 8 below 64 KiB.
fn max_frame_bytes(slots: u64) -> usize {
    (max_frame_slots(slots) as usize).wrapping_mul(SLOT_BYTES).wrapping_sub(8)
}

/// How many slots are consumed before the position is published.
fn period(slots: u64) -> u64 {
    (slots / 4).min(HOT_SLOTS / 2)
}

/// Slots of a frame with `bytes` of payload.
#[inline]
pub(crate) fn slots_of(bytes: usize) -> u64 {
    bytes.wrapping_add(8).div_ceil(SLOT_BYTES) as u64
}

/// The serial that follows. Zero is left out: a frame without payload and marks would be a word of zero, which says that none is there.
#[inline]
fn serial_after(serial: u64) -> u64 {
    (serial.wrapping_add(1) & SERIAL_MASK).max(1)
}

/// Whether `position` is `mark` or beyond. Positions run freely: a difference in the lower half of their range means "reached".
#[inline]
pub(crate) fn reached(position: u64, mark: u64) -> bool {
    position.wrapping_sub(mark) <= u64::MAX / 2
}

/// What a frame says about the message it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The message, or its last fragment.
    Last,
    /// The message goes on in the next frame.
    More,
    /// Forget the fragments so far.
    Abort,
    /// Says nothing: the next frame is behind those of the lap before.
    Skip,
}

impl Kind {
    fn flags(self) -> u64 {
        match self {
            Kind::Last => 0,
            Kind::More => MORE,
            Kind::Abort => ABORT,
            Kind::Skip => MORE | ABORT,
        }
    }
}

/// A return to the start of the ring.
#[derive(Debug, Clone, Copy)]
struct Jump {
    /// Where it left its lap: the position behind the frame that says so.
    at: u64,
    /// Whether the next lap has skipped what was not consumed of that one.
    skipped: bool,
}

/// The publishing side of a ring.
#[derive(Debug)]
pub(crate) struct Producer {
    region: Region,
    ring: usize,
    slots: u64,
    /// Where the next frame goes.
    tail: u64,
    /// The serial of the next frame, below 2^45.
    serial: u64,
    /// The consumer's position as last seen and checked: at most `tail`, never goes back.
    head: u64,
    /// Position from which on it is worth looking whether the ring can return to its start.
    jump_check: u64,
    /// The last jump, until the consumer is known to have made it, too.
    jump: Option<Jump>,
    /// So many frames were sent that a word in a slot outside the hot set, unused for long, may seem to be of the future: such words are
    /// cleared from now on.
    aged: bool,
    /// The slots whose first word holds payload.
    inside: Marks,
    /// How often something was urgent.
    urged: u32,
}

impl Producer {
    pub(crate) fn new(region: Region, ring: usize) -> Producer {
        let slots = region.slots(ring).len() as u64;
        Producer {
            region,
            ring,
            slots,
            tail: 0,
            serial: 1,
            head: 0,
            jump_check: Self::first_check(slots, 0),
            jump: None,
            aged: false,
            inside: Marks::new(slots),
            urged: 0,
        }
    }

    /// As if frames had gone before: for tests of where the numbers end.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn starting_at(region: Region, ring: usize, position: u64, serial: u64) -> Producer {
        let new = Producer::new(region, ring);
        let aged = serial > SERIAL_MASK / 4;
        Producer { tail: position, head: position, serial, jump_check: Self::first_check(new.slots, position), aged, ..new }
    }

    fn first_check(slots: u64, lap_start: u64) -> u64 {
        // A small ring is its own hot set: the check is half the range of positions away.
        lap_start.wrapping_add(if slots >= 4 * HOT_SLOTS { HOT_SLOTS } else { u64::MAX / 2 })
    }

    pub(crate) fn max_frame_bytes(&self) -> usize {
        max_frame_bytes(self.slots)
    }

    /// Publishes one frame if there is room. `words` hold `bytes` bytes, at most [`max_frame_bytes`](Self::max_frame_bytes); what the last
    /// word holds beyond them is sent too, so it must be zero.
    #[inline]
    pub(crate) fn push(&mut self, words: &[u64], bytes: usize, kind: Kind) -> Result<bool, Misbehaved> {
        debug_assert_eq!(words.len(), bytes.div_ceil(8));
        self.push_with(bytes, kind, |slots, start| store_words(slots, start, words))
    }

    /// As [`push`](Self::push), for a payload that lies anywhere.
    pub(crate) fn push_bytes(&mut self, payload: &[u8], kind: Kind) -> Result<bool, Misbehaved> {
        self.push_with(payload.len(), kind, |slots, start| store_bytes(slots, start, payload))
    }

    /// As [`push`](Self::push), for a payload that `store` writes.
    #[inline]
    fn push_with(&mut self, bytes: usize, kind: Kind, store: impl FnOnce(&[Slot], u64)) -> Result<bool, Misbehaved> {
        debug_assert!(bytes <= self.max_frame_bytes());
        let count = slots_of(bytes);
        if !self.has_room(count)? {
            return Ok(false);
        }
        let start = self.tail;
        let mut next = start.wrapping_add(count);
        let mut flags = kind.flags();
        if reached(next, self.jump_check) && self.can_jump(next)? {
            flags |= JUMP;
            self.jump = Some(Jump { at: next, skipped: false });
            next = self.next_lap(next);
            self.jump_check = Self::first_check(self.slots, next);
        }

        if count > 1 {
            self.inside.set(start.wrapping_add(1), count.wrapping_sub(1));
        }
        store(self.region.slots(self.ring), start);
        self.publish(start, next, bytes as u64 | flags);
        Ok(true)
    }

    /// Publishes the frame at `start`, the payload of which is in place; the next one will be at `next`.
    #[inline]
    fn publish(&mut self, start: u64, next: u64, word: u64) {
        let slots = self.region.slots(self.ring);
        if self.inside.has(next) || self.aged && self.in_ring(next) >= HOT_SLOTS {
            self.inside.clear(next);
            // Relaxed: the slot is free, and the consumer looks at it only after it has seen the frame word below.
            slot_at(slots, next).frame().store(0, Ordering::Relaxed);
        }
        // Release: publishes the words above and the payload; pairs with the Acquire in `peek`.
        slot_at(slots, start).frame().store(word | self.serial << SERIAL_SHIFT, Ordering::Release);
        self.tail = next;
        self.serial = serial_after(self.serial);
    }

    /// Bytes of the longest message, in frames as long as they may be, that has room as soon as the consumer has consumed everything, although it may not have said so of
    /// the last slots, and although a frame may have to go first that takes fragments back.
    pub(crate) fn most_at_once(&self) -> usize {
        let slots = self.slots.saturating_sub(period(self.slots)).saturating_sub(1);
        let (whole, rest) = (slots.checked_div(max_frame_slots(self.slots)), slots.checked_rem(max_frame_slots(self.slots)));
        let rest = (rest.unwrap_or(0) as usize).saturating_mul(SLOT_BYTES).saturating_sub(8);
        (whole.unwrap_or(0) as usize).saturating_mul(self.max_frame_bytes()).saturating_add(rest)
    }

    /// The consumer's position from which on a frame of `bytes` has room.
    pub(crate) fn room_for(&self, bytes: usize) -> u64 {
        self.tail.wrapping_add(slots_of(bytes)).wrapping_add(1).wrapping_sub(self.slots)
    }

    /// Says that no frame will follow.
    pub(crate) fn close(&self) {
        // Release: a consumer that sees it sees every frame published before; pairs with the Acquire in `Consumer::is_closed`.
        self.region.control(self.ring).closed.word.store(1, Ordering::Release);
    }

    /// Says that a frame among those that are published is worth a look ahead.
    pub(crate) fn urge(&mut self) {
        self.urged = self.urged.wrapping_add(1);
        // Release: a consumer that sees it sees every frame published before; pairs with the Acquire in `urged`.
        self.region.control(self.ring).urgent.word.store(self.urged, Ordering::Release);
    }

    #[inline]
    fn has_room(&mut self, count: u64) -> Result<bool, Misbehaved> {
        Ok(self.fits(count) || self.make_room(count)?)
    }

    #[inline]
    fn fits(&self, count: u64) -> bool {
        // One slot more than the frame takes, to be cleared: see the module's documentation.
        self.tail.wrapping_sub(self.head).wrapping_add(count) < self.slots
    }

    #[cold]
    fn make_room(&mut self, count: u64) -> Result<bool, Misbehaved> {
        self.refresh()?;
        let Some(jump) = self.jump else { return Ok(self.fits(count)) };
        let lap = self.next_lap(jump.at);
        if reached(self.head, lap) {
            self.jump = None;
            return Ok(self.fits(count));
        }
        if self.fits(count) {
            return Ok(true);
        }
        // The consumer is still in the lap before, so this one is free but for what lies between its position and the jump.
        if !jump.skipped {
            // Only if the frame follows at once: a skip has no bell of its own, and what returns false has published nothing.
            if self.in_ring(jump.at).wrapping_add(count) >= self.slots {
                return Ok(false);
            }
            self.jump = Some(Jump { skipped: true, ..jump });
            self.publish(self.tail, lap.wrapping_add(self.in_ring(jump.at)), Kind::Skip.flags());
        }
        Ok(self.tail.wrapping_sub(lap).wrapping_add(count) < self.slots)
    }

    /// Takes over the consumer's position, if it is one that an honest consumer can have.
    #[cold]
    fn refresh(&mut self) -> Result<(), Misbehaved> {
        // Acquire: the consumer has done with the slots before it; pairs with the Release in `Consumer::publish_head`.
        let head = self.region.control(self.ring).head.word.load(Ordering::Acquire);
        // Between the last one seen and our own tail: the bound that keeps a lying consumer from giving us slots it still reads (which
        // would only harm itself) or positions that break our arithmetic.
        if head.wrapping_sub(self.head) > self.tail.wrapping_sub(self.head) {
            return Err(Misbehaved::Position);
        }
        self.head = head;
        self.aged |= self.serial > SERIAL_MASK / 4;
        Ok(())
    }

    #[cold]
    fn can_jump(&mut self, next: u64) -> Result<bool, Misbehaved> {
        self.refresh()?;
        let at = self.in_ring(next);
        // The slot that the jump leads to must be free, as the one behind any frame: it is not if this very frame goes across the end of
        // the ring.
        let is_free = self.next_lap(next).wrapping_sub(self.head) < self.slots;
        // At the very end of a lap the ring returns by itself.
        if at != 0 && is_free && next.wrapping_sub(self.head) <= HOT_SLOTS {
            return Ok(true);
        }
        self.jump_check = next.wrapping_add(HOT_SLOTS / 2);
        Ok(false)
    }

    fn next_lap(&self, position: u64) -> u64 {
        (position | self.slots.wrapping_sub(1)).wrapping_add(1)
    }

    /// The number of the slot at `position`.
    #[inline]
    fn in_ring(&self, position: u64) -> u64 {
        position & self.slots.wrapping_sub(1)
    }
}

/// A frame that was taken out of the ring, as its frame word: one register, where a struct of small fields is written to the stack in
/// pieces and read back as a whole, which the processor cannot forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame(u64);

impl Frame {
    #[inline]
    pub(crate) fn bytes(self) -> usize {
        length(self.0)
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match self.0 & (MORE | ABORT) {
            0 => Kind::Last,
            MORE => Kind::More,
            ABORT => Kind::Abort,
            _ => Kind::Skip,
        }
    }

    /// Whether the consumer's position was published, so that the producer may have room now.
    #[inline]
    pub(crate) fn made_room(self) -> bool {
        self.0 & JUMP != 0
    }
}

#[inline]
fn length(word: u64) -> usize {
    (word & ((1 << LENGTH_BITS) - 1)) as usize
}

/// Where a consumer looks next: enough to see whether something is there without owning the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    position: u64,
    serial: u64,
    wrapped: bool,
}

/// A place in the order of the frames.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Where the next frame is expected.
    head: u64,
    /// The serial it will carry.
    serial: u64,
    /// Whether the serials have gone round once.
    wrapped: bool,
    /// The slot behind the frame that jumped last.
    jumped_at: u64,
}

impl Cursor {
    fn expected(&self) -> Expected {
        Expected { position: self.head, serial: self.serial, wrapped: self.wrapped }
    }

    /// Goes behind a frame of `bytes`. Returns whether the frame has left out slots.
    #[inline(always)] // what a consumer does for each frame
    fn step(&mut self, word: u64, bytes: usize, slots: u64) -> Result<bool, Misbehaved> {
        self.head = self.head.wrapping_add(slots_of(bytes));
        let serial = serial_after(self.serial);
        self.wrapped |= serial < self.serial;
        self.serial = serial;
        let mask = slots.wrapping_sub(1);
        let jump = word & JUMP != 0;
        if jump {
            self.jumped_at = self.head & mask;
            self.head = (self.head | mask).wrapping_add(1);
        }
        let skip = word & (MORE | ABORT) == MORE | ABORT;
        if skip {
            // Forward, in this lap: whatever else a producer claims is none of its business.
            if jump || bytes > 0 || self.head & mask > self.jumped_at || self.head & mask == 0 {
                return Err(Misbehaved::Fragment);
            }
            self.head = self.head & !mask | self.jumped_at;
        }
        Ok(jump || skip)
    }
}

/// Goes ahead of a consumer and looks at frames without taking them.
#[derive(Debug)]
pub(crate) struct Scout {
    cursor: Cursor,
    /// Whether the frames before it are the beginning of a message.
    amid: bool,
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
    /// No honest producer has put a frame here or beyond: it has ended.
    end: Option<u64>,
}

impl Consumer {
    pub(crate) fn new(region: Region, ring: usize) -> Consumer {
        let slots = region.slots(ring).len() as u64;
        let cursor = Cursor { head: 0, serial: 1, wrapped: false, jumped_at: 0 };
        Consumer { region, ring, slots, cursor, published: 0, end: None }
    }

    /// As if frames had gone before: for tests of where the numbers end.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn starting_at(region: Region, ring: usize, position: u64, serial: u64) -> Consumer {
        let new = Consumer::new(region, ring);
        Consumer { cursor: Cursor { head: position, serial, ..new.cursor }, published: position, ..new }
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

    pub(crate) fn expected(&self) -> Expected {
        self.cursor.expected()
    }

    /// Takes the next frame out of the ring, appending its payload to `into`.
    #[inline]
    pub(crate) fn pop(&mut self, into: &mut Vec<u64>) -> Result<Option<Frame>, Misbehaved> {
        let slots = self.region.slots(self.ring);
        let Some(word) = peek(slots, self.expected())? else {
            return Ok(None);
        };
        let bytes = length(word);
        if bytes > max_frame_bytes(self.slots) {
            return Err(Misbehaved::Length);
        }
        load_words(slots, self.cursor.head, bytes.div_ceil(8), into);
        let left_out = self.cursor.step(word, bytes, self.slots)?;
        let made_room = left_out || self.cursor.head.wrapping_sub(self.published) >= self.period();
        if made_room {
            self.publish_head();
            if self.end.is_some_and(|end| reached(self.cursor.head, end)) {
                return Err(Misbehaved::Afterwards);
            }
        }
        Ok(Some(Frame(if made_room { word | JUMP } else { word })))
    }

    /// One that starts here. `amid`: what was taken last is the beginning of a message.
    pub(crate) fn scout(&self, amid: bool) -> Scout {
        Scout { cursor: self.cursor, amid }
    }

    /// Sends a scout over what has come since, at most so many frames: `see` is shown each message of one frame of `words` words. The scout starts anew if this consumer
    /// has overtaken it. Returns whether it has come to an end. What it finds wrong this consumer will find, too.
    pub(crate) fn look_ahead(&self, scout: &mut Scout, amid: bool, most: usize, words: usize, mut see: impl FnMut(&[u64])) -> bool {
        if reached(self.cursor.head, scout.cursor.head) {
            *scout = self.scout(amid);
        }
        let slots = self.region.slots(self.ring);
        let mut into = Vec::new();
        for _ in 0..most {
            let Ok(Some(word)) = peek(slots, scout.cursor.expected()) else { return true };
            let (start, bytes, frame) = (scout.cursor.head, length(word), Frame(word));
            if bytes > max_frame_bytes(self.slots) || scout.cursor.step(word, bytes, self.slots).is_err() {
                return true;
            }
            if frame.kind() == Kind::Last && !scout.amid && bytes == words.saturating_mul(8) {
                into.clear();
                load_words(slots, start, words, &mut into);
                see(&into);
            }
            scout.amid = match frame.kind() {
                Kind::Last | Kind::Abort => false,
                Kind::More => true,
                Kind::Skip => scout.amid,
            };
        }
        false
    }

    /// The producer puts nothing in any more: what is there is less than two laps, the rest of one that a jump has left included.
    pub(crate) fn expect_end(&mut self) {
        self.end.get_or_insert(self.cursor.head.wrapping_add(self.slots.wrapping_mul(2)).wrapping_add(self.period()));
    }

    /// Whether the producer said that nothing follows. Look for frames once more after it is true.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        is_closed(&self.region, self.ring)
    }

    fn publish_head(&mut self) {
        // Release: our loads of the slots before it are done; pairs with the Acquire in `Producer::refresh`.
        self.region.control(self.ring).head.word.store(self.cursor.head, Ordering::Release);
        self.published = self.cursor.head;
    }
}

/// Changes when the producer says that something is urgent.
#[inline]
pub(crate) fn urged(region: &Region, ring: usize) -> u32 {
    // Acquire: pairs with the Release in `Producer::urge`.
    region.control(ring).urgent.word.load(Ordering::Acquire)
}

pub(crate) fn is_closed(region: &Region, ring: usize) -> bool {
    // Acquire: pairs with the Release in `Producer::close`.
    region.control(ring).closed.word.load(Ordering::Acquire) != 0
}

/// The frame word at the expected place, if its frame is there.
#[inline]
pub(crate) fn peek(slots: &[Slot], expected: Expected) -> Result<Option<u64>, Misbehaved> {
    // Acquire: the payload words; pairs with the Release in `Producer::push`.
    let word = slot_at(slots, expected.position).frame().load(Ordering::Acquire);
    let serial = word >> SERIAL_SHIFT;
    if serial == expected.serial {
        return Ok(Some(word));
    }
    // Zero: never written, or cleared. Behind: left over from an earlier lap. Until the serials have gone round once, which takes weeks at full
    // speed, there is no doubt what is behind.
    let behind =
        if expected.wrapped { expected.serial.wrapping_sub(serial) & SERIAL_MASK <= SERIAL_MASK / 2 } else { serial < expected.serial };
    if word == 0 || behind { Ok(None) } else { Err(Misbehaved::Serial) }
}
