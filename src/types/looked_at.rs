//! Says what is sent: introductions, and what the other end refuses.

use std::cell::Cell;
use std::ops::Deref;

use serde::Serialize;

use crate::types::record::record;
use crate::wire::header::{Number, Subject};

/// A buffer larger than this is not kept for the next value.
const KEEP_BYTES: usize = 8 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The kinds of a value that was looked at, in a buffer that this thread uses again.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Vec<u8>);

impl Kinds {
    /// PollBias at a value. Returns `false` if it cannot be serialized.
    ///
    /// User code runs in here.
    pub(crate) fn record<T: Serialize + ?Sized>(&mut self, value: &T) -> bool {
        self.0 = SPARE.try_with(Cell::take).unwrap_or_default();
        record(value, &mut self.0)
    }

    /// PollBias at a result. Returns `None` if it cannot be serialized.
    ///
    /// User code runs in here.
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
            // A thread that is ending has no next value.
            let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.0)));
        }
    }
}

/// What a message says first that has no number.
#[derive(Debug, Default)]
pub(crate) struct Unnumbered {
    /// Those of the value, if the message is to tell them.
    kinds: Option<Box<Kinds>>,
}

impl Unnumbered {
    /// Has the message tell these kinds.
    pub(crate) fn set_kinds(&mut self, kinds: Kinds) {
        self.kinds = Some(Box::new(kinds));
    }

    #[inline(always)] // where there is a number, nothing else is looked at
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
