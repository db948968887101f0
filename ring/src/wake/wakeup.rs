//! Chooses the wake-up primitive of a pair.

/// Selects how the ends of a pair are woken.
///
/// # Examples
///
/// ```
/// assert_eq!(coprocess_ring::Wakeup::default(), coprocess_ring::Wakeup::Futex);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wakeup {
    /// By the futex system call: the default. Nothing that a process does while it dies keeps its
    /// peer from going on.
    Futex,
    /// By events of the package `raw_sync`, which are made of POSIX mutexes and conditions. Needs
    /// the feature `raw-sync`.
    ///
    /// Events are for systems that have no futexes. On Linux the C library makes events of futexes,
    /// so the only reason to choose them there is to try them.
    ///
    /// **The peer is trusted** with this process's memory: the C library believes what it finds in
    /// a mutex. Both programs need the same C library.
    ///
    /// Events are slower. They cost two threads more for each end, and one wake-up a second while
    /// an end sleeps. A process that ends inside an event costs its peer those two threads, a
    /// descriptor and the memory of the pair. The loss lasts until the last handle goes, with some
    /// C libraries until the process ends.
    Event,
}

impl Default for Wakeup {
    fn default() -> Wakeup {
        // The tests are also built with the other default, so that all of them run over both
        // primitives.
        if cfg!(coprocess_second_backend) { Wakeup::Event } else { Wakeup::Futex }
    }
}

#[cfg(not(loom))]
impl Wakeup {
    /// Returns what the header of a segment holds: the number, and above it what the C library
    /// calls an event, where that matters.
    pub(crate) fn word(self) -> u64 {
        match self {
            Wakeup::Futex => 0,
            #[cfg(feature = "raw-sync")]
            Wakeup::Event => crate::wake::event::raw_event::kind() << 8 | u64::from(self.number()),
            #[cfg(not(feature = "raw-sync"))]
            Wakeup::Event => self.number().into(),
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Wakeup::Futex => 0,
            Wakeup::Event => 1,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Wakeup> {
        match number {
            0 => Some(Wakeup::Futex),
            1 => Some(Wakeup::Event),
            _ => None,
        }
    }
}
