//! What answers a call, as it lies in a received message.

use std::ops::Range;

use crate::calls::in_flight::Outcome;
use crate::wire::header::{CallId, Header};

/// The answer to a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The encoded result is at these bytes of the message.
    Result(Range<usize>),
    /// The call failed. Boxed: this type is returned for each message, and failures are seldom.
    Failure(Box<Outcome>),
}

impl Answer {
    /// Reads the answer out of a message of `bytes` bytes, and the call that it answers. Returns
    /// `None` if the message is no answer.
    pub(crate) fn of(
        header: &Header<'_>,
        payload: &[u8],
        bytes: usize,
    ) -> Option<(CallId, Answer)> {
        match *header {
            Header::Answer(id) | Header::DescribedAnswer(id, _) => {
                // The payload is the end of the message.
                Some((id, Answer::Result(bytes.wrapping_sub(payload.len())..bytes)))
            }
            Header::Failure(id, failure) => {
                Some((id, Answer::Failure(Box::new(Outcome::from(failure)))))
            }
            _ => None,
        }
    }

    /// Returns the outcome, which keeps the message: `words` gives the message away.
    pub(crate) fn into_outcome(self, words: impl FnOnce() -> Vec<u64>) -> Outcome {
        match self {
            Answer::Result(at) => Outcome::Answer { words: words(), from: at.start, to: at.end },
            Answer::Failure(outcome) => *outcome,
        }
    }
}
