//! Targets: what must hold, what should hold, and whether it does.

use std::fmt;

use serde::Serialize;

use crate::measure::table::Table;
use crate::{Result, units};

/// A figure and what is asked of it.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Names the target.
    pub what: String,
    /// Holds the figure.
    pub measured: f64,
    /// Names what the figure counts; `x` for a ratio.
    pub unit: &'static str,
    /// Says what must hold.
    pub must: Option<Bound>,
    /// Says what should hold.
    pub aim: Option<Bound>,
    /// Says what the figure was made of.
    pub detail: String,
}

/// One side of a range, the bound included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Allows no more than this.
    AtMost(f64),
    /// Allows no less than this.
    AtLeast(f64),
}

/// Whether a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The figure has no target.
    Shown,
    /// What should hold does hold.
    AimMet,
    /// Only what must hold does hold.
    Met,
    /// What must hold does not hold.
    Missed,
}

impl Bound {
    /// Returns `true` if `figure` is on the right side. What is not a number is not.
    pub fn holds(self, figure: f64) -> bool {
        match self {
            Bound::AtMost(bound) => figure <= bound,
            Bound::AtLeast(bound) => figure >= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtMost(bound) => write!(formatter, "≤ {bound}"),
            Bound::AtLeast(bound) => write!(formatter, "≥ {bound}"),
        }
    }
}

impl Verdict {
    /// Makes a figure without a target.
    pub fn new(what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        Verdict { what: what.into(), measured, unit, must: None, aim: None, detail: String::new() }
    }

    /// Says how many times as long as the row `b` the row `a` takes.
    ///
    /// The detail has both times and the range over the rounds. A ratio also depends on how far
    /// apart the CPUs are, which a virtual machine does not say and may change at any second.
    ///
    /// # Errors
    ///
    /// There is no row of such a name.
    pub fn of_times(what: impl Into<String>, table: &Table, a: &str, b: &str) -> Result<Self> {
        let (least, most) = table.time_ratio_range(a, b)?;
        let [mine, its] = [table.expect(a)?, table.expect(b)?].map(|row| units::time(row.mean()));
        let detail = format!(
            "{a} {mine}, {b} {its}; {} to {} in single rounds",
            units::plain(least),
            units::plain(most)
        );
        Ok(Verdict::new(what, table.time_ratio(a, b)?, "x").detail(detail))
    }

    /// Sets what must hold.
    #[must_use]
    pub fn must(mut self, bound: Bound) -> Self {
        self.must = Some(bound);
        self
    }

    /// Sets what should hold.
    #[must_use]
    pub fn aim(mut self, bound: Bound) -> Self {
        self.aim = Some(bound);
        self
    }

    /// Sets what the figure was made of.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Returns whether the target is met.
    pub fn standing(&self) -> Standing {
        let holds = |bound: Option<Bound>| bound.is_none_or(|bound| bound.holds(self.measured));
        match (self.must, self.aim) {
            (None, None) => Standing::Shown,
            _ if !holds(self.must) => Standing::Missed,
            (_, Some(aim)) if aim.holds(self.measured) => Standing::AimMet,
            (None, Some(_)) => Standing::Missed,
            (Some(_), _) => Standing::Met,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Standing::Shown => "–",
            Standing::AimMet => "aim met",
            Standing::Met => "met",
            Standing::Missed => "MISSED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Standing, Verdict};

    #[test]
    fn what_must_hold_counts_before_what_should() {
        let standing = |measured| {
            Verdict::new("", measured, "x")
                .must(Bound::AtMost(2.0))
                .aim(Bound::AtMost(1.5))
                .standing()
        };
        assert_eq!([1.5, 1.6, 2.0, 2.1, f64::NAN].map(standing), {
            use Standing::{AimMet, Met, Missed};
            [AimMet, Met, Met, Missed, Missed]
        });
        assert_eq!(
            Verdict::new("", 0.0, "x").must(Bound::AtLeast(1.0)).standing(),
            Standing::Missed
        );
        assert_eq!(Verdict::new("", 0.0, "x").standing(), Standing::Shown);
    }
}
