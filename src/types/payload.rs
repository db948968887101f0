//! The bytes of a value that has come, and how they are read.

use serde::de::DeserializeOwned;

use crate::types::beside::Beside;
use crate::types::read::decode_checked;
use crate::wire::deserializer::{DecodeError, decode};

/// An encoded value, and the kinds that it is to be read beside, if it is.
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
    /// It is not a `T`; [`DecodeError::mismatch`] tells whether it is said to be none.
    #[inline]
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, DecodeError> {
        match self.beside {
            None => decode(self.bytes),
            Some(beside) => decode_checked(self.bytes, beside),
        }
    }
}
