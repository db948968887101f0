//! The driver: the library's thread that leads while no other thread waits. A thread in `run` takes
//! its place.

use std::sync::atomic::AtomicBool;

use crate::drive::driver_slot::DriverSlot;

/// Knows the driver of an end: whether its thread was started, what the thread is for, and the slot
/// of the driver.
#[derive(Debug)]
pub(crate) struct Driver {
    /// The driver slot: a thread in `run` takes precedence.
    pub(crate) slot: DriverSlot,
    /// Whether the thread was started.
    pub(crate) started: AtomicBool,
    /// Whether there is a reason for the thread besides tasks that wait for answers.
    pub(crate) is_kept: AtomicBool,
    /// Whether handlers alone are a reason for the thread. They are not while the function of a
    /// forked worker has not returned.
    pub(crate) handlers_want_it: AtomicBool,
}

impl Default for Driver {
    fn default() -> Driver {
        Driver {
            slot: DriverSlot::default(),
            started: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
            handlers_want_it: AtomicBool::new(true),
        }
    }
}
