//! What the two sides say to each other over the socket pair before they share memory: the layout of it, and sending and receiving.
//!
//! Before the worker starts, the parent puts a claim into the socket, with the nonce of the worker's
//! mark: the process that takes it out is the worker, and any other that inherits the socket, such as
//! a second run by a wrapper, is not. The hello follows, with what leads to the segment, its descriptor or its name behind the
//! hello, while the worker starts. The worker answers with a verdict. Then nothing is sent any more, and the socket serves as a lifeline: its end says that the other process is
//! gone.

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
pub(crate) use claim::{Claim, Nonce, look_at_claim, send_claim, take_claim};
pub(crate) use creator::Creator;
pub(crate) use hello::Hello;
pub(crate) use lifeline::{GLANCE_AT_PARENT, Lifeline};
#[cfg(fuzzing)]
pub(crate) use verdict::read_verdict;
pub(crate) use verdict::{Answer, receive_verdict, send_secure, send_verdict};
