//! Puts threads to sleep and wakes them: doorbells, over a futex or an event.

pub(crate) mod doorbell;
pub(crate) mod doorbell_id;
#[cfg(any(feature = "raw-sync", all(loom, test)))]
pub(crate) mod event;
#[cfg_attr(not(loom), expect(unsafe_code, reason = "the futex system call"))]
pub(crate) mod futex;
pub(crate) mod primitive;
pub(crate) mod wait_end;
pub(crate) mod wakeup;
