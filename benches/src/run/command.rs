//! The command line of the report.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::measure::Plan;

/// Measures coprocess beside what it is compared with. Tables and verdicts go to standard output,
/// progress to standard error.
#[derive(Debug, Parser)]
pub(super) struct Command {
    /// Measure only the parts whose names contain one of these (see --list). Rows cannot be
    /// selected: ratios need all of them
    #[arg(value_name = "PART")]
    parts: Vec<String>,

    /// Take a few seconds a part, to see that everything works: the figures are rough
    #[arg(long)]
    quick: bool,

    /// How often every row gets its turn
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,

    /// Where the raw figures and the charts go; relative to the project
    #[arg(long, value_name = "DIR", default_value = "target/coprocess-bench")]
    out: PathBuf,

    /// Replace this file with what was measured, and write charts to charts/ beside it; relative to
    /// the project
    #[arg(long, value_name = "FILE", conflicts_with = "parts")]
    write: Option<PathBuf>,

    /// Name the parts and measure nothing
    #[arg(long)]
    pub(super) list: bool,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Command {
    /// Returns `true` if the part of that name is to be measured.
    pub(super) fn selects(&self, name: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|part| name.contains(part))
    }

    /// Returns the directory of the raw figures and the charts.
    pub(super) fn out(&self) -> PathBuf {
        in_project(&self.out)
    }

    /// Returns the document to be written, and the directory of its charts.
    pub(super) fn document(&self) -> Option<(PathBuf, PathBuf)> {
        let file = in_project(self.write.as_ref()?);
        let charts = file.with_file_name("charts");
        Some((file, charts))
    }

    /// Returns how much to measure.
    pub(super) fn plan(&self) -> Plan {
        // Figures of an unoptimised build mean nothing: show only that it works.
        let plan = if self.quick || cfg!(debug_assertions) { Plan::QUICK } else { Plan::FULL };
        Plan { rounds: self.rounds.map_or(plan.rounds, usize::from), ..plan }
    }
}

/// Resolves a path in the project. Cargo runs a bench in the directory of its package, where users
/// do not expect files.
fn in_project(path: &Path) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}
