//! Reads a value beside its kinds.

use serde::de::DeserializeOwned;

use crate::sync::lock;
use crate::types::aliases::{By, Question};
use crate::types::beside::Beside;
use crate::types::checked::Checked;
use crate::types::kinds::{self, Cursor};
use crate::wire::deserializer::DecodeError;

/// Bounds the enums and structs of one value whose types are asked for their names.
const MAX_QUESTIONS: u32 = 256;

/// Decodes a value. The value must take all of `bytes`, and be what the kinds describe.
///
/// # Errors
///
/// Returns the errors of [`decode`](crate::wire::deserializer::decode). If the value is of another
/// type, [`DecodeError::mismatch`] describes the difference.
pub(crate) fn decode_checked<T: DeserializeOwned>(
    bytes: &[u8],
    beside: &Beside<'_>,
) -> Result<T, DecodeError> {
    let mut questions = 0_u32;
    loop {
        let mut checked = Checked::new(bytes, beside.kinds);
        checked.may_ask = questions < MAX_QUESTIONS;
        checked.compared = beside.compared;
        if let Some(compared) = beside.compared {
            lock(compared).resize(beside.kinds.len(), false);
        }
        let value = T::deserialize(&mut checked);
        if let (Err(_), Some(at)) = (&value, checked.unasked) {
            questions = questions.saturating_add(1);
            ask::<T>(bytes, beside.kinds, at);
            continue;
        }
        let value = match value {
            Err(error) if error.mismatch().is_some() => return Err(error),
            value => value,
        };
        if let Some(mismatch) = checked.mismatch.take() {
            return Err(DecodeError::of_types(mismatch));
        }
        let value = value?;
        checked.decoder.finish()?;
        return Ok(value);
    }
}

/// Asks a type for all variants or fields that the kinds describe at a place, and keeps the
/// answers.
#[cold]
pub(super) fn ask<T: DeserializeOwned>(bytes: &[u8], kinds: &[u8], at: usize) {
    let ask = |by| {
        let mut checked = Checked::new(bytes, kinds);
        checked.question = Some(Question { at, by });
        // The attempt always ends in an error. Only what it found out before that counts.
        drop(T::deserialize(&mut checked));
        (checked.listed, checked.answer)
    };
    let mut said = Cursor::new(kinds, at);
    let (is_struct, _) = (said.byte() == Some(kinds::STRUCT), said.name());
    for place in 0..said.number().unwrap_or(0) {
        let index = if is_struct { Some(place) } else { said.number() };
        let (Some(index), Some(name), Some(())) = (index, said.name(), said.skip()) else { return };
        let (listed, by_index) = ask(By::Index(index));
        let Some(listed) = listed else { return };
        // Two indexes must lead to two answers. Otherwise the type does not tell them apart in this
        // way.
        let are_told_apart =
            by_index.is_some() && by_index != ask(By::Index(u32::from(index == 0))).1;
        let answer = match ask(By::Name(name)).1 {
            Some(by_name) if are_told_apart => by_index == Some(by_name),
            // The type may read indexes only, and no names.
            _ => listed.has(index, name),
        };
        listed.keep(index, name, answer);
    }
}
