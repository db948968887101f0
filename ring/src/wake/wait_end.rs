//! Names the ways in which a wait ends.

/// Says how a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// The sleeper was woken, or the word was different to begin with, or the wait ended for no
    /// reason at all. The sleeper must look again.
    Recheck,
    /// The deadline passed.
    #[cfg_attr(
        all(loom, not(test)),
        expect(dead_code, reason = "there is no time under the model checker")
    )]
    TimedOut,
}
