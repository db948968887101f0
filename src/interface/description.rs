//! What an end serves, as text: how two ends find out whether they mean the same by a name.
//!
//! An end that serves an interface serves two methods besides, which no method of an interface is called. `Calculator::interface` answers with the whole interface,
//! a method a line: `add fn(i64, i64) -> i64 #0f6cd2d4 #0f6cd2d4 #0f6cd2d4`, or `tick event(u64) #1f0c6b2a`. The numbers at the end are hashes of the shapes of its
//! types, in their order, and `#?` is a shape that nobody knows. The client looks up its own methods in it.
//!
//! Shapes can be long, and a hash does not say what differs. So where one does, the client asks `Calculator::types` for that shape.

use std::fmt::Write;

use super::InterfaceError;
use crate::coprocess::Coprocess;
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
    /// Its arguments and its result, if it is not an event.
    pub types: &'static [Typed],
}

/// An argument of a method, or its result.
#[doc(hidden)]
#[derive(Debug)]
pub struct Typed {
    pub name: &'static str,
    pub shape: fn() -> Option<String>,
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
        for Method { name, signature, types } in self.methods {
            // A string has room for everything.
            let _ = write!(text, "{name} {signature}");
            for typed in *types {
                let _ = match (typed.shape)() {
                    Some(shape) => write!(text, " #{:08x}", hash(&shape)),
                    None => write!(text, " #?"),
                };
            }
            text.push('\n');
        }
        text
    }

    /// Nothing, of what there is not.
    pub(super) fn answer_of_types(&self, method: &str, place: usize) -> String {
        let known = self.methods.iter().find(|known| known.name == method);
        known.and_then(|method| method.types.get(place)).and_then(|typed| (typed.shape)()).unwrap_or_default()
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
        for (method, theirs) in self.methods.iter().zip(found) {
            let Method { name, signature, types } = *method;
            let Some(theirs) = theirs else { return Err(InterfaceError::Missing { method: name, ours: signature }) };
            let (theirs, hashes) = theirs.split_once(" #").unwrap_or((theirs, ""));
            if theirs != signature {
                return Err(InterfaceError::Differs { method: name, ours: signature, theirs: repeated(theirs) });
            }
            let mut hashes = hashes.split(" #");
            for (place, typed) in types.iter().enumerate() {
                let theirs = hashes.next().unwrap_or_default();
                if let Some(ours) = (typed.shape)()
                    && theirs != "?"
                    && theirs != format!("{:08x}", hash(&ours))
                {
                    return Ok(Some(Difference { method, place, typed, ours }));
                }
            }
        }
        Ok(None)
    }
}

/// FNV-1a: it is to tell mistakes, not to stand against malice, from which an end that can lie about its types has nothing to gain.
fn hash(shape: &str) -> u32 {
    shape.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Part of what an end says, as it can be part of an error.
fn repeated(text: &str) -> String {
    text.chars().take(MAX_REPEATED).flat_map(char::escape_debug).collect()
}

/// A type of a method that the other end has, but not as we do.
struct Difference {
    method: &'static Method,
    place: usize,
    typed: &'static Typed,
    ours: String,
}

impl Difference {
    /// What the other end is asked: nothing but what it said itself.
    fn question(&self) -> (&'static str, usize) {
        (self.method.name, self.place)
    }

    /// Says what differs, given the shape at the other end, which may be anything as well.
    fn explain(self, theirs: &str) -> InterfaceError {
        let Method { name, signature, .. } = *self.method;
        if theirs.is_empty() || theirs == self.ours {
            let theirs = format!("{signature}, with other types of the same names");
            return InterfaceError::Differs { method: name, ours: signature, theirs };
        }
        let (ours, theirs) = where_they_differ(&self.ours, theirs);
        InterfaceError::TypeDiffers { method: name, place: self.typed.name.to_owned(), ours, theirs }
    }
}

/// Parts of two texts that an error can repeat, and that differ.
fn where_they_differ(ours: &str, theirs: &str) -> (String, String) {
    let same = ours.chars().zip(theirs.chars()).take_while(|(ours, theirs)| ours == theirs).count();
    // With what comes before, which says where that is.
    let skipped = if same < MAX_REPEATED / 2 { 0 } else { same.saturating_sub(MAX_REPEATED / 4) };
    let part = |text: &str| {
        let part = repeated(&text.chars().skip(skipped).collect::<String>());
        if skipped == 0 { part } else { format!("..{part}") }
    };
    (part(ours), part(theirs))
}

/// Asks the other end whether it serves what a client of `ours` will call.
#[doc(hidden)]
pub fn check(co: &Coprocess, ours: &'static Description) -> Result<()> {
    let Some(difference) = ours.judge(co.call(&ours.question(), ()))? else { return Ok(()) };
    // Whatever becomes of this question, it is known that they differ.
    let theirs: Result<String> = co.call(&ours.question_of_types(), difference.question());
    Err(ours.misfit(difference.explain(&theirs.unwrap_or_default())))
}

/// As [`check`], for a task.
#[doc(hidden)]
pub fn check_async(co: &Coprocess, ours: &'static Description) -> impl Future<Output = Result<()>> + Send + use<> {
    let co = co.clone();
    async move {
        let Some(difference) = ours.judge(co.call_async(&ours.question(), ()).await)? else { return Ok(()) };
        let theirs: Result<String> = co.call_async(&ours.question_of_types(), difference.question()).await;
        Err(ours.misfit(difference.explain(&theirs.unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests;
