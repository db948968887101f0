//! Holds the settings that both ends of a pair agree on.

use std::time::Duration;

use coprocess_ring::WaitStrategy;

/// Holds the settings that both ends of a pair agree on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) max_message: usize,
    pub(crate) strategy: WaitStrategy,
    pub(crate) call_timeout: Option<Duration>,
    pub(crate) close_timeout: Duration,
    pub(crate) max_calls_in_flight: u32,
    /// `u32::MAX` means any number.
    pub(crate) max_calls_served: u32,
    pub(crate) check_types: TypeCheck,
}

/// Says for which values the types are compared with what the peer takes, by
/// [`Builder::check_types`](crate::Builder::check_types).
///
/// A value shows the types of what it contains: an empty list shows nothing of its elements. So the
/// ends compare more than one value of each name and type.
///
/// If a value is compared, `Serialize` runs once more for the value, and `Deserialize` may be asked
/// once which variant or field a name is. A `Serialize` that works only once, such as one that
/// takes an iterator out of a cell, needs [`Off`](Self::Off).
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
    /// Compares the first value of each name and type, the second, the fourth, the eighth and so
    /// on. In builds with `debug_assertions`, compares each value.
    #[default]
    FirstUse,
    /// Compares each value.
    Always,
    /// Compares no value. The receiver reads the bytes of a value of another type as its own type.
    Off,
}
