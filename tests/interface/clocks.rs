//! A clock, and the interface of the clock as programs built from other sources have it.

/// Interfaces of the same names as in a program built from other sources.
pub(crate) mod elsewhere {
    /// One method has another argument.
    #[coprocess::interface]
    pub(crate) trait Clock {
        fn now(&self) -> u64;
        fn set(&self, seconds: u32) -> bool;
        #[event]
        fn tick(&self, seconds: u64);
    }

    pub(crate) struct Sundial;

    impl Clock for Sundial {
        fn now(&self) -> u64 {
            12
        }

        fn set(&self, seconds: u32) -> bool {
            seconds == 0
        }

        fn tick(&self, _: u64) {}
    }
}

/// An interface as it is here.
#[coprocess::interface]
pub(crate) trait Clock {
    fn now(&self) -> u64;
    fn set(&self, seconds: u64) -> bool;
    #[event]
    fn tick(&self, seconds: u64);
}

pub(crate) struct Watch;

impl Clock for Watch {
    fn now(&self) -> u64 {
        1
    }

    fn set(&self, seconds: u64) -> bool {
        seconds == 0
    }

    fn tick(&self, _: u64) {}
}

/// The interface as a newer client may have it.
pub(crate) mod newer {
    #[coprocess::interface]
    pub(crate) trait Clock {
        fn now(&self) -> u64;
        fn zone(&self) -> String;
    }
}

/// The interface as a client may have it that uses a part of it, borrows where the server does not,
/// and is written with other spaces.
pub(crate) mod part {
    #[coprocess::interface]
    pub(crate) trait Clock {
        #[event]
        fn tick(&self, unit: &u64);
        fn now(&self) -> u64;
    }
}

/// As [`Clock`], but what was a call is an event.
pub(crate) mod eager {
    #[coprocess::interface]
    pub(crate) trait Clock {
        #[event]
        fn set(&self, seconds: u64);
    }
}
