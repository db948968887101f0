//! Selects how an end waits for its peer.

/// Selects how an end waits for its peer.
///
/// # Examples
///
/// ```
/// assert_eq!(coprocess_ring::WaitStrategy::default(), coprocess_ring::WaitStrategy::Adaptive);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// Spins for a bounded time that is learned from earlier waits, then sleeps.
    ///
    /// Does not spin where the two ends cannot run at once. A limit that a control group sets is
    /// noticed within some seconds.
    #[default]
    Adaptive,
    /// Spins and never sleeps: the lowest latency, for programs that can give a processor to each
    /// end.
    Spin,
    /// Sleeps at once: the least processor time.
    Block,
}
