//! What both ends of a pair agree on.

use std::time::Duration;

use coprocess_ring::WaitStrategy;

/// What both ends of a pair agree on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) max_message: usize,
    pub(crate) strategy: WaitStrategy,
    pub(crate) call_timeout: Option<Duration>,
    pub(crate) close_timeout: Duration,
    pub(crate) max_calls_in_flight: u32,
    /// `u32::MAX`: any number.
    pub(crate) max_calls_served: u32,
    pub(crate) check_types: TypeCheck,
}

/// When the types of what is sent are compared with what the other end takes, by
/// [`Builder::check_types`](crate::Builder::check_types).
///
/// A value shows the types of what it contains: an empty list tells nothing of its elements. So
/// more than one value of each name and type is looked at.
///
/// `Serialize` runs once more for a value that is looked at, and `Deserialize` may be asked once which
/// variant or field a name is. A `Serialize` that works one time only, such as one that takes an
/// iterator out of a cell, needs [`Off`](Self::Off).
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// let co = coprocess::Builder::new().check_types(coprocess::TypeCheck::Always).fork(|_| {})?;
/// # Ok::<(), coprocess::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypeCheck {
    /// The first value of each name and type, the second, the fourth, the eighth and so on; in
    /// builds with `debug_assertions` each one.
    #[default]
    FirstUse,
    /// Each value.
    Always,
    /// None: a value of another type is read as whatever its bytes are.
    Off,
}
