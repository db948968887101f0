//! Holds the kinds of a value that was looked at, and makes the subject of its message.

use std::cell::Cell;
use std::ops::Deref;

use serde::Serialize;

use crate::types::record::record;
use crate::wire::header::{Number, Subject};

/// Bounds the buffer that is kept for the next value, in bytes. A larger buffer is freed.
const KEEP_BYTES: usize = 8 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Holds the kinds of a value that was looked at, in a buffer that this thread uses again.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Vec<u8>);

impl Kinds {
    /// Records the kinds of a value. Returns `false` if the value cannot be serialized.
    ///
    /// Runs user code.
    pub(crate) fn record<T: Serialize + ?Sized>(&mut self, value: &T) -> bool {
        self.0 = SPARE.try_with(Cell::take).unwrap_or_default();
        record(value, &mut self.0)
    }

    /// Records the kinds of a result. Returns `None` if the result cannot be serialized.
    ///
    /// Runs user code.
    #[cold]
    pub(crate) fn of_result<T: Serialize + ?Sized>(result: &T) -> Option<Kinds> {
        let mut kinds = Kinds::default();
        kinds.record(result).then_some(kinds)
    }
}

impl Deref for Kinds {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Kinds {
    #[cold]
    fn drop(&mut self) {
        if (1..=KEEP_BYTES).contains(&self.0.capacity()) {
            // Fails only if the thread is ending: then there is no next value.
            let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.0)));
        }
    }
}

/// Holds what a message without a number describes.
#[derive(Debug, Default)]
pub(crate) struct Unnumbered {
    /// Holds the kinds of the value, if the message must describe them.
    kinds: Option<Box<Kinds>>,
}

impl Unnumbered {
    /// Makes the message describe these kinds.
    pub(crate) fn set_kinds(&mut self, kinds: Kinds) {
        self.kinds = Some(Box::new(kinds));
    }

    /// Returns the subject of the message.
    #[inline(always)] // with a number, nothing else is read
    pub(crate) fn subject<'a>(
        &'a self,
        number: Option<Number>,
        name: &'a str,
        asks: bool,
    ) -> Subject<'a> {
        match (number, &self.kinds) {
            (Some(number), _) => Subject::Known(number),
            (None, Some(kinds)) => Subject::Described { name: name.as_bytes(), kinds, asks },
            (None, None) => Subject::Named(name.as_bytes()),
        }
    }
}
