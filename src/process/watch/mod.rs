//! Watching the processes at the other ends of pairs, and telling of their ends.

mod end_callbacks;
#[expect(unsafe_code, reason = "ending the process at once")]
#[expect(clippy::arithmetic_side_effects, reason = "the clock tells of far more than the six centuries that a timeout can be")]
mod watcher;

pub(crate) use end_callbacks::{Ended, Endings};
pub(crate) use watcher::{News, look_again, watch_parent, watch_remains, watch_worker};
