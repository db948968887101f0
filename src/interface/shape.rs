//! The shape of a type, as text: what of it both ends must agree on.
//!
//! postcard sends neither names nor types, so two structs of one name with their fields in another order read each other without complaint. A shape has the names,
//! in their order, and the types of what is in it, down to what has no parts. It is found by [`trace`](super::trace).

use std::collections::HashMap;
use std::fmt::Write;

/// What of a type both ends compare.
#[doc(hidden)]
#[derive(Debug)]
pub struct Shape {
    pub(super) nodes: Vec<Node>,
}

/// Has one part: the type.
pub(super) const ROOT: usize = 0;

/// A place in a type, and what is read there.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) what: String,
    pub(super) kind: Kind,
    pub(super) labels: Labels,
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// One value of a list, which is what its type accepts: the first that was not refused.
    Given { refused: usize, left: usize },
    /// Each value has all parts.
    All,
    /// A value has all parts, or none.
    Optional,
    /// A value has one of the parts.
    OneOf,
}

/// What parts are called in a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Labels {
    Numbers,
    Fields(&'static [&'static str]),
    Variants(&'static [&'static str]),
    Fixed(&'static [&'static str]),
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    pub(super) node: Option<usize>,
    /// For what a value can do without; of an optional node the first part speaks for all.
    pub(super) tried: Tried,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Tried {
    #[default]
    No,
    /// The value that is being made has it.
    Now,
    Works,
    Fails,
}

impl Node {
    pub(super) fn new(what: String, kind: Kind, labels: Labels, parts: usize) -> Node {
        Node { what, kind, labels, parts: vec![Part::default(); parts] }
    }

    fn label(&self, part: usize) -> String {
        let name = |names: &[&str]| names.get(part).map_or_else(String::new, |name| escaped(name));
        match self.labels {
            // With other names for some of them there are more names than fields, and nobody knows which.
            Labels::Fields(names) if names.len() == self.parts.len() => format!(".{}", name(names)),
            Labels::Numbers | Labels::Fields(_) => format!(".{part}"),
            Labels::Variants(names) => format!("::{}", name(names)),
            Labels::Fixed(names) => name(names),
        }
    }
}

impl Shape {
    /// Writes the shape, a place a line, the parts of each below it and further to the right. Returns whether all of it was seen.
    pub(super) fn write(&self, label: &str, out: &mut String) -> bool {
        let mut written = HashMap::new();
        self.write_part(ROOT, 0, label, 0, label, &mut written, out)
    }

    #[expect(clippy::too_many_arguments, reason = "where it is, what is above, and where it goes")]
    fn write_part(
        &self,
        node: usize,
        part: usize,
        label: &str,
        depth: usize,
        path: &str,
        written: &mut HashMap<usize, String>,
        out: &mut String,
    ) -> bool {
        // A string has room for everything.
        let _ = write!(out, "{:depth$}{label} ", "");
        let Some(at) = self.nodes[node].parts[part].node else {
            out.push_str("?\n");
            return false;
        };
        let node = &self.nodes[at];
        if self.is_bytes(node) {
            out.push_str("bytes\n");
            return true;
        }
        out.push_str(&node.what);
        if let Some(path) = written.get(&at) {
            let _ = writeln!(out, ", as {path}");
            return true;
        }
        out.push('\n');
        if !node.parts.is_empty() {
            written.insert(at, path.to_owned());
        }
        let mut complete = true;
        for part in 0..node.parts.len() {
            let label = node.label(part);
            complete &= self.write_part(at, part, &label, depth + 1, &format!("{path}{label}"), written, out);
        }
        complete
    }

    /// Bytes one by one are the same on the wire.
    fn is_bytes(&self, node: &Node) -> bool {
        let element = node.parts.first().and_then(|part| part.node);
        node.what == SEQUENCE && element.is_some_and(|element| self.nodes[element].what == "u8")
    }
}

pub(super) const SEQUENCE: &str = "sequence";

/// A name, which serde lets be any text, as one word of a line.
pub(super) fn escaped(name: &str) -> String {
    name.escape_default().to_string().replace(' ', "\\u{20}")
}
