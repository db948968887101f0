//! The types of what is sent: what a value is made of, and whether it is what the other end takes.
//!
//! [`kinds`]: the language in which two ends speak of types. [`record`] makes the kinds of a
//! value. [`checked`] reads a value beside them, and [`mismatch`] says where they differ.
//!
//! An end that sends looks at the first value, the second, the fourth and so on of each name and
//! type ([`pairs`]). It introduces what it finds under a number, once ([`introduce`]). From then on
//! it sends the number in place of the name. The other end ([`introduced`]) reads the first value
//! of each number and handler beside the kinds, and those after it without. A number stands for one
//! name and one type with one content, so that it does not matter which thread sends which value.
//!
//! Results are not introduced: an answer tells its kinds if its call asks for that. A call asks if
//! its arguments are looked at. Until a call of a name and type was answered with a result, each
//! one is looked at. After a result of another type, each one is looked at again.

mod aliases;
mod beside;
mod checked;
mod introduce;
mod introduced;
mod kinds;
mod merge;
mod mismatch;
mod pairs;
mod record;
mod show;

pub(crate) use beside::Beside;
pub(crate) use checked::decode_checked;
pub(crate) use introduce::{Kinds, MAX_INTRODUCED_NAME, Unnumbered};
pub(crate) use introduced::{Introduced, Introductions};
pub(crate) use kinds::MAX_KINDS;
pub(crate) use mismatch::{Mismatch, Refused};
pub(crate) use pairs::{PairId, Pairs};
pub(crate) use record::is_recorder;

/// When the types of what is sent are compared with what the other end takes, by
/// [`Builder::check_types`](crate::Builder::check_types).
///
/// A value shows the types of what it contains: an empty list tells nothing of its elements. So
/// more than one value of each name and type is looked at.
///
/// `Serialize` runs once more for a value that is looked at, and `Deserialize` may be asked once which
/// variant or field a name is. A `Serialize` that works one time only, such as one that takes an
/// iterator out of a cell, needs [`Off`](Self::Off).
///
/// # Examples
///
/// ```no_run
/// # coprocess::init();
/// let co = coprocess::Builder::new().check_types(coprocess::TypeCheck::Always).fork(|_| {})?;
/// # Ok::<(), coprocess::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypeCheck {
    /// The first value of each name and type, the second, the fourth, the eighth and so on; in
    /// builds with `debug_assertions` each one.
    #[default]
    FirstUse,
    /// Each value.
    Always,
    /// None: a value of another type is read as whatever its bytes are.
    Off,
}

#[cfg(test)]
mod document;
#[cfg(test)]
mod tests;
