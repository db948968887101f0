//! Output: the frames of the live table, and the summary at the end.

use std::time::Duration;

use crate::aggregate::{Aggregate, Line, Metric};
use crate::calls::{Sampler, Times};
use crate::protocol::{Totals, Usage};
use crate::table::{self, Table, cut};
use crate::terminal::Size;
use crate::units::{Unit, bytes, microseconds};

/// A column of the metrics' table.
#[derive(Debug, Clone, Copy)]
struct Column {
    title: &'static str,
    value: fn(&Metric) -> f64,
    /// On a narrow terminal, the columns with the highest rank are left out first.
    rank: usize,
}

/// The columns of the live table. The summary leaves out the first one.
const COLUMNS: [Column; 6] = [
    Column { title: "now", value: |metric| metric.last, rank: 0 },
    Column { title: "min", value: |metric| metric.min, rank: 5 },
    Column { title: "mean", value: Metric::mean, rank: 1 },
    Column { title: "p50", value: |metric| metric.quantile(0.5), rank: 4 },
    Column { title: "p99", value: |metric| metric.quantile(0.99), rank: 3 },
    Column { title: "max", value: |metric| metric.max, rank: 2 },
];

/// The progress of the run.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) elapsed: Duration,
    pub(crate) seconds: u32,
    /// Rounds per second.
    pub(crate) rate: u32,
    pub(crate) worker: u32,
}

/// Makes a frame: lines that fit the terminal, however small it is.
pub(crate) fn frame(
    size: Size,
    progress: &Progress,
    aggregate: &Aggregate,
    top: &[Usage],
    sampler: &Sampler,
) -> Vec<String> {
    let heading = format!(
        "stats: {:.1} of {} s, {} rounds/s, {} batches from worker {}",
        progress.elapsed.as_secs_f64(),
        progress.seconds,
        progress.rate,
        aggregate.batches,
        progress.worker,
    );
    let calls = format!("calls: {}", in_short(&sampler.top_times));

    // The processes get a third of the lines, or more if the metrics need fewer.
    let room = usize::from(size.rows).saturating_sub(2);
    let names = aggregate.lines().into_iter().map(|line| match line {
        Line::Metric(name, _) => name.chars().count(),
        Line::Note(..) => 0,
    });
    let fitting = table::columns_that_fit(size.columns.into(), names.max().unwrap_or(0));
    let columns: Vec<Column> = COLUMNS.into_iter().filter(|column| column.rank < fitting).collect();
    let metrics = metrics(&columns, aggregate).lines(size.columns.into());
    let processes = processes_now(top).lines(size.columns.into());
    let share = processes.len().min(room / 3).max(room.saturating_sub(metrics.len()));

    let mut lines = vec![heading];
    lines.extend(shortened(metrics, room - share.min(room)));
    lines.extend(shortened(processes, share));
    lines.push(calls);
    // A terminal may be too small for all lines: keep the first ones.
    lines.truncate(size.rows.into());
    lines.iter().map(|line| cut(line, size.columns.into())).collect()
}

/// Shortens the text to `room` lines. The last line says how many are missing.
fn shortened(mut lines: Vec<String>, room: usize) -> Vec<String> {
    if lines.len() > room {
        let missing = lines.len() - room + 1;
        lines.truncate(room.saturating_sub(1));
        if room > 0 {
            lines.push(format!("… {missing} more"));
        }
    }
    lines
}

/// Makes the summary, for a terminal, a file or a pipe: as wide and long as it needs to be.
pub(crate) fn summary(
    aggregate: &Aggregate,
    sampler: &Sampler,
    totals: Totals,
    received: u64,
    top: u32,
) -> Vec<String> {
    let elapsed = aggregate.elapsed();
    let mut lines = vec![
        format!(
            "stats: {} batches in {:.1} s, {} received, {} rounds skipped",
            totals.batches,
            elapsed.as_secs_f64(),
            bytes(received as f64),
            totals.skipped,
        ),
        String::new(),
    ];
    lines.extend(metrics(&COLUMNS[1..], aggregate).lines(usize::MAX));
    lines.push(String::new());
    lines.extend(processes_over_all(aggregate, top).lines(usize::MAX));
    lines.push(String::new());
    lines.extend(calls(sampler).lines(usize::MAX));
    lines.push(String::new());
    lines.push(format!("all {} batches sent were handled, in order", totals.batches));
    lines
}

fn metrics(columns: &[Column], aggregate: &Aggregate) -> Table {
    let mut heading = vec!["metric"];
    heading.extend(columns.iter().map(|column| column.title));
    let mut table = Table::new(&heading);
    for line in aggregate.lines() {
        table.row(match line {
            Line::Note(name, note) => vec![name.to_owned(), note.to_owned()],
            Line::Metric(name, metric) => {
                let cell = |column: &Column| match metric.is_empty() {
                    true => "-".to_owned(),
                    false => metric.unit.format((column.value)(metric)),
                };
                let mut row = vec![name];
                row.extend(columns.iter().map(cell));
                row
            }
        });
    }
    table
}

/// Makes the table of the worker's answer to the last call of `top`.
fn processes_now(top: &[Usage]) -> Table {
    let mut table = Table::new(&["busiest now", "pid", "cpu", "resident"]);
    for usage in top {
        table.row(vec![
            usage.name.clone(),
            usage.pid.to_string(),
            Unit::Percent.format(usage.cpu_percent),
            bytes(usage.resident as f64),
        ]);
    }
    table
}

/// Makes the table of what the processes have used over all batches.
fn processes_over_all(aggregate: &Aggregate, top: u32) -> Table {
    let heading = format!("busiest of {} processes", aggregate.processes_seen());
    let mut table = Table::new(&[&heading, "pid", "cpu time", "cpu", "resident", "peak"]);
    let ticks_per_second = procfs::ticks_per_second() as f64;
    for process in aggregate.busiest(top as usize) {
        let seconds = process.ticks_used() as f64 / ticks_per_second;
        let percent = match aggregate.elapsed() {
            Duration::ZERO => 0.0,
            elapsed => 100.0 * seconds / elapsed.as_secs_f64(),
        };
        table.row(vec![
            process.name.clone(),
            process.id.pid.to_string(),
            format!("{seconds:.2} s"),
            Unit::Percent.format(percent),
            bytes(process.resident as f64),
            bytes(process.peak_resident as f64),
        ]);
    }
    table
}

fn calls(sampler: &Sampler) -> Table {
    let mut table = Table::new(&["calls to the worker", "count", "p50", "p99", "max"]);
    for (method, times) in [("top", &sampler.top_times), ("set_rate", &sampler.set_rate_times)] {
        let [p50, p99, max] = percentiles(times);
        table.row(vec![method.to_owned(), times.len().to_string(), p50, p99, max]);
    }
    table
}

fn in_short(times: &Times) -> String {
    let [p50, p99, max] = percentiles(times);
    format!("{} of top, p50 {p50}, p99 {p99}, max {max}", times.len())
}

fn percentiles(times: &Times) -> [String; 3] {
    [times.value_at_quantile(0.5), times.value_at_quantile(0.99), times.max()].map(microseconds)
}
