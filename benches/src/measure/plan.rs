//! How much is measured, and the line that shows how far the bench is.

use std::io::{self, IsTerminal};
use std::time::Duration;

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Counts the turns of every subject.
    pub rounds: usize,
    /// Bounds one turn of a subject. A slice is short, because a virtual machine may be moved to
    /// other cores at any second: a ratio is only good between neighbours in time.
    pub slice: Duration,
    /// Bounds a regime: a bench that hangs must not hang the program that started it.
    pub limit: Duration,
    /// Is `true` if the figures are rough: such a run only shows that everything works.
    pub quick: bool,
}

impl Plan {
    /// Measures figures to be shown.
    pub const FULL: Plan = Plan {
        rounds: 15,
        slice: Duration::from_millis(40),
        limit: Duration::from_secs(300),
        quick: false,
    };
    /// Takes a few seconds a regime.
    pub const QUICK: Plan = Plan {
        rounds: 3,
        slice: Duration::from_millis(10),
        limit: Duration::from_secs(60),
        quick: true,
    };

    /// Describes the plan and the build, for the head of a report: names and values.
    pub fn describe(&self) -> [(&'static str, String); 2] {
        let build = if cfg!(debug_assertions) {
            "UNOPTIMISED, the figures mean nothing"
        } else {
            "optimised"
        };
        let rough = if self.quick { "; QUICK, the figures are rough" } else { "" };
        let rounds =
            format!("{} of {:?} for each row, taking turns{rough}", self.rounds, self.slice);
        [("build", build.to_owned()), ("rounds", rounds)]
    }
}

/// Shows on standard error what the bench does. On a terminal the text replaces the text before it,
/// and an empty text wipes the line.
pub fn progress(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r{text:<80}\r");
    } else if !text.is_empty() {
        eprintln!("{text}");
    }
}
