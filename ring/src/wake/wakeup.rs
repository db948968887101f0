//! The choice of a wake-up primitive.

/// How the sides of a pair are woken.
///
/// # Examples
///
/// ```
/// assert_eq!(coprocess_ring::Wakeup::default(), coprocess_ring::Wakeup::Futex);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wakeup {
    /// By the futex system call: the default. Nothing that a side does while it dies keeps the other one.
    Futex,
    /// By events of the package `raw_sync`, which are made of POSIX mutexes and conditions; needs the feature `raw-sync`. For systems that have
    /// no futexes: on Linux the C library makes these of futexes, so that there is no reason to choose them but to try them.
    ///
    /// **The other side is trusted** with this process's memory: the C library believes what it finds in a mutex. Both programs need the same C library. Slower, two
    /// threads more for each side, and one wake-up a second while it sleeps. A side that ends inside an event costs the other one those two threads, a descriptor and the memory of
    /// the pair: until the last handle goes, with some C libraries until the process ends.
    Event,
}

impl Default for Wakeup {
    fn default() -> Wakeup {
        // The tests are built with another default, too, so that all of them run over both.
        if cfg!(coprocess_second_backend) { Wakeup::Event } else { Wakeup::Futex }
    }
}

#[cfg(not(loom))]
impl Wakeup {
    /// As it is written in the header of a segment: the number, above it what the C library calls an event, where that matters.
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
