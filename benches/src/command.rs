//! The command line that all benches share.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::measure::Plan;

/// Measures coprocess beside what it is compared with. Tables and verdicts go to standard output, progress to standard error.
#[derive(Debug, Parser)]
pub(crate) struct Command {
    /// A few seconds a regime, to see that everything works: the figures are rough
    #[arg(long)]
    quick: bool,

    /// How often every row gets its turn
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,

    /// Measure only regimes whose name contains this. Rows cannot be selected: ratios need all of them
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Where the raw figures and the charts go; relative to the project
    #[arg(long, value_name = "DIR", default_value = "target/coprocess-bench")]
    out: PathBuf,

    /// Replace the text between `<!-- figures: begin -->` and `<!-- figures: end -->` in this file with what was measured, and write
    /// charts to charts/ beside it; relative to the project
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// Name the regimes and measure nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Command {
    pub(crate) fn read() -> Command {
        Command::parse()
    }

    pub(crate) fn selects(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|text| name.contains(text))
    }

    /// Where the raw figures and the charts go.
    pub(crate) fn out(&self) -> PathBuf {
        in_project(&self.out)
    }

    /// The document to be filled in, and where its charts go.
    pub(crate) fn document(&self) -> Option<(PathBuf, PathBuf)> {
        let file = in_project(self.write.as_ref()?);
        let charts = file.with_file_name("charts");
        Some((file, charts))
    }

    pub(crate) fn plan(&self) -> Plan {
        // Figures of an unoptimised build mean nothing: show only that it works.
        let plan = if self.quick || cfg!(debug_assertions) { Plan::QUICK } else { Plan::FULL };
        Plan { rounds: self.rounds.map_or(plan.rounds, usize::from), ..plan }
    }
}

/// Cargo runs a bench in the directory of its package, which is no place that anybody thinks of.
fn in_project(path: &Path) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}
