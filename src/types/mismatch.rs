//! Describes values that do not fit: what was sent, and what was wanted in its place.

use crate::error::Error;
use crate::text::one_line;
use crate::types::kinds;
use crate::types::show::{leaf, show_other};
use crate::wire::mismatch::{Mismatch, Place};

impl Mismatch {
    /// Returns both types as the text that is sent to the caller.
    pub(crate) fn to_text(&self) -> String {
        format!("{}\n{}", self.sent, self.wanted)
    }

    /// Makes an error of the text that [`to_text`](Self::to_text) returns.
    pub(crate) fn error_of(method: &str, text: &str) -> Error {
        let (sent, wanted) = text.split_once('\n').unwrap_or((text, ""));
        Error::Types {
            name: method.to_owned(),
            sent: one_line(sent).into(),
            wanted: one_line(wanted).into(),
        }
    }
}

/// Returns a hash of a name and kinds that have no number. The hash serves to report mistakes only:
/// two types with one hash are refused together.
pub(crate) fn unnumbered(name: &[u8], kinds: &[u8]) -> u64 {
    // FNV-1a. The separator is a byte that no UTF-8 text contains.
    let bytes = name.iter().chain(&[0xff]).chain(kinds);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

impl Place {
    /// Describes what is wanted in place of `sent`, as far as that is known.
    pub(crate) fn wanted(self, sent: &[u8]) -> String {
        let wanted = leaf(self.kind).unwrap_or(match self.kind {
            kinds::OPTION => "Option<_>",
            kinds::SEQUENCE => "[_]",
            kinds::MAP => "{_: _}",
            kinds::TUPLE => "another number of values",
            kinds::STRUCT => "a struct of other fields",
            kinds::ENUM => "an enum of other variants",
            kinds::BLOCK => "another block",
            _ => "another type",
        });
        show_other(sent, self.at as usize, wanted)
    }
}
