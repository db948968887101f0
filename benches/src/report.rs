//! Tables and verdicts, for a terminal.

use crate::figure;
use crate::grid::{Align, Grid};
use crate::table::{Row, Table};
use crate::target::{Bound, Verdict};
use crate::{Outcome, Regime};

/// How the columns are to be read, once a report.
pub const LEGEND: &str = "\
mean: of an operation, the median of the rounds' means, taken without a timer inside; least, most: of the rounds' means.
p50, p99, p99.9: of single operations, which are timed in separate runs. / ROW: this row's time divided by that row's, the
median of the rounds' ratios. sleeps/M, wake-ups/M: how often both ends together slept in the kernel and woke each other
there, per million operations.
";

/// More than this many CPUs busy with something else, and the figures are not to be trusted.
const QUIET: f64 = 0.2;

/// From here on what counts is how many bytes a second go through.
pub(crate) const BULK: usize = 64 << 10;

/// The machine and the plan, a line each.
pub fn header(description: &[(&'static str, String)]) -> String {
    description.iter().map(|(name, value)| format!("{name:<8} {value}\n")).collect()
}

/// A regime: its tables, then its verdicts.
pub fn regime(regime: &Regime, outcome: &Outcome) -> String {
    let mut text = format!("\n== {}: {}\n", regime.name, regime.about);
    for table in &outcome.tables {
        text += &format!("\n{}{}\n", rows(table).text(), remarks(table).join("\n"));
    }
    if !outcome.verdicts.is_empty() {
        text += &format!("\n{}", verdicts(&outcome.verdicts).text());
    }
    text
}

/// A line for each row of a table.
pub(crate) fn rows(table: &Table) -> Grid {
    let baselines: Vec<&Row> = table.baselines.iter().filter_map(|name| table.row(name)).collect();
    let mut columns = vec![(table.title.clone(), Align::Left)];
    columns.extend(["mean", "least", "most", "p50", "p99", "p99.9", "GB/s"].map(|head| (head.to_owned(), Align::Right)));
    columns.extend(baselines.iter().map(|baseline| (format!("/ {}", baseline.name), Align::Right)));
    columns.extend(["sleeps/M", "wake-ups/M"].map(|head| (head.to_owned(), Align::Right)));
    columns.push(("note".to_owned(), Align::Left));

    let mut grid = Grid::new(columns);
    for row in &table.rows {
        let each = row.percentiles();
        let (least, most) = row.range();
        let mut line = vec![row.name.clone(), figure::time(row.mean()), figure::time(least), figure::time(most)];
        line.extend(
            [each.p50, each.p99, each.p99_9].map(|nanos| if each.operations == 0 { String::new() } else { figure::time(nanos as f64) }),
        );
        line.push(match row.payload.as_ref().filter(|payload| payload.bytes >= BULK) {
            Some(payload) => figure::plain(payload.bytes as f64 / row.mean()),
            None => String::new(),
        });
        line.extend(baselines.iter().map(|baseline| figure::plain(row.over(baseline))));
        let (sleeps, wakeups) = row.waits_per_million().unzip();
        line.extend([sleeps, wakeups].map(|count| count.map_or(String::new(), |count| format!("{count:.1}"))));
        line.push(row.note.clone());
        grid.push(line);
    }
    grid.without_empty_columns()
}

/// What has to be said about the circumstances of a table.
pub(crate) fn remarks(table: &Table) -> Vec<String> {
    let verdict = if table.others > QUIET { ": MEASURE AGAIN." } else { "." };
    let mut remarks = vec![format!("Other programs kept {:.2} CPUs busy meanwhile{verdict}", table.others)];
    if let Some(first) = table.baselines.first().and_then(|name| table.row(name)) {
        let (least, most) = first.range();
        if most > 2.0 * least {
            remarks.push(format!(
                "`{}` itself moved from {} to {}: the CPUs were moved or busy, and ratios to it move, too: MEASURE AGAIN.",
                first.name,
                figure::time(least),
                figure::time(most),
            ));
        }
    }
    remarks
}

/// A line for each verdict.
pub(crate) fn verdicts<'v>(verdicts: impl IntoIterator<Item = &'v Verdict>) -> Grid {
    let columns = [
        ("target", Align::Left),
        ("measured", Align::Right),
        ("must", Align::Right),
        ("aim", Align::Right),
        ("", Align::Left),
        ("detail", Align::Left),
    ];
    let mut grid = Grid::new(columns.map(|(head, align)| (head.to_owned(), align)).into());
    for verdict in verdicts {
        let unit = if verdict.unit == "x" { "x".to_owned() } else { format!(" {}", verdict.unit) };
        let bound = |bound: Option<Bound>| bound.map_or("–".to_owned(), |bound| bound.to_string());
        grid.push(vec![
            verdict.what.clone(),
            format!("{}{}", figure::plain(verdict.measured), unit.trim_end()),
            bound(verdict.must),
            bound(verdict.aim),
            verdict.standing().to_string(),
            verdict.detail.clone(),
        ]);
    }
    grid.without_empty_columns()
}
