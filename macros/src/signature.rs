//! Turns types into text. The text describes a method to the peer, which may have been built from
//! other sources by another compiler.
//!
//! The text consists of the tokens, spaced by the rules of this module. A compiler may change how
//! it prints tokens.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// Returns the tokens as text. The spaces do not depend on how the tokens were written.
pub(crate) fn text(tokens: TokenStream) -> String {
    let mut out = String::new();
    write(tokens, &mut out);
    out
}

fn write(tokens: TokenStream, out: &mut String) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                out.push_str(open);
                write(group.stream(), out);
                out.truncate(out.trim_end().len());
                out.push_str(close);
            }
            TokenTree::Punct(punct) => match punct.as_char() {
                mark @ (',' | ';') => {
                    out.push(mark);
                    out.push(' ');
                }
                '>' => {
                    // A comma after the last parameter has no meaning.
                    out.truncate(out.trim_end_matches([' ', ',']).len());
                    out.push('>');
                }
                mark if punct.spacing() == Spacing::Joint
                    || matches!(mark, '<' | ':' | '&' | '!') =>
                {
                    out.push(mark)
                }
                mark => {
                    out.push(' ');
                    out.push(mark);
                    out.push(' ');
                }
            },
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                if out.ends_with(|last: char| last.is_alphanumeric() || last == '_') {
                    out.push(' ');
                }
                out.push_str(&token.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_type_has_the_same_text_however_it_is_spaced() {
        for (written, normal) in [
            ("u64", "u64"),
            ("Vec < u8 >", "Vec<u8>"),
            ("Vec<u8,>", "Vec<u8>"),
            ("HashMap<String,Vec<Option<u8>>>", "HashMap<String, Vec<Option<u8>>>"),
            ("Result < i64 , my :: Error >", "Result<i64, my::Error>"),
            (":: std::time\n::Duration", "::std::time::Duration"),
            ("[ u8 ;4 ]", "[u8; 4]"),
            ("(i64 , u8)", "(i64, u8)"),
            ("(i64,)", "(i64,)"),
            ("()", "()"),
            ("Table<{N+1}>", "Table<{N + 1}>"),
            ("<A as B>::C", "<A as B>::C"),
        ] {
            assert_eq!(text(written.parse().expect("tokens")), normal);
        }
    }
}
