//! The raw figures, as JSON: every round, and the distribution of single operations.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::table::{Percentiles, Round, Row, Table};
use crate::target::Verdict;
use crate::{Outcome, Regime, Result, subject::Payload};

#[derive(Serialize)]
struct Record<'a> {
    regime: &'a str,
    about: &'a str,
    conditions: serde_json::Map<String, serde_json::Value>,
    tables: Vec<Measured<'a>>,
    verdicts: &'a [Verdict],
}

#[derive(Serialize)]
struct Measured<'a> {
    title: &'a str,
    baselines: &'a [String],
    cpus_busy_with_others: f64,
    rows: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    note: &'a str,
    payload: &'a Option<Payload>,
    mean_nanos: f64,
    percentiles_nanos: Percentiles,
    /// Quantile and nanoseconds.
    distribution: Vec<(f64, u64)>,
    rounds: &'a [Round],
}

impl<'a> From<&'a Table> for Measured<'a> {
    fn from(table: &'a Table) -> Self {
        Measured {
            title: &table.title,
            baselines: &table.baselines,
            cpus_busy_with_others: table.others,
            rows: table.rows.iter().map(Line::from).collect(),
        }
    }
}

impl<'a> From<&'a Row> for Line<'a> {
    fn from(row: &'a Row) -> Self {
        Line {
            name: &row.name,
            note: &row.note,
            payload: &row.payload,
            mean_nanos: row.mean(),
            percentiles_nanos: row.percentiles(),
            distribution: row.distribution(),
            rounds: &row.rounds,
        }
    }
}

/// Writes what a regime measured.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(file: &Path, description: &[(&'static str, String)], regime: &Regime, outcome: &Outcome) -> Result<()> {
    let record = Record {
        regime: regime.name,
        about: regime.about,
        conditions: description.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect(),
        tables: outcome.tables.iter().map(Measured::from).collect(),
        verdicts: &outcome.verdicts,
    };
    let mut writer = BufWriter::new(File::create(file).map_err(|error| format!("{}: {error}", file.display()))?);
    serde_json::to_writer(&mut writer, &record)?;
    writer.flush()?;
    Ok(())
}
