//! A group of bars for each payload size, a bar for each mechanism: times on a logarithmic axis, rates of bulk data from zero.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, FONT, colour, picture};
use crate::report::BULK;
use crate::table::Table;
use crate::{Result, figure};

struct Bar {
    group: usize,
    place: usize,
    height: f64,
}

struct Axis<'a> {
    caption: &'a str,
    label: &'a str,
    text: fn(f64) -> String,
}

/// `None` where there are no two sizes.
pub(super) fn draw(table: &Table) -> Result<Option<String>> {
    let payloads = || table.rows.iter().filter_map(|row| Some((row.payload.as_ref()?, row.mean())));
    let mut series: Vec<&str> = Vec::new();
    let mut sizes: Vec<usize> = Vec::new();
    for (payload, _) in payloads() {
        if !series.contains(&payload.series.as_str()) {
            series.push(&payload.series);
        }
        sizes.push(payload.bytes);
    }
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() < 2 {
        return Ok(None);
    }

    let bulk = sizes.iter().all(|&size| size >= BULK);
    let mut bars = Vec::new();
    for (group, size) in sizes.iter().enumerate() {
        for (place, name) in series.iter().enumerate() {
            let found = payloads().find(|(payload, _)| payload.bytes == *size && payload.series == *name);
            bars.extend(found.map(|(_, mean)| Bar { group, place, height: if bulk { *size as f64 / mean } else { mean } }));
        }
    }
    let most = bars.iter().map(|bar| bar.height).fold(0.0, f64::max);
    let least = bars.iter().map(|bar| bar.height).fold(most, f64::min);
    let groups: Vec<String> = sizes.into_iter().map(figure::bytes).collect();

    let svg = picture(&series, |area| {
        if bulk {
            let axis = Axis { caption: &table.title, label: "GB/s", text: figure::plain };
            draw_bars(area, 0.0..most * 1.1, &axis, &groups, &bars)
        } else {
            let axis = Axis { caption: &table.title, label: "mean time of an operation (logarithmic)", text: figure::time };
            // The least bar shall have some height, too.
            let floor = 10_f64.powf((least / 2.0).log10().floor());
            draw_bars(area, (floor..most * 1.5).log_scale(), &axis, &groups, &bars)
        }
    })?;
    Ok(Some(svg))
}

fn draw_bars<Y>(area: &Area<'_>, y: Y, axis: &Axis<'_>, groups: &[String], bars: &[Bar]) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    // Group 0 is centred on 0, and so on; what is left between groups is a fifth.
    let places = bars.iter().map(|bar| bar.place + 1).max().unwrap_or(1);
    let width = 0.8 / places as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(axis.caption, (FONT, 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(-0.5..groups.len() as f64 - 0.5, y)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_labels(groups.len())
        .x_desc("payload")
        .y_desc(axis.label)
        .x_label_formatter(&|group| group_name(groups, *group))
        .y_label_formatter(&|height| (axis.text)(*height))
        .axis_desc_style((FONT, 15))
        .label_style((FONT, 13))
        .draw()?;
    let bottom = chart.y_range().start;
    let above = TextStyle::from((FONT, 11)).pos(Pos::new(HPos::Center, VPos::Bottom));
    for bar in bars {
        let left = bar.group as f64 - 0.4 + bar.place as f64 * width;
        let body = Rectangle::new([(left, bottom), (left + width * 0.92, bar.height)], colour(bar.place).filled());
        chart.draw_series([body])?;
        chart.draw_series([Text::new((axis.text)(bar.height), (left + width / 2.0, bar.height), above.clone())])?;
    }
    Ok(())
}

/// Nothing between the groups, should a label come to stand there.
fn group_name(groups: &[String], place: f64) -> String {
    let group = place.round();
    if (place - group).abs() > 0.01 || group < 0.0 {
        return String::new();
    }
    groups.get(group as usize).cloned().unwrap_or_default()
}
