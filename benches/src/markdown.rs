//! Figures for a document: the text between two marks in it is replaced.

use std::fs;
use std::path::Path;

use crate::report;
use crate::{Outcome, Regime, Result};

const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// The header, all verdicts, and what each regime measured. `charts` are the pictures of each outcome, as paths to be linked.
pub fn figures(description: &[(&'static str, String)], outcomes: &[(&Regime, Outcome)], charts: &[Vec<String>]) -> String {
    let mut text = format!("```text\n{}```\n", report::header(description));
    let verdicts: Vec<_> = outcomes.iter().flat_map(|(_, outcome)| &outcome.verdicts).collect();
    if !verdicts.is_empty() {
        text += &format!("\n### Targets\n\n{}", report::verdicts(verdicts).markdown());
    }
    for ((regime, outcome), charts) in outcomes.iter().zip(charts) {
        text += &format!("\n### {}: {}\n", regime.name, regime.about);
        for table in &outcome.tables {
            text += &format!("\n{}\n{}\n", report::rows(table).markdown(), report::remarks(table).join(" "));
        }
        for chart in charts {
            text += &format!("\n![{}: {}]({chart})\n", regime.name, regime.about);
        }
    }
    text += &format!("\n{}", report::LEGEND);
    text
}

/// Sees that the file has both marks: better to be told before measuring than after.
///
/// # Errors
///
/// It has not, or cannot be read.
pub fn check(file: &Path) -> Result<()> {
    with(file, "").map(drop)
}

/// Puts `figures` between the marks of the file, in place of what is there.
///
/// # Errors
///
/// The file cannot be read or written, or has not both marks.
pub fn replace(file: &Path, figures: &str) -> Result<()> {
    let replaced = with(file, figures)?;
    fs::write(file, replaced).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(())
}

fn with(file: &Path, figures: &str) -> Result<String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(between(&text, figures).ok_or_else(|| format!("{}: no `{BEGIN}` before an `{END}`", file.display()))?)
}

fn between(text: &str, figures: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let text = "a\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nb\n";
        let once = between(text, "new\n").unwrap();
        assert_eq!(once, "a\n<!-- figures: begin -->\n\nnew\n\n<!-- figures: end -->\nb\n");
        assert_eq!(between(&once, "new\n").unwrap(), once);
        assert!(between("no marks", "new").is_none());
        assert!(between("<!-- figures: end --><!-- figures: begin -->", "new").is_none());
    }
}
