//! What an end serves, as text: how two ends find out whether they mean the same by a name.
//!
//! An end that serves an interface serves two methods besides, which no method of an interface is called. `Calculator::interface` answers with the whole interface,
//! a method a line: `add fn(i64, i64) -> i64 #1f0c6b2a9d3e4857`, or `tick event(u64) #..`. The number at the end is a hash of the shapes of its types, and that alone
//! is compared: what is written in the sources is for people, since it is the same for types that differ, and different for a type and its alias. Where a
//! shape was not seen to its end, the hash is one of the sources, too.
//!
//! A hash does not say what differs. So where one does, the client asks `Calculator::types` for the shapes of that method, and compares them line by line.

use std::fmt::Write;
use std::sync::OnceLock;

use super::InterfaceError;
use super::shape::Shape;
use crate::coprocess::Coprocess;
use crate::error::{Error, Result};

/// An interface.
#[doc(hidden)]
#[derive(Debug)]
pub struct Description {
    interface: &'static str,
    methods: &'static [Method],
    /// Of each method, once somebody has asked.
    types: OnceLock<Vec<Types>>,
}

/// A method of an interface.
#[doc(hidden)]
#[derive(Debug)]
pub struct Method {
    pub name: &'static str,
    pub signature: &'static str,
    pub arguments: &'static [Argument],
    /// `None` for an event.
    pub result: Option<fn() -> Shape>,
}

/// An argument of a method.
#[doc(hidden)]
#[derive(Debug)]
pub struct Argument {
    pub name: &'static str,
    pub shape: fn() -> Shape,
}

/// What is described: the client of an interface.
#[doc(hidden)]
pub trait Described {
    fn description() -> &'static Description;
}

/// The shapes of a method's types.
#[derive(Debug)]
struct Types {
    text: String,
    hash: u64,
}

/// The longest part of the other end's text that an error repeats, in characters.
const MAX_REPEATED: usize = 300;

/// The label of a result among arguments, which have numbers.
const RESULT: &str = "=";

impl Description {
    #[doc(hidden)]
    pub const fn new(interface: &'static str, methods: &'static [Method]) -> Description {
        Description { interface, methods, types: OnceLock::new() }
    }

    fn types(&self) -> &[Types] {
        self.types.get_or_init(|| self.methods.iter().map(Types::of).collect())
    }

    /// What the other end asks first, and where.
    pub(super) fn question(&self) -> String {
        format!("{}::interface", self.interface)
    }

    /// And if it has to explain a difference.
    pub(super) fn question_of_types(&self) -> String {
        format!("{}::types", self.interface)
    }

    pub(super) fn answer(&self) -> String {
        let mut text = String::new();
        for (Method { name, signature, .. }, types) in self.methods.iter().zip(self.types()) {
            // A string has room for everything.
            let _ = writeln!(text, "{name} {signature} #{:016x}", types.hash);
        }
        text
    }

    /// Nothing, of a method that there is not.
    pub(super) fn answer_of_types(&self, method: &str) -> String {
        let known = self.methods.iter().zip(self.types()).find(|(known, _)| known.name == method);
        known.map(|(_, types)| types.text.clone()).unwrap_or_default()
    }

    fn misfit(&self, cause: InterfaceError) -> Error {
        Error::Interface { interface: self.interface, cause: Box::new(cause) }
    }

    /// Looks up our methods in what the other end says it serves.
    fn judge(&'static self, theirs: Result<String>) -> Result<Option<Difference>> {
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(Error::MethodNotFound { .. }) => return Err(self.misfit(InterfaceError::NotServed)),
            Err(error) => return Err(error),
        };
        self.compare(&theirs).map_err(|cause| self.misfit(cause))
    }

    /// That may be anything: it is read once, and only as text.
    fn compare(&'static self, theirs: &str) -> std::result::Result<Option<Difference>, InterfaceError> {
        let mut found = vec![None; self.methods.len()];
        for (name, rest) in theirs.lines().filter_map(|line| line.split_once(' ')) {
            if let Some((_, place)) = self.methods.iter().zip(&mut found).find(|(method, _)| method.name == name) {
                place.get_or_insert(rest);
            }
        }
        for ((method, types), theirs) in self.methods.iter().zip(self.types()).zip(found) {
            let Method { name, signature, .. } = *method;
            let Some(theirs) = theirs else { return Err(InterfaceError::Missing { method: name, ours: signature }) };
            let (theirs, hash) = theirs.rsplit_once(" #").unwrap_or((theirs, ""));
            if hash != format!("{:016x}", types.hash) {
                return Ok(Some(Difference { method, types, theirs: repeated(theirs) }));
            }
        }
        Ok(None)
    }
}

impl Method {
    fn is_event(&self) -> bool {
        self.result.is_none()
    }
}

impl Types {
    fn of(method: &Method) -> Types {
        let mut text = String::new();
        let mut complete = true;
        for (number, argument) in method.arguments.iter().enumerate() {
            complete &= (argument.shape)().write(&number.to_string(), &mut text);
        }
        if let Some(result) = method.result {
            complete &= result().write(RESULT, &mut text);
        }
        let source = if complete { "" } else { method.signature };
        let hash = hash(&[if method.is_event() { "event" } else { "fn" }, &text, source]);
        Types { text, hash }
    }
}

/// FNV-1a: it is to tell mistakes, not to stand against malice, from which an end that can lie about its types has nothing to gain.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Part of what the other end says, as it can be part of an error.
fn repeated(theirs: &str) -> String {
    theirs.chars().take(MAX_REPEATED).flat_map(char::escape_debug).collect()
}

/// A method that the other end has, but not as we do.
struct Difference {
    method: &'static Method,
    types: &'static Types,
    /// Its signature there.
    theirs: String,
}

impl Difference {
    /// Says what differs, given the shapes at the other end, which may be anything as well.
    fn explain(self, theirs: &str) -> InterfaceError {
        let Method { name, signature, .. } = *self.method;
        let place = if self.theirs.starts_with("event(") == self.method.is_event() { self.place(theirs) } else { None };
        place.unwrap_or_else(|| {
            let mut theirs = self.theirs;
            if theirs == signature {
                theirs.push_str(", with other types of the same names");
            }
            InterfaceError::Differs { method: name, ours: signature, theirs }
        })
    }

    /// The first place whose type differs, if that can be said in a few words.
    fn place(&self, theirs: &str) -> Option<InterfaceError> {
        let mut path = Vec::new();
        let mut theirs = theirs.lines();
        for ours in self.types.text.lines() {
            let theirs = theirs.next()?;
            let (depth, label, what) = parts(ours)?;
            path.truncate(depth);
            path.push(label);
            if ours == theirs {
                continue;
            }
            let (its_depth, its_label, its_what) = parts(theirs)?;
            if (depth, label) != (its_depth, its_label) {
                return None;
            }
            return Some(InterfaceError::TypeDiffers {
                method: self.method.name,
                place: self.name_of(&path),
                ours: what.to_owned(),
                theirs: repeated(its_what),
            });
        }
        None
    }

    fn name_of(&self, path: &[&str]) -> String {
        let argument = |number: &&str| number.parse().ok().and_then(|number: usize| self.method.arguments.get(number));
        let first = path.first().and_then(argument).map_or("result", |argument| argument.name);
        path.iter().skip(1).fold(first.to_owned(), |path, label| path + label)
    }
}

/// Of a line: how deep it is, what it is about, and what it says.
fn parts(line: &str) -> Option<(usize, &str, &str)> {
    let rest = line.trim_start_matches(' ');
    let (label, what) = rest.split_once(' ')?;
    Some((line.len().checked_sub(rest.len())?, label, what))
}

/// Asks the other end whether it serves what a client of `ours` will call.
#[doc(hidden)]
pub fn check(co: &Coprocess, ours: &'static Description) -> Result<()> {
    let Some(difference) = ours.judge(co.call(&ours.question(), ()))? else { return Ok(()) };
    // Whatever becomes of this question, it is known that they differ.
    let types: Result<String> = co.call(&ours.question_of_types(), difference.method.name);
    Err(ours.misfit(difference.explain(&types.unwrap_or_default())))
}

/// As [`check`], for a task.
#[doc(hidden)]
pub fn check_async(co: &Coprocess, ours: &'static Description) -> impl Future<Output = Result<()>> + Send + use<> {
    let co = co.clone();
    async move {
        let Some(difference) = ours.judge(co.call_async(&ours.question(), ()).await)? else { return Ok(()) };
        let types: Result<String> = co.call_async(&ours.question_of_types(), difference.method.name).await;
        Err(ours.misfit(difference.explain(&types.unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests;
