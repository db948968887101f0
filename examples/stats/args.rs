//! The command line.

use clap::Parser;
use clap::value_parser;

/// What the table shows, for `--help`.
const NOTES: &str = "\
On a terminal the table refreshes in place; a summary is printed at the end in any case.
Values cover all rounds. The rate of a round covers the last quarter of a second.";

/// Watch this machine: a worker process samples /proc, its parent aggregates and draws.
#[derive(Debug, Parser)]
#[command(name = "stats", version, after_help = NOTES)]
pub(crate) struct Args {
    /// How long to sample
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,

    /// Rounds per second; doubled in the middle third of the run, to show that calls take effect
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(crate) rate: u32,

    /// How many of the busiest processes to show
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(crate) top: u32,
}
