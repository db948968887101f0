//! What a run found out: tables and verdicts as Markdown, charts, and raw figures as JSON.

pub(crate) mod chart;
pub(crate) mod json;
mod markdown;

use crate::measure::{Bound, Outcome, Regime, Row, Table, Verdict};
use crate::report::markdown::Align;
use crate::units;

/// Says how to read the columns, once a report.
pub(crate) const LEGEND: &str = "\
mean: of an operation, the median of the rounds' means, taken without a timer inside; least, most:
of the rounds' means. p50, p99, p99.9: of single operations, which are timed in separate runs.
/ ROW: this row's time divided by that row's, the median of the rounds' ratios. sleeps/M,
wake-ups/M: how often both ends together slept in the kernel and woke each other there, per million
operations.
";

/// Bounds the CPUs that are busy with something else: above, the figures are not to be trusted.
const QUIET: f64 = 0.2;

/// Bounds small payloads, in bytes. For larger payloads the bytes per second are shown.
const BULK: usize = 64 << 10;

/// Describes the machine, the build and the plan, a line each.
pub(crate) fn header(description: &[(&'static str, String)]) -> String {
    let lines: String =
        description.iter().map(|(name, value)| format!("{name:<8} {value}\n")).collect();
    format!("```text\n{lines}```\n")
}

/// Formats the heading and the tables of a regime.
pub(crate) fn tables(regime: &Regime, outcome: &Outcome) -> String {
    let mut text = format!("\n### {}: {}\n", regime.name, regime.about);
    for table in &outcome.tables {
        text += &format!("\n{}\n{}\n", rows(table), remarks(table).join("\n"));
    }
    text
}

/// Formats the figures of a whole run: the targets, then what each regime measured with its charts,
/// which are given as links.
pub(crate) fn document(
    description: &[(&'static str, String)],
    outcomes: &[(&Regime, Outcome)],
    charts: &[Vec<String>],
) -> String {
    let mut text = format!(
        "# Figures\n\nWritten whole by `cargo bench --manifest-path benches/peers/Cargo.toml \
         -- --write docs/figures.md`.\n\
         [Performance](performance.md) says how these figures are measured. \
         Figures of another machine,\n\
         or of another run, are to be compared as ratios only.\n\n{}\n### Targets\n{}",
        header(description),
        verdicts(outcomes.iter().flat_map(|(_, outcome)| &outcome.verdicts)),
    );
    for ((regime, outcome), charts) in outcomes.iter().zip(charts) {
        text += &tables(regime, outcome);
        for chart in charts {
            text += &format!("\n![{}: {}]({chart})\n", regime.name, regime.about);
        }
    }
    text + "\n" + LEGEND
}

/// Formats a line for each verdict, or nothing if there is none.
pub(crate) fn verdicts<'v>(verdicts: impl IntoIterator<Item = &'v Verdict>) -> String {
    let bound = |bound: Option<Bound>| bound.map_or("–".to_owned(), |bound| bound.to_string());
    let line = |verdict: &Verdict| {
        let unit = if verdict.unit == "x" { "x".to_owned() } else { format!(" {}", verdict.unit) };
        vec![
            verdict.what.clone(),
            format!("{}{}", units::plain(verdict.measured), unit.trim_end()),
            bound(verdict.must),
            bound(verdict.aim),
            verdict.standing().to_string(),
            verdict.detail.clone(),
        ]
    };
    let lines: Vec<_> = verdicts.into_iter().map(line).collect();
    let columns = [
        ("target", Align::Left),
        ("measured", Align::Right),
        ("must", Align::Right),
        ("aim", Align::Right),
        ("", Align::Left),
        ("detail", Align::Left),
    ];
    let columns = columns.map(|(head, align)| (head.to_owned(), align));
    if lines.is_empty() {
        String::new()
    } else {
        format!("\n{}", markdown::table(&columns, &lines))
    }
}

/// Formats a line for each row of a table.
fn rows(table: &Table) -> String {
    let baselines: Vec<&Row> = table.baselines.iter().filter_map(|name| table.row(name)).collect();
    let mut columns = vec![(table.title.clone(), Align::Left)];
    columns.extend(
        ["mean", "least", "most", "p50", "p99", "p99.9", "GB/s"]
            .map(|head| (head.to_owned(), Align::Right)),
    );
    columns.extend(baselines.iter().map(|baseline| (format!("/ {}", baseline.name), Align::Right)));
    columns.extend(["sleeps/M", "wake-ups/M"].map(|head| (head.to_owned(), Align::Right)));
    columns.push(("note".to_owned(), Align::Left));
    let lines: Vec<_> = table.rows.iter().map(|row| line(row, &baselines)).collect();
    markdown::table(&columns, &lines)
}

fn line(row: &Row, baselines: &[&Row]) -> Vec<String> {
    let each = row.percentiles();
    let (least, most) = row.range();
    let single =
        |nanos| if each.operations == 0 { String::new() } else { units::time(nanos as f64) };
    let mut line =
        vec![row.name.clone(), units::time(row.mean()), units::time(least), units::time(most)];
    line.extend([each.p50, each.p99, each.p99_9].map(single));
    let bulk = row.payload.as_ref().filter(|payload| payload.bytes >= BULK);
    line.push(
        bulk.map_or(String::new(), |payload| units::plain(payload.bytes as f64 / row.mean())),
    );
    line.extend(baselines.iter().map(|baseline| units::plain(row.over(baseline))));
    let (sleeps, wakeups) = row.waits_per_million().unzip();
    line.extend(
        [sleeps, wakeups].map(|count| count.map_or(String::new(), |count| format!("{count:.1}"))),
    );
    line.push(row.note.clone());
    line
}

/// Says what a reader must know of the circumstances of a table.
fn remarks(table: &Table) -> Vec<String> {
    let verdict = if table.others > QUIET { ": MEASURE AGAIN." } else { "." };
    let mut remarks =
        vec![format!("Other programs kept {:.2} CPUs busy meanwhile{verdict}", table.others)];
    if let Some(first) = table.baselines.first().and_then(|name| table.row(name)) {
        let (least, most) = first.range();
        if most > 2.0 * least {
            remarks.push(format!(
                "`{}` itself moved from {} to {}: the CPUs were moved or busy, \
                 and ratios to it move, too: MEASURE AGAIN.",
                first.name,
                units::time(least),
                units::time(most),
            ));
        }
    }
    remarks
}
