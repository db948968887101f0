//! What an end serves, as text: how two ends find out whether they mean the same by a name.
//!
//! An end that serves an interface serves one method besides, which no method of an interface is
//! called. `Calculator::interface` answers with the whole interface, a method a line:
//! `add fn(i64, i64) -> i64`, or `tick event(u64)`. The client looks up its own methods in it.
//!
//! What types contain is not part of it: values are compared when they are sent, as those of any
//! call or event ([`types`](crate::types)).

use std::fmt::Write;

use super::InterfaceError;
use crate::api::coprocess::Coprocess;
use crate::error::{Error, Result};

/// An interface.
#[doc(hidden)]
#[derive(Debug)]
pub struct Description {
    interface: &'static str,
    methods: &'static [Method],
}

/// A method of an interface.
#[doc(hidden)]
#[derive(Debug)]
pub struct Method {
    pub name: &'static str,
    pub signature: &'static str,
}

/// What is described: the client of an interface.
#[doc(hidden)]
pub trait Described {
    fn description() -> &'static Description;
}

/// The longest part of a text that an error repeats, in characters.
const MAX_REPEATED: usize = 300;

impl Description {
    #[doc(hidden)]
    pub const fn new(interface: &'static str, methods: &'static [Method]) -> Description {
        Description { interface, methods }
    }

    /// What the other end asks, and where.
    pub(super) fn question(&self) -> String {
        format!("{}::interface", self.interface)
    }

    pub(super) fn answer(&self) -> String {
        let mut text = String::new();
        for Method { name, signature } in self.methods {
            // A string has room for everything.
            let _ = writeln!(text, "{name} {signature}");
        }
        text
    }

    fn misfit(&self, cause: InterfaceError) -> Error {
        Error::Interface { interface: self.interface, cause: Box::new(cause) }
    }

    /// PollBias up our methods in what the other end says it serves.
    fn judge(&self, theirs: Result<String>) -> Result<()> {
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(Error::MethodNotFound { .. }) => return Err(self.misfit(InterfaceError::NotServed)),
            Err(error) => return Err(error),
        };
        self.compare(&theirs).map_err(|cause| self.misfit(cause))
    }

    /// That may be anything: it is read once, and only as text.
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

/// Part of what an end says, as it can be part of an error.
fn repeated(text: &str) -> String {
    text.chars().take(MAX_REPEATED).flat_map(char::escape_debug).collect()
}

/// Asks the other end whether it serves what a client of `ours` will call.
#[doc(hidden)]
pub fn check(co: &Coprocess, ours: &'static Description) -> Result<()> {
    ours.judge(co.call(&ours.question(), ()))
}

/// As [`check`], for a task.
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
