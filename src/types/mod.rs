//! Describes the types of what is sent, and checks that the peer takes them.
//!
//! [`kinds`] is the language in which two ends describe types. [`record`] makes the kinds of a
//! value. [`checked`] reads a value beside its kinds, and [`mismatch`] tells where the two differ.
//!
//! The sending end looks at the first value, the second, the fourth and so on of each name and type
//! ([`sent_types`]). It introduces what it finds under a number, once. From then on, the sender
//! writes the number in place of the name. The receiving end ([`peer_types`]) reads the first value
//! of each number and handler beside the kinds, and later values without. A number stands for one
//! name and one type with one content. So it does not matter which thread sends which value.
//!
//! Results are not introduced: an answer describes its kinds if its call asks for them. A call asks
//! if its arguments are looked at. Until a call of a name and type was answered with a result, each
//! such call is looked at. After a result of another type, each call is looked at again.

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
