//! Moves frames, and messages made of frames, from one producer to one consumer through a ring of
//! slots.
//!
//! Positions count slots and run freely; the slot of a position is its low bits. The producer owns
//! the slots from its `tail` up to `head + capacity`, the consumer those from `head` to `tail`.
//! Each side keeps its own position in a private field.
//!
//! | word | stored by | loaded by | carries |
//! |---|---|---|---|
//! | frame word | producer, Release | consumer, Acquire | its payload, a cleared word behind it |
//! | payload words | producer, Relaxed | consumer, Relaxed | ordered by frame word and `head` |
//! | `head` | consumer, Release | producer, Acquire | the consumer has done with the slots before |
//! | `closed` | producer, Release | consumer, Acquire | every frame published before it |
//! | `urgent` | producer, Release | consumer, Acquire | every frame published before it |
//!
//! # A frame is there when its frame word carries the expected serial
//!
//! Serials count frames. They start at 1 and leave out 0 when they wrap, so that no frame word is
//! zero.
//!
//! - A word that an earlier lap left is recognised as old by its serial.
//! - An interior slot, inside a longer frame, holds payload at the place of the frame word. The
//!   producer remembers such slots. It clears the word before it publishes the frame that ends
//!   there. Only with that frame does the consumer learn that it will look at that slot next.
//!
//! Hence one slot always stays free behind the last frame, also behind a jump.
//!
//! # A small hot set inside a large ring
//!
//! While the consumer keeps up, the producer returns to the start of the ring after `HOT_SLOTS`
//! slots. The frame before carries the flag `jump`, and both positions go on at the next lap. So an
//! exchange of small messages stays in the nearest cache, however large the ring is.
//!
//! If the consumer stops just then, the frames that it has not consumed yet lie in the way. The new
//! lap has space up to the first of them only. Then the producer puts a frame without payload, a
//! skip, into the slot that was kept free. It goes on behind those frames: at the slot where the
//! last jump left the lap before, which the consumer has kept in mind. So nearly all of the ring is
//! there for a burst, whenever the burst comes.
//!
//! ```text
//!   slot       0        h             n                                       slots
//!   lap before │consumed│not consumed │jump: nothing was written behind this  │
//!   this lap   │new, new, skip ──────►│new, new, new ..                       │
//! ```
//!
//! # The consumer's position is published lazily
//!
//! The consumer publishes its position every `period` slots, and after a jump or a skip. A producer
//! that waits for space for a frame of at most `max_frame_slots` is woken all the same. When
//! everything is consumed, at most `period - 1` slots are unpublished, and the rest has space for
//! the largest frame.
//!
//! # Messages
//!
//! A message is one frame or several. A `Sender` and a `Receiver` each belong to one thread at a
//! time. A `Watch` sees what either waits for without owning it. So a thread that sleeps does not
//! keep others from sending, or from taking over the watch.
//!
//! # Files
//!
//! - `frame` defines the frame word.
//! - `interior` remembers interior slots.
//! - `copy` copies payload.
//! - `producer` puts frames in.
//! - `cursor` finds the next frame.
//! - `consumer` takes frames out.
//! - `progress`, `sender` and `receiver` make messages of frames.
//! - `watch` sees what a side waits for, and sleeps.

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
