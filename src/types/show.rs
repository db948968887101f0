//! Formats kinds for error messages, as Rust writes types.

use std::fmt::{self, Display, Formatter, Write};

use crate::text::clip;
use crate::types::kinds;
use crate::types::kinds::{Cursor, MAX_NESTING};

/// Bounds how much of the kinds an error shows, in bytes.
const MAX_SHOWN: usize = 400;

/// Bounds how much of that stands before the place of the difference, in bytes.
const MAX_BEFORE: usize = 200;

/// Returns the name of a kind, if it is that of a value without other values.
pub(crate) fn leaf(kind: u8) -> Option<&'static str> {
    Some(match kind {
        kinds::BOOL => "bool",
        kinds::I8 => "i8",
        kinds::I16 => "i16",
        kinds::I32 => "i32",
        kinds::I64 => "i64",
        kinds::I128 => "i128",
        kinds::U8 => "u8",
        kinds::U16 => "u16",
        kinds::U32 => "u32",
        kinds::U64 => "u64",
        kinds::U128 => "u128",
        kinds::F32 => "f32",
        kinds::F64 => "f64",
        kinds::CHAR => "char",
        kinds::STR => "string",
        kinds::BYTES => "bytes",
        kinds::UNIT => "()",
        kinds::UNKNOWN => "_",
        _ => return None,
    })
}

/// Formats kinds as Rust writes types.
#[cfg(test)]
pub(crate) fn show(kinds: &[u8]) -> String {
    shown(kinds, None, None)
}

/// Formats kinds as Rust writes types. The kind at this place is always shown.
pub(crate) fn show_at(kinds: &[u8], at: usize) -> String {
    shown(kinds, Some(at), None)
}

/// Formats kinds up to the one at this place, and `other` in place of that one.
pub(crate) fn show_other(kinds: &[u8], at: usize, other: &str) -> String {
    shown(kinds, Some(at), Some(other))
}

fn shown(kinds: &[u8], at: Option<usize>, other: Option<&str>) -> String {
    let mut show = Show {
        text: String::new(),
        cursor: Cursor::new(kinds, 0),
        at,
        other,
        found: None,
        is_cut: false,
    };
    // Writing to a string does not fail. Invalid kinds are shown as far as they are valid.
    let _ = show.value(MAX_NESTING);
    let text = show.text;
    let start =
        show.found.map_or(0, |found| text.floor_char_boundary(found.saturating_sub(MAX_BEFORE)));
    let (before, rest) = (if start > 0 { "…" } else { "" }, text.get(start..).unwrap_or_default());
    let clipped = clip(rest, MAX_SHOWN);
    format!("{before}{clipped}{}", if clipped.len() < rest.len() { "…" } else { "" })
}

struct Show<'k> {
    text: String,
    cursor: Cursor<'k>,
    /// Locates the kind that is always shown.
    at: Option<usize>,
    /// Replaces that kind, if it is given.
    other: Option<&'k str>,
    /// Locates the start of that kind in the text.
    found: Option<usize>,
    /// Is `true` if the rest is not shown.
    is_cut: bool,
}

impl Show<'_> {
    fn value(&mut self, left: u32) -> Option<()> {
        if self.at == Some(self.cursor.at()) {
            self.found = Some(self.text.len());
            if let Some(other) = self.other {
                self.text.push_str(other);
                self.is_cut = true;
                return self.cursor.skip();
            }
        }
        let left = left.checked_sub(1)?;
        match self.cursor.byte()? {
            kinds::OPTION => {
                self.text.push_str("Option<");
                self.value(left)?;
                self.text.push('>');
            }
            kinds::SEQUENCE => {
                self.text.push('[');
                self.value(left)?;
                self.text.push(']');
            }
            kinds::MAP => {
                self.text.push('{');
                self.value(left)?;
                if self.is_cut {
                    self.text.push_str(": ..");
                    self.cursor.skip()?;
                } else {
                    self.text.push_str(": ");
                    self.value(left)?;
                }
                self.text.push('}');
            }
            kinds::TUPLE => {
                let length = self.cursor.number()?;
                self.text.push('(');
                self.parts(length, |show| show.value(left))?;
                self.text.push_str(if length == 1 { ",)" } else { ")" });
            }
            kinds::STRUCT => {
                let name = self.cursor.name()?;
                let length = self.cursor.number()?;
                let _ = write!(self.text, "{}{{", Named(name));
                self.parts(length, |show| {
                    let field = show.cursor.name()?;
                    let _ = write!(show.text, "{}: ", Named(field));
                    show.value(left)
                })?;
                self.text.push('}');
            }
            kinds::NEWTYPE => {
                let name = self.cursor.name()?;
                let _ = write!(self.text, "{}(", Named(name));
                self.value(left)?;
                self.text.push(')');
            }
            kinds::ENUM => {
                let name = self.cursor.name()?;
                let count = self.cursor.number()?;
                for i in 0..count {
                    if i > 0 {
                        self.text.push_str(" | ");
                    }
                    if self.is_enough() {
                        self.text.push_str("..");
                        break;
                    }
                    self.variant(name, left)?;
                }
            }
            kinds::BLOCK => {
                let of = self.cursor.name()?;
                let _ = write!(self.text, "block of {}", Named(of));
            }
            kind => self.text.push_str(leaf(kind)?),
        }
        Some(())
    }

    fn is_enough(&self) -> bool {
        // Before the place of the difference, the text never has enough.
        let start = if self.at.is_some() { self.found } else { Some(0) };
        self.is_cut || start.is_some_and(|start| self.text.len() > start.saturating_add(MAX_SHOWN))
    }

    /// Formats a variant of an enum.
    fn variant(&mut self, name: &str, left: u32) -> Option<()> {
        let (_, variant) = (self.cursor.number()?, self.cursor.name()?);
        let _ = write!(self.text, "{}::{}", Named(name), Named(variant));
        let content = self.text.len();
        self.value(left)?;
        match self.text.get(content..) {
            Some("()") => self.text.truncate(content),
            Some(text) if !text.starts_with(['(', '{']) => {
                self.text.insert(content, '(');
                self.text.push(')');
            }
            _ => {}
        }
        Some(())
    }

    /// Formats parts, up to the one that is replaced.
    fn parts(&mut self, count: u32, mut part: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        for i in 0..count {
            if i > 0 {
                self.text.push_str(", ");
            }
            if self.is_enough() {
                self.text.push_str("..");
                return Some(());
            }
            part(self)?;
        }
        Some(())
    }
}

/// Displays a name within one line. serde allows any text as a name, so it is escaped.
pub(crate) struct Named<'n>(pub(crate) &'n str);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0.escape_debug(), f)
    }
}

/// Displays the names of fields or variants as a list.
pub(crate) struct Names<'n>(pub(crate) &'n [&'n str]);

impl Display for Names<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            write!(f, "{}{}", if i > 0 { ", " } else { "" }, Named(name))?;
        }
        Ok(())
    }
}
