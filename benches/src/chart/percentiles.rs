//! Time of single operations over how few are slower: the usual axis, on which 90 %, 99 % and 99.9 % are equally far apart.

use plotters::prelude::*;

use super::{FONT, line, picture};
use crate::table::{Row, Table};
use crate::{Result, figure};

/// `None` where no operation was timed by itself.
pub(super) fn draw(table: &Table) -> Result<Option<String>> {
    let rows: Vec<&Row> = table.rows.iter().filter(|row| !row.each.is_empty()).collect();
    let (Some(least), Some(most), Some(samples)) = (
        rows.iter().map(|row| row.each.min()).min(),
        rows.iter().map(|row| row.each.max()).max(),
        rows.iter().map(|row| row.each.len()).max(),
    ) else {
        return Ok(None);
    };
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    // A logarithm needs more than zero, an axis more than a point.
    let x = 1.0..(samples as f64).max(100.0);
    let y = least.max(1) as f64 * 0.8..most.max(1) as f64 * 1.2;
    let svg = picture(&names, |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(format!("{}: time of single operations", table.title), (FONT, 20))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("percentile: share of operations that are no slower")
            .y_desc("time of an operation (logarithmic)")
            .x_label_formatter(&|tail| percentile(*tail))
            .y_label_formatter(&|nanos| figure::time(*nanos))
            .axis_desc_style((FONT, 15))
            .label_style((FONT, 13))
            .draw()?;
        for (place, row) in rows.iter().enumerate() {
            // The last step is 100 %, infinitely far to the right.
            let steps = row.distribution().into_iter().filter(|(quantile, _)| *quantile < 1.0);
            let points = steps.map(|(quantile, nanos)| (1.0 / (1.0 - quantile), nanos as f64));
            chart.draw_series(LineSeries::new(points, line(place)))?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// "99 %" where one in a hundred is slower.
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
        assert_eq!([1.0, 10.0, 100.0, 1e3, 1e5].map(percentile), ["0 %", "90 %", "99 %", "99.9 %", "99.999 %"]);
    }
}
