//! The raw figures, as JSON: every round, and the distribution of single operations.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::Result;
use crate::measure::{Outcome, Regime, Table, Verdict};

#[derive(Serialize)]
struct Record<'a> {
    regime: &'a str,
    about: &'a str,
    conditions: BTreeMap<&'a str, &'a str>,
    tables: &'a [Table],
    verdicts: &'a [Verdict],
}

/// Writes what a regime measured.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn write(
    file: &Path,
    description: &[(&'static str, String)],
    regime: &Regime,
    outcome: &Outcome,
) -> Result<()> {
    let record = Record {
        regime: regime.name,
        about: regime.about,
        conditions: description.iter().map(|(name, value)| (*name, value.as_str())).collect(),
        tables: &outcome.tables,
        verdicts: &outcome.verdicts,
    };
    let mut writer =
        BufWriter::new(File::create(file).map_err(|error| format!("{}: {error}", file.display()))?);
    serde_json::to_writer(&mut writer, &record)?;
    writer.flush()?;
    Ok(())
}
