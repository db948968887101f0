//! Formats numbers as people read them: three digits and a unit.

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Percent,
    Bytes,
    /// A plain number, such as a load average.
    Plain,
    /// A number of whole things.
    Count,
}

impl Unit {
    pub(crate) fn format(self, value: f64) -> String {
        match self {
            Unit::Percent => format!("{value:.1} %"),
            Unit::Bytes => bytes(value),
            Unit::Plain => format!("{value:.2}"),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

/// Formats bytes in powers of 1024: `1.23 MiB`.
pub(crate) fn bytes(mut value: f64) -> String {
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    if value < 999.5 {
        return format!("{value:.0} {unit}");
    }
    for larger in units {
        value /= 1024.0;
        unit = larger;
        if value < 999.5 {
            break;
        }
    }
    format!("{} {unit}", three_digits(value))
}

/// Formats a time in microseconds, always, so that a column of times compares at a glance.
pub(crate) fn microseconds(nanoseconds: u64) -> String {
    format!("{} µs", three_digits(nanoseconds as f64 / 1000.0))
}

/// Formats as `1.23`, `12.3`, `123`, and larger numbers in full.
fn three_digits(value: f64) -> String {
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}
