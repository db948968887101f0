//! Exchanges what parent and worker must know of each other, over a socket pair before they share
//! memory.
//!
//! In this order:
//!
//! 1. The [claim](self::claim). The parent puts the claim into the socket before the worker starts,
//!    with the nonce of the worker's mark. The process that takes the claim out is the worker. Any
//!    other process that inherits the socket is not, such as a second run by a wrapper.
//! 2. The [hello](self::hello), sent while the worker starts, with the descriptor or the name that
//!    leads to the segment.
//! 3. The [arguments](self::arguments) of the worker function, if it takes any.
//! 4. The [verdict](self::verdict) of the worker: whether it has attached, and if not, why.
//!
//! After that nothing more is sent, except a worker's message that it has run out of memory. The
//! socket stays open as a [lifeline](self::lifeline): its end of file says that the other process
//! is gone.

pub(crate) mod arguments;
mod claim;
mod creator;
#[expect(unsafe_code, reason = "a descriptor that was received")]
mod hello;
mod lifeline;
#[cfg(test)]
mod tests;
mod verdict;

pub(crate) use arguments::Arguments;
pub(crate) use claim::{Claim, Nonce, peek_claim, send_claim, take_claim};
pub(crate) use creator::Creator;
pub(crate) use hello::Hello;
pub(crate) use lifeline::{Lifeline, PARENT_POLL_INTERVAL};
#[cfg(fuzzing)]
pub(crate) use verdict::read_verdict;
pub(crate) use verdict::{Answer, receive_verdict, send_secure, send_verdict};
