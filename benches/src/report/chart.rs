//! Charts of what a regime measured, as SVG on white: readable on light and on dark pages. Every
//! chart shows lines on two logarithmic axes.

use std::fs;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::BULK;
use crate::measure::{Outcome, Regime, Row, Table};
use crate::{Result, units};

const SIZE: (u32, u32) = (1080, 540);
/// Leaves room on the right for the names of the lines, in pixels.
const LEGEND: u32 = 230;
const FONT: &str = "sans-serif";

/// Colours that stay apart for readers who do not see all of them (Okabe and Ito). Yellow is left
/// out, because it is hard to see on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

/// Lines to be drawn.
struct Chart<'a> {
    caption: String,
    lines: Vec<(&'a str, Vec<(f64, f64)>)>,
    x: Axis,
    y: Axis,
}

struct Axis {
    name: &'static str,
    /// Is the ratio of the values at two labels.
    base: f64,
    label: fn(f64) -> String,
}

/// Draws the percentiles of every table, and its rows by payload size where there are several
/// sizes. Returns the names of the files.
///
/// # Errors
///
/// A file cannot be written.
pub(crate) fn write(directory: &Path, regime: &Regime, outcome: &Outcome) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for table in &outcome.tables {
        for (kind, chart) in [("percentiles", percentiles(table)), ("sizes", sizes(table))] {
            let Some(svg) = chart.draw()? else { continue };
            let name = format!("{}-{kind}.svg", file_stem(regime.name, &table.title));
            fs::write(directory.join(&name), svg).map_err(|error| format!("{name}: {error}"))?;
            names.push(name);
        }
    }
    Ok(names)
}

fn file_stem(regime: &str, title: &str) -> String {
    let words: Vec<_> = title
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    format!("{regime}-{}", words.join("-").to_lowercase())
}

/// Charts the time of single operations over how few are slower: the usual axis, on which 90 %, 99
/// % and 99.9 % are equally far apart.
fn percentiles(table: &Table) -> Chart<'_> {
    let line = |row: &Row| {
        // The last step is 100 %, infinitely far to the right.
        let steps = row.distribution().into_iter().filter(|(quantile, _)| *quantile < 1.0);
        steps.map(|(quantile, nanos)| (1.0 / (1.0 - quantile), nanos as f64)).collect()
    };
    Chart {
        caption: format!("{}: time of single operations", table.title),
        lines: table.rows.iter().map(|row| (row.name.as_str(), line(row))).collect(),
        x: Axis {
            name: "percentile: share of operations that are no slower",
            base: 10.0,
            label: percentile,
        },
        y: Axis { name: "time of an operation", base: 10.0, label: units::time },
    }
}

/// Charts the rows of each mechanism over their payloads: times of small ones, rates of bulk data.
fn sizes(table: &Table) -> Chart<'_> {
    let mut lines: Vec<(&str, Vec<(f64, f64)>)> = Vec::new();
    let payloads: Vec<_> =
        table.rows.iter().filter_map(|row| Some((row.payload.as_ref()?, row.mean()))).collect();
    let bulk = payloads.iter().all(|(payload, _)| payload.bytes >= BULK);
    for (payload, mean) in payloads {
        let bytes = payload.bytes as f64;
        let point = (bytes, if bulk { bytes / mean } else { mean });
        match lines.iter_mut().find(|(series, _)| *series == payload.series) {
            Some((_, points)) => points.push(point),
            None => lines.push((&payload.series, vec![point])),
        }
    }
    for (_, points) in &mut lines {
        points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    }
    Chart {
        caption: table.title.clone(),
        lines,
        x: Axis { name: "payload", base: 2.0, label: |bytes| units::bytes(bytes as usize) },
        y: match bulk {
            true => Axis { name: "GB/s", base: 2.0, label: units::plain },
            false => Axis { name: "mean time of an operation", base: 10.0, label: units::time },
        },
    }
}

impl Chart<'_> {
    /// Draws the chart. Returns `None` where no line has two points.
    fn draw(&self) -> Result<Option<String>> {
        if self.lines.iter().all(|(_, points)| points.len() < 2) {
            return Ok(None);
        }
        let mut svg = String::new();
        {
            let whole = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            whole.fill(&WHITE)?;
            let (left, right) = whole.split_horizontally(SIZE.0 - LEGEND);
            let points = || self.lines.iter().flat_map(|(_, points)| points);
            let x = range(points().map(|(x, _)| *x)).log_scale().base(self.x.base);
            let y = range(points().map(|(_, y)| *y)).log_scale().base(self.y.base);
            let mut chart = ChartBuilder::on(&left)
                .caption(&self.caption, (FONT, 20))
                .margin(12)
                .margin_right(24)
                .x_label_area_size(44)
                .y_label_area_size(72)
                .build_cartesian_2d(x, y)?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .x_desc(self.x.name)
                .y_desc(format!("{} (logarithmic)", self.y.name))
                .x_label_formatter(&|value| (self.x.label)(*value))
                .y_label_formatter(&|value| (self.y.label)(*value))
                .axis_desc_style((FONT, 15))
                .label_style((FONT, 13))
                .draw()?;
            let beside = TextStyle::from((FONT, 14)).pos(Pos::new(HPos::Left, VPos::Center));
            for (place, (name, points)) in self.lines.iter().enumerate() {
                // Thinner once the colours begin again.
                let style = COLOURS[place % COLOURS.len()].stroke_width(if place < COLOURS.len() {
                    3
                } else {
                    1
                });
                chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
                let y = 52 + 22 * i32::try_from(place)?;
                right.draw(&PathElement::new([(0, y), (22, y)], style))?;
                right.draw(&Text::new(*name, (30, y), beside.clone()))?;
            }
            whole.present()?;
        }
        Ok(Some(svg))
    }
}

/// Returns the range of the values with some room on both sides: a logarithm needs more than zero,
/// an axis more than a point.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, most) = values
        .fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)));
    f64::max(least, f64::MIN_POSITIVE) / 1.2..most * 1.2
}

/// Names the percentile: "99 %" where one operation in a hundred is slower.
fn percentile(tail: f64) -> String {
    let percent = 100.0 * (1.0 - 1.0 / tail);
    let nines = tail.log10().round().max(2.0) as usize - 2;
    format!("{percent:.nines$} %")
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn as_many_nines_as_there_are() {
        assert_eq!(
            [1.0, 10.0, 100.0, 1e3, 1e5].map(percentile),
            ["0 %", "90 %", "99 %", "99.9 %", "99.999 %"]
        );
    }
}
