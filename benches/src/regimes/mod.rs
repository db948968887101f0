//! Sets of subjects that take turns, one a file.

pub mod backends;
pub mod bulk;
pub mod latency;
pub mod life;
pub mod scaling;
pub mod stream;
pub mod waiting;

use crate::measure::Regime;

/// Lists all of them, in the order of the report.
pub const ALL: [Regime; 7] = [
    latency::REGIME,
    stream::REGIME,
    bulk::REGIME,
    waiting::REGIME,
    scaling::REGIME,
    life::REGIME,
    backends::REGIME,
];
