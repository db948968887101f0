//! Text that others have written, as a part of a message of one line.

use std::fmt::{self, Display, Formatter, Write};

/// The most bytes that are kept of a text of serde, or of an implementation of its traits.
const MAX_TEXT: usize = 4096;

/// Shows a text with its control characters, line ends included, escaped.
pub(crate) struct OneLine<'a>(pub(crate) &'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // The last two end a line, too, in the eyes of some programs.
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        for part in self.0.split_inclusive(breaks) {
            let last = part.chars().next_back().filter(|c| breaks(*c));
            f.write_str(part.strip_suffix(breaks).unwrap_or(part))?;
            for c in last.into_iter().flat_map(char::escape_default) {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Makes one line, of a bounded length, of a text.
pub(crate) fn one_line(text: impl Display) -> Box<str> {
    let text = text.to_string();
    OneLine(clip(&text, MAX_TEXT)).to_string().into()
}

/// Returns the longest prefix of at most `max` bytes.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_all_else_is_kept() {
        for (text, line) in [
            ("", ""),
            ("ä plain text", "ä plain text"),
            ("two\nlines\r\n", "two\\nlines\\r\\n"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("a\u{2028}b\u{85}c", "a\\u{2028}b\\u{85}c"),
        ] {
            assert_eq!(OneLine(text).to_string(), line);
        }
    }

    #[test]
    fn long_texts_end_between_characters() {
        let long = "ß".repeat(MAX_TEXT);
        assert_eq!(one_line(&long).len(), MAX_TEXT);
        assert_eq!(clip("ßß", 3), "ß");
        assert_eq!(clip("ßß", 9), "ßß");
    }
}
