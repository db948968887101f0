//! Holds a value that each process has once: a child of fork(2) gets its own value.
//!
//! When the parent forked, another thread of the parent may have held a lock of the parent's value.
//! In the child, that lock is held for ever. So the child must never use the parent's value.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::sync::forked::Generation;

/// Holds the value of this process, made at its first use.
pub(crate) struct Own<T: 'static> {
    latest: AtomicPtr<Made<T>>,
}

struct Made<T> {
    generation: Generation,
    value: T,
}

impl<T: Default + Send + Sync> Own<T> {
    /// Makes the holder, without a value yet.
    pub(crate) const fn new() -> Own<T> {
        Own { latest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Returns the value of this process. Each process that asks leaks one value.
    pub(crate) fn get(&self) -> &'static T {
        // Acquire: pairs with the Release below.
        let known = self.latest.load(Ordering::Acquire);
        // SAFETY: null, or a value that was made below and is never freed. Only shared references
        // to the value are made.
        if let Some(made) = unsafe { known.as_ref() }
            && !made.generation.is_foreign()
        {
            return &made.value;
        }
        let new = Box::into_raw(Box::new(Made {
            generation: Generation::watched(),
            value: T::default(),
        }));
        // Release: the thread that finds the value sees its contents. Acquire: as above. The
        // parent's value is not dropped: dropping could wait for a lock that is held for ever.
        match self.latest.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: as above.
            Ok(_) => unsafe { &(*new).value },
            Err(_) => {
                // SAFETY: `new` was made above, and no other thread has seen the pointer.
                drop(unsafe { Box::from_raw(new) });
                self.get()
            }
        }
    }
}
