//! The kinds that a value is read beside, and what of them was compared with it.

use crate::sync::{Mutex, lock};
use crate::types::kinds;
use crate::types::kinds::Cursor;

/// The kinds that a value is read beside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beside<'k> {
    pub(super) kinds: &'k [u8],
    /// Which of them were compared with something of the value, if that is of interest.
    pub(super) compared: Option<&'k Mutex<Vec<bool>>>,
}

impl<'k> Beside<'k> {
    pub(crate) fn new(kinds: &'k [u8]) -> Beside<'k> {
        Beside { kinds, compared: None }
    }

    /// As [`new`](Self::new), to ask later whether all was compared.
    pub(crate) fn comparing(kinds: &'k [u8], compared: &'k Mutex<Vec<bool>>) -> Beside<'k> {
        lock(compared).clear();
        Beside { kinds, compared: Some(compared) }
    }

    /// Whether the kinds tell of something that the value did not have, so that it was not compared:
    /// they were made of another value. A handler that takes bytes compares nothing, and need not.
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
