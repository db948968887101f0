//! Shows text from outside this library as a part of a message of one line.

use std::fmt::{self, Display, Formatter, Write};

/// Bounds the bytes of a text that are kept, or shown.
const MAX_TEXT: usize = 4096;

/// Shows a text, up to a bound, with its control characters, line ends included, escaped.
pub(crate) struct OneLine<'a>(pub(crate) &'a str);

/// Returns `true` if a line of text must not hold the character.
///
/// Some programs take such a character for the end of the line, or a terminal shows the rest of the
/// line in another order.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown = clip(self.0, MAX_TEXT);
        for part in shown.split_inclusive(is_unfit) {
            let last = part.chars().next_back().filter(|c| is_unfit(*c));
            f.write_str(part.strip_suffix(is_unfit).unwrap_or(part))?;
            for c in last.into_iter().flat_map(char::escape_default) {
                f.write_char(c)?;
            }
        }
        match self.0.len().saturating_sub(shown.len()) {
            0 => Ok(()),
            left => write!(f, " … ({left} bytes more)"),
        }
    }
}

/// Makes one line of bounded length from a text.
pub(crate) fn one_line(text: impl Display) -> Box<str> {
    OneLine(&text.to_string()).to_string().into()
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
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
        ] {
            assert_eq!(OneLine(text).to_string(), line);
        }
    }

    #[test]
    fn long_texts_end_between_characters() {
        let long = "ß".repeat(MAX_TEXT);
        assert_eq!(
            *one_line(&long),
            format!("{} … ({MAX_TEXT} bytes more)", "ß".repeat(MAX_TEXT / 2))
        );
        assert_eq!(clip("ßß", 3), "ß");
        assert_eq!(clip("ßß", 9), "ßß");
    }
}
