//! Watches the processes of the peers, and tells callbacks and tasks of their ends.

mod end_callbacks;
mod watched;
#[expect(unsafe_code, reason = "ending the process at once")]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "the clock tells of far more than the six centuries that a timeout can be"
)]
mod watcher;

pub(crate) use end_callbacks::{Ended, Endings};
pub(crate) use watched::PeerStatus;
pub(crate) use watcher::{notify_watcher, reap_leftover, watch_parent, watch_worker};
