//! Holds a worker process, as its parent sees it: started, limited, signalled, reaped, and its
//! output captured.

#[expect(unsafe_code, reason = "code between fork and exec")]
pub(crate) mod execute;
#[expect(unsafe_code, reason = "limits of another process")]
mod limits;
pub(crate) mod output;
mod process;
#[expect(
    clippy::arithmetic_side_effects,
    reason = "the clock tells of far more than the six centuries that a timeout can be"
)]
mod worker;

pub use limits::Limits;
pub(crate) use process::Child;
pub(crate) use worker::{Worker, poll_briefly};
