//! Pictures of what a regime measured, as SVG on white: readable on light and on dark pages.

mod percentiles;
mod sizes;

use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::{Outcome, Regime, Result};

const SIZE: (u32, u32) = (1080, 540);
/// Room on the right for the names of the lines and bars.
const LEGEND: u32 = 230;
const FONT: &str = "sans-serif";

/// Colours that stay apart for readers who do not see all of them (Okabe and Ito); yellow is left out, being hard to see on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws percentile curves for every table, and bars by payload size where rows have payloads; the names of the files.
///
/// # Errors
///
/// A file cannot be written.
pub fn write(directory: &Path, regime: &Regime, outcome: &Outcome) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for table in &outcome.tables {
        let pictures = [("percentiles", percentiles::draw(table)?), ("sizes", sizes::draw(table)?)];
        for (kind, picture) in pictures {
            let Some(svg) = picture else { continue };
            let name = format!("{}-{kind}.svg", file_stem(regime.name, &table.title));
            fs::write(directory.join(&name), svg).map_err(|error| format!("{name}: {error}"))?;
            names.push(name);
        }
    }
    Ok(names)
}

/// A white picture: `draw` gets the part for the chart, `names` are what its colours stand for.
fn picture(names: &[&str], draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let whole = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        whole.fill(&WHITE)?;
        let (chart, right) = whole.split_horizontally(SIZE.0 - LEGEND);
        draw(&chart)?;
        let beside = TextStyle::from((FONT, 14)).pos(Pos::new(HPos::Left, VPos::Center));
        for (place, name) in names.iter().enumerate() {
            let y = 52 + 22 * i32::try_from(place)?;
            right.draw(&PathElement::new([(0, y), (22, y)], line(place)))?;
            right.draw(&Text::new(*name, (30, y), beside.clone()))?;
        }
        whole.present()?;
    }
    Ok(svg)
}

fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

/// Thinner once the colours begin again.
fn line(place: usize) -> ShapeStyle {
    colour(place).stroke_width(if place < COLOURS.len() { 3 } else { 1 })
}

fn file_stem(regime: &str, title: &str) -> String {
    let words: Vec<_> = title.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    format!("{regime}-{}", words.join("-").to_lowercase())
}
