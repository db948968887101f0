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
//! If the consumer stops just then, the frames it has not consumed yet lie in the way of the new lap: it has space up to the first of them
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
//! Every [`Consumer::period`] slots, and after a jump or a skip. A producer that waits for space for a frame of at most
//! [`max_frame_slots`] is woken all the same: when everything is consumed, at most `period - 1` slots are unpublished, and the rest has space
//! for the largest frame.
//!
//! # Messages
//!
//! Messages of any size go over a ring in frames; see `sender` and `receiver`.
//!
//! [`Sender`] and [`Receiver`] each belong to one thread at a time. What one waits for can be watched without owning them, through
//! [`Watch`]: a thread that sleeps must not keep the others from sending, or from taking the watch over.

pub(crate) mod consumer;
pub(crate) mod copy;
pub(crate) mod cursor;
pub(crate) mod frame;
mod interior;
pub(crate) mod producer;
pub(crate) mod progress;
pub(crate) mod receiver;
pub(crate) mod sender;
pub(crate) mod watch;
