//! Holds the bytes of a received value, and reads them.

use serde::de::DeserializeOwned;

use crate::types::beside::Beside;
use crate::types::read::decode_checked;
use crate::wire::deserializer::{DecodeError, decode};

/// Holds an encoded value, and the kinds to read it beside, if there are any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) beside: Option<&'a Beside<'a>>,
}

impl Payload<'_> {
    /// Decodes the value.
    ///
    /// # Errors
    ///
    /// Fails if the value is not a `T`. [`DecodeError::mismatch`] tells whether the kinds say so.
    #[inline]
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, DecodeError> {
        match self.beside {
            None => decode(self.bytes),
            Some(beside) => decode_checked(self.bytes, beside),
        }
    }
}
