//! Holds the kinds to read a value beside, and tracks which of them were compared.

use crate::sync::{Mutex, lock};
use crate::types::kinds;
use crate::types::kinds::Cursor;

/// Holds the kinds to read a value beside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beside<'k> {
    pub(super) kinds: &'k [u8],
    /// Marks the kinds that were compared with a part of the value, if the caller asks for that.
    pub(super) compared: Option<&'k Mutex<Vec<bool>>>,
}

impl<'k> Beside<'k> {
    pub(crate) fn new(kinds: &'k [u8]) -> Beside<'k> {
        Beside { kinds, compared: None }
    }

    /// Makes this as [`new`](Self::new) does, and tracks what is compared, for
    /// [`Self::is_partial`].
    pub(crate) fn comparing(kinds: &'k [u8], compared: &'k Mutex<Vec<bool>>) -> Beside<'k> {
        lock(compared).clear();
        Beside { kinds, compared: Some(compared) }
    }

    /// Returns `true` if the kinds describe a part that the value did not have, and that was
    /// therefore not compared. The kinds were then made of another value. A handler that takes
    /// bytes compares nothing, and need not.
    #[cold]
    pub(crate) fn is_partial(self) -> bool {
        let Some(compared) = self.compared else { return true };
        let compared = std::mem::take(&mut *lock(compared));
        let mut is_partial = false;
        Cursor::new(self.kinds, 0).nodes(&mut |at, kind| {
            let is_of_interest = !matches!(kind, kinds::UNKNOWN | kinds::NEWTYPE);
            is_partial |= is_of_interest && compared.get(at) == Some(&false);
        });
        is_partial
    }
}
