//! Measures subjects in turns, adds up the rounds, and judges the figures.

mod alternate;
mod plan;
mod regime;
mod subject;
mod table;
mod turns;
mod verdict;

pub use plan::{Plan, progress};
pub use regime::{Outcome, Regime};
pub use subject::{Payload, Sample, Subject, Timing, Waits};
pub use table::{Percentiles, Round, Row, Table, median};
pub use turns::take_turns;
pub use verdict::{Bound, Standing, Verdict};

pub(crate) use alternate::alternate;
