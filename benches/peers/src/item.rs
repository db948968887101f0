//! Defines what is sent.

pub(crate) use coprocess_bench::subjects::pair::EPOCH;

use coprocess_bench::Result;

/// Is an item that goes one way: a cache line.
pub(crate) type Item = [u64; 8];

/// Counts the items that the ring of a contender holds: as many bytes as a ring of coprocess with
/// default settings.
pub(crate) const ITEMS: usize = 4096;

/// Counts the words that a ring holds, if it carries single words there or back.
pub(crate) const WORDS: usize = 64;

/// Makes the item of this turn.
pub(crate) fn item(turn: u64) -> Item {
    [turn, EPOCH + turn, 2, 3, 4, 5, 6, 7]
}

/// Checks that the turns of `count` items make this sum.
pub(crate) fn check(count: u64, sum: u64) -> Result<()> {
    let expected: u64 = (0..count).sum();
    if sum == expected {
        Ok(())
    } else {
        Err(format!("the turns of {count} items add up to {sum}, not {expected}: some were lost")
            .into())
    }
}

/// Checks that an answer belongs to this question.
pub(crate) fn same(answer: u64, question: u64) -> Result<()> {
    if answer == question {
        Ok(())
    } else {
        Err(format!("the answer to {question} is {answer}").into())
    }
}
