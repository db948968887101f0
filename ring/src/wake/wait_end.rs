//! How a wait ended.

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// Woken, or the word was different to begin with, or for no reason at all: look again.
    Recheck,
    /// The deadline passed.
    #[cfg_attr(all(loom, not(test)), expect(dead_code, reason = "there is no time under the model checker"))]
    TimedOut,
}
