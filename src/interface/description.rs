//! What an end serves, as text: how two ends find out whether they mean the same by a name.
//!
//! An end that serves an interface serves one method besides, `Calculator::interface`, which no method of an interface is called. Its answer
//! is the whole interface, a method a line: `add fn(i64, i64) -> i64`, or `tick event(u64)`. The client looks up its own methods in it. A
//! hash would be shorter, and could not say what differs.

use std::fmt::Write;

use super::InterfaceError;
use crate::coprocess::Coprocess;
use crate::error::{Error, Result};

/// A method of an interface.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Method {
    pub name: &'static str,
    pub signature: &'static str,
}

/// The longest part of the other end's text that an error repeats, in characters.
const MAX_REPEATED: usize = 300;

fn name_of_description(interface: &str) -> String {
    format!("{interface}::interface")
}

/// The method that tells whoever asks what is served, and its answer.
pub(super) fn describe(interface: &str, methods: &[Method]) -> (String, String) {
    (name_of_description(interface), text(methods))
}

/// Asks the other end whether it serves what a client of `ours` will call.
#[doc(hidden)]
pub fn check(co: &Coprocess, interface: &'static str, ours: &[Method]) -> Result<()> {
    judge(interface, ours, co.call(&name_of_description(interface), ()))
}

/// As [`check`], for a task.
#[doc(hidden)]
pub fn check_async(co: &Coprocess, interface: &'static str, ours: &'static [Method]) -> impl Future<Output = Result<()>> + Send + use<> {
    let theirs = co.call_async(&name_of_description(interface), ());
    async move { judge(interface, ours, theirs.await) }
}

fn judge(interface: &'static str, ours: &[Method], theirs: Result<String>) -> Result<()> {
    let compared = match theirs {
        Ok(theirs) => compare(ours, &theirs),
        Err(Error::MethodNotFound { .. }) => Err(InterfaceError::NotServed),
        Err(error) => return Err(error),
    };
    compared.map_err(|cause| Error::Interface { interface, cause: Box::new(cause) })
}

fn text(methods: &[Method]) -> String {
    let mut text = String::new();
    for Method { name, signature } in methods {
        // A string has room for everything.
        let _ = writeln!(text, "{name} {signature}");
    }
    text
}

/// Looks up our methods in what the other end says it serves, which may be anything: it is read once, and only as text.
fn compare(ours: &[Method], theirs: &str) -> std::result::Result<(), InterfaceError> {
    let mut found = vec![None; ours.len()];
    for (name, signature) in theirs.lines().filter_map(|line| line.split_once(' ')) {
        if let Some((_, place)) = ours.iter().zip(&mut found).find(|(method, _)| method.name == name) {
            place.get_or_insert(signature);
        }
    }
    for (&Method { name, signature }, theirs) in ours.iter().zip(found) {
        match theirs {
            Some(theirs) if theirs == signature => {}
            Some(theirs) => {
                let theirs = theirs.chars().take(MAX_REPEATED).flat_map(char::escape_debug).collect();
                return Err(InterfaceError::Differs { method: name, ours: signature, theirs });
            }
            None => return Err(InterfaceError::Missing { method: name, ours: signature }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[Method] = &[
        Method { name: "add", signature: "fn(i64, i64) -> i64" },
        Method { name: "tick", signature: "event(u64)" },
        Method { name: "ad", signature: "fn() -> ()" },
    ];

    #[test]
    fn an_interface_fits_itself_and_a_larger_one_in_any_order() {
        assert!(compare(OURS, &text(OURS)).is_ok());
        assert!(compare(OURS, "more event()\nad fn() -> ()\ntick event(u64)\nadd fn(i64, i64) -> i64").is_ok());
        assert!(compare(&[], "").is_ok());
    }

    #[test]
    fn what_differs_is_named() {
        let theirs = text(OURS).replace("add fn(i64, i64)", "add fn(i64, i32)");
        match compare(OURS, &theirs) {
            Err(InterfaceError::Differs { method: "add", ours: "fn(i64, i64) -> i64", theirs }) => {
                assert_eq!(theirs, "fn(i64, i32) -> i64")
            }
            other => panic!("{other:?}"),
        }
        let theirs = text(OURS).replace("tick", "tock");
        assert!(matches!(compare(OURS, &theirs), Err(InterfaceError::Missing { method: "tick", ours: "event(u64)" })));
    }

    #[test]
    fn nonsense_is_repeated_in_one_short_line() {
        assert!(matches!(compare(OURS, ""), Err(InterfaceError::Missing { method: "add", .. })));
        assert!(matches!(compare(OURS, &"\n\0 \u{202e}".repeat(10_000)), Err(InterfaceError::Missing { .. })));
        let theirs = format!("add {}", "\x1b[2J\t\u{202e}".repeat(10_000));
        match compare(OURS, &theirs) {
            Err(error @ InterfaceError::Differs { .. }) => {
                let text = error.to_string();
                assert!(text.len() < 4000, "{} bytes", text.len());
                assert!(!text.contains(['\x1b', '\n', '\t', '\u{202e}']), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}
