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

pub(crate) mod aliases;
pub(crate) mod beside;
pub mod block;
pub(crate) mod block_description;
pub(crate) mod checked;
pub(crate) mod kinds;
pub(crate) mod looked_at;
pub(crate) mod merge;
pub(crate) mod mismatch;
pub(crate) mod payload;
pub(crate) mod peer_types;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod sent_types;
pub(crate) mod show;

#[cfg(test)]
mod document;
#[cfg(test)]
mod tests;
