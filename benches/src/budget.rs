//! The recorded budget of instructions: a file that is changed on purpose only.

use std::fs;
use std::process::Command;

use crate::Result;

/// Where it is.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.budget");

/// How much more than the budget is a failure, and how much less is worth recording, in percent.
const TOLERANCE: f64 = 3.0;

const HEADER: &str = "\
# Instructions per message of the hot paths, as callgrind counts them. More than 3 % above fails `.ci/run`.
# This file is changed on purpose only, by
#     cargo bench -p coprocess-bench --bench instructions -- --record
# in the change that makes the difference, which says why it is worth it.
";

/// The line that says what the figures were recorded with.
const CONDITIONS: &str = "# Recorded with: ";

/// Instructions per message of a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name.
    pub path: String,
    /// Those of many messages, divided by their number.
    pub instructions: f64,
}

/// What the figures depend on besides the program: with another compiler they are others.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions(String);

impl Conditions {
    /// Those of now. `counter`: what counts, and its version.
    ///
    /// # Errors
    ///
    /// There is no compiler to ask.
    pub fn look(counter: &str) -> Result<Conditions> {
        let rustc = said("rustc", "--version").ok_or("cannot ask rustc for its version: is it in the PATH?")?;
        // Other C libraries than glibc do not tell.
        let libc = said("getconf", "GNU_LIBC_VERSION").unwrap_or_else(|| "an unknown C library".to_owned());
        Ok(Conditions(format!("{rustc}, {libc}, {counter}, {}", std::env::consts::ARCH)))
    }
}

fn said(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What was recorded.
#[derive(Debug, PartialEq)]
pub struct Budget {
    conditions: Conditions,
    figures: Vec<Figure>,
}

/// What a run is like beside the budget.
#[derive(Debug, Default)]
pub struct Findings {
    /// Each a sentence; any of them fails the run.
    pub failures: Vec<String>,
    /// Each a sentence.
    pub notes: Vec<String>,
}

impl Findings {
    /// Whether the run fails.
    pub fn failed(&self) -> bool {
        !self.failures.is_empty()
    }
}

impl Budget {
    /// The budget that these figures are.
    pub fn record(conditions: Conditions, figures: &[Figure]) -> Budget {
        Budget { conditions, figures: figures.to_vec() }
    }

    /// What was recorded for a path.
    pub fn of(&self, path: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.path == path).map(|figure| figure.instructions)
    }

    /// Reads [`FILE`].
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has a line that is neither a comment nor a figure.
    pub fn read() -> Result<Budget> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("cannot read {FILE}: {error}"))?;
        Budget::parse(&text)
    }

    /// Writes [`FILE`].
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self) -> Result<()> {
        fs::write(FILE, self.text()).map_err(|error| format!("cannot write {FILE}: {error}").into())
    }

    fn parse(text: &str) -> Result<Budget> {
        let conditions = text.lines().find_map(|line| line.strip_prefix(CONDITIONS)).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let figures = lines.map(|line| {
            let figure = line.rsplit_once(char::is_whitespace).and_then(|(path, instructions)| {
                Some(Figure { path: path.trim_end().to_owned(), instructions: instructions.parse().ok()? })
            });
            figure.ok_or_else(|| format!("{FILE}: {line:?} is not a path and its instructions").into())
        });
        Ok(Budget { conditions: Conditions(conditions.to_owned()), figures: figures.collect::<Result<_>>()? })
    }

    fn text(&self) -> String {
        let figures = self.figures.iter().map(|figure| format!("{:<40} {:>10.3}\n", figure.path, figure.instructions));
        format!("{HEADER}{CONDITIONS}{}\n\n{}", self.conditions.0, figures.collect::<String>())
    }

    /// What is to be said of the figures of a run.
    pub fn judge(&self, figures: &[Figure], conditions: &Conditions) -> Findings {
        let mut findings = Findings::default();
        for figure in figures {
            let (path, now) = (&figure.path, figure.instructions);
            let Some(budget) = self.of(path) else {
                findings.failures.push(format!("\"{path}\" is not in the budget: record it."));
                continue;
            };
            let difference = difference(now, budget);
            if difference > TOLERANCE {
                findings.failures.push(format!(
                    "\"{path}\" takes {now:.1} instructions per message, {difference:.1} % more than its budget of {budget:.1}."
                ));
            } else if difference < -TOLERANCE {
                findings.notes.push(format!("\"{path}\" takes {:.1} % less than its budget: record it, so that it stays so.", -difference));
            }
        }
        for gone in self.figures.iter().filter(|recorded| figures.iter().all(|figure| figure.path != recorded.path)) {
            findings.failures.push(format!("\"{}\" is in the budget, and nothing counts it: record anew.", gone.path));
        }
        if self.conditions != *conditions {
            let (then, now) = (&self.conditions.0, &conditions.0);
            findings.notes.push(format!("The budget was recorded with {then}. This is {now}: that alone makes a difference."));
        }
        findings
    }
}

/// How much more than the budget, in percent.
pub fn difference(now: f64, budget: f64) -> f64 {
    (now / budget - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::{Budget, Conditions, Figure};

    fn figure(path: &str, instructions: f64) -> Figure {
        Figure { path: path.to_owned(), instructions }
    }

    fn conditions() -> Conditions {
        Conditions("rustc 1.91.0, glibc 2.36, valgrind-3.19.0, x86_64".to_owned())
    }

    fn budget() -> Budget {
        Budget::record(conditions(), &[figure("emit 32 B: encode", 1000.0), figure("answer: consume", 99.125)])
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = budget().text();
        assert_eq!(Budget::parse(&text).unwrap(), budget(), "{text}");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error() {
        assert!(Budget::parse("emit: encode many").is_err());
        assert!(Budget::parse("17").is_err());
    }

    #[test]
    fn only_more_than_the_tolerance_fails() {
        let judge = |now| budget().judge(&[figure("emit 32 B: encode", now), figure("answer: consume", 99.125)], &conditions());
        let counts = |now| (judge(now).failures.len(), judge(now).notes.len());
        assert_eq!(counts(1000.0), (0, 0));
        assert_eq!(counts(1029.0), (0, 0));
        assert_eq!(counts(1031.0), (1, 0));
        assert_eq!(counts(971.0), (0, 0));
        assert_eq!(counts(969.0), (0, 1));
        assert!(judge(1031.0).failed() && !judge(969.0).failed());
    }

    #[test]
    fn a_path_without_a_budget_and_a_budget_without_a_path_fail() {
        let findings = budget().judge(&[figure("answer: consume", 99.125), figure("new", 1.0)], &conditions());
        assert_eq!(findings.failures.len(), 2, "{findings:?}");
    }

    #[test]
    fn another_compiler_is_worth_a_note() {
        let figures = [figure("emit 32 B: encode", 1000.0), figure("answer: consume", 99.125)];
        let findings = budget().judge(&figures, &Conditions("rustc 1.99.0".to_owned()));
        assert_eq!((findings.failures.len(), findings.notes.len()), (0, 1), "{findings:?}");
    }
}
