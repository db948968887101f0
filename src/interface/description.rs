//! Describes the interfaces of an end as text, so that two ends find out whether they mean the same
//! by a name.
//!
//! An end that serves an interface also serves a method with the interface's description. No method
//! of an interface can have that name. `Calculator::interface` answers with the whole interface, a
//! method a line: `add fn(i64, i64) -> i64`, or `tick event(u64)`. The client looks up its own
//! methods in the answer.
//!
//! The contents of types are not part of the description: values are compared when they are sent,
//! as those of any call or event ([`types`](crate::types)).

use std::fmt::Write;

use super::InterfaceError;
use crate::api::coprocess::Coprocess;
use crate::error::{Error, Result};

/// Describes an interface.
#[doc(hidden)]
#[derive(Debug)]
pub struct Description {
    interface: &'static str,
    methods: &'static [Method],
}

/// Describes a method of an interface.
#[doc(hidden)]
#[derive(Debug)]
pub struct Method {
    pub name: &'static str,
    pub signature: &'static str,
}

/// Has a description: the client of an interface.
#[doc(hidden)]
pub trait Described {
    fn description() -> &'static Description;
}

/// Bounds the part of the peer's text that an error repeats, in characters.
const MAX_REPEATED: usize = 300;

impl Description {
    #[doc(hidden)]
    pub const fn new(interface: &'static str, methods: &'static [Method]) -> Description {
        Description { interface, methods }
    }

    /// Returns the name of the method that a client calls to ask for the description.
    pub(super) fn question(&self) -> String {
        format!("{}::interface", self.interface)
    }

    /// Returns the description as text, a method a line.
    pub(super) fn answer(&self) -> String {
        let mut text = String::new();
        for Method { name, signature } in self.methods {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} {signature}");
        }
        text
    }

    /// Makes the error for an interface that does not fit.
    fn misfit(&self, cause: InterfaceError) -> Error {
        Error::Interface { interface: self.interface, cause: Box::new(cause) }
    }

    /// Looks up this end's methods in the description that the peer sent.
    fn judge(&self, theirs: Result<String>) -> Result<()> {
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(Error::MethodNotFound { .. }) => return Err(self.misfit(InterfaceError::NotServed)),
            Err(error) => return Err(error),
        };
        self.compare(&theirs).map_err(|cause| self.misfit(cause))
    }

    /// Compares this end's methods with the peer's text. The text may be anything: it is read once,
    /// and only as text.
    fn compare(&self, theirs: &str) -> std::result::Result<(), InterfaceError> {
        let mut found = vec![None; self.methods.len()];
        for (name, rest) in theirs.lines().filter_map(|line| line.split_once(' ')) {
            if let Some((_, place)) =
                self.methods.iter().zip(&mut found).find(|(method, _)| method.name == name)
            {
                place.get_or_insert(rest);
            }
        }
        for (&Method { name, signature }, theirs) in self.methods.iter().zip(found) {
            match theirs {
                None => return Err(InterfaceError::Missing { method: name, ours: signature }),
                Some(theirs) if theirs == signature => {}
                Some(theirs) => {
                    return Err(InterfaceError::Differs {
                        method: name,
                        ours: signature,
                        theirs: repeated(theirs),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Returns the start of a peer's text, escaped, so that an error can contain it.
fn repeated(text: &str) -> String {
    text.chars().take(MAX_REPEATED).flat_map(char::escape_debug).collect()
}

/// Asks the peer whether it serves what a client of `ours` will call.
#[doc(hidden)]
pub fn check(co: &Coprocess, ours: &'static Description) -> Result<()> {
    ours.judge(co.call(&ours.question(), ()))
}

/// Asks as [`check`] does, for a task.
#[doc(hidden)]
pub fn check_async(
    co: &Coprocess,
    ours: &'static Description,
) -> impl Future<Output = Result<()>> + Send + use<> {
    let co = co.clone();
    async move { ours.judge(co.call_async(&ours.question(), ()).await) }
}

#[cfg(test)]
mod tests;
