//! How a side waits for the other.

/// How a side waits for the other.
///
/// # Examples
///
/// ```
/// assert_eq!(coprocess_ring::WaitStrategy::default(), coprocess_ring::WaitStrategy::Adaptive);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// Spin for a bounded time that is learned from earlier waits, then sleep. Does not spin where the two sides cannot run at once; a limit that a control group sets is
    /// noticed within some seconds.
    #[default]
    Adaptive,
    /// Spin and never sleep: the lowest latency for those who can give a processor to each side.
    Spin,
    /// Sleep at once: the least processor time.
    Block,
}
