//! Holds what the threads of one process share data by: locks, atomics, places to sleep.
//!
//! The files of this folder take their locks and atomics from here. So do the files that the models
//! run through all interleavings. Under the model checker, the locks and atomics are loom's.

#[cfg(not(loom))]
#[expect(unsafe_code, reason = "a handler that the C library calls in forked children")]
pub(crate) mod forked;
#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "a pointer to a value that is never freed")]
pub(crate) mod own;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "a lock of our own")]
pub(crate) mod spin_mutex;
#[cfg(loom)]
pub(crate) mod own {
    pub(crate) use super::modelled::Own;
}
pub(crate) mod parker;
pub(crate) mod spin_lock;
#[cfg(not(loom))]
mod threads;
pub(crate) mod user_panic;

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(crate) use threads::*;
