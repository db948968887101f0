//! A set of subjects with its targets, and what it found out.

use crate::Result;
use crate::machine::Host;
use crate::measure::plan::Plan;
use crate::measure::table::Table;
use crate::measure::verdict::Verdict;

/// A set of subjects that take turns, and the targets that follow from them.
#[derive(Debug, Clone, Copy)]
pub struct Regime {
    /// Names the regime in one word, which also names its files.
    pub name: &'static str,
    /// Says in one line what the regime measures.
    pub about: &'static str,
    /// Measures: starts the peers, pins them, and ends them.
    pub run: fn(&Plan, &Host) -> Result<Outcome>,
}

/// What a regime found out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Holds what was measured.
    pub tables: Vec<Table>,
    /// Holds what follows from the tables.
    pub verdicts: Vec<Verdict>,
}

impl Outcome {
    /// Shows the figures without judging them where there are not two CPUs, for which the targets
    /// are.
    #[must_use]
    pub fn for_two_cpus(mut self, host: &Host) -> Self {
        if !host.two_cpus() {
            for verdict in &mut self.verdicts {
                (verdict.must, verdict.aim) = (None, None);
                verdict.detail =
                    format!("not judged, the targets are for two CPUs; {}", verdict.detail);
            }
        }
        self
    }
}
