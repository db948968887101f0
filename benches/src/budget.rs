//! The budgets of instructions: a file that changes on purpose only.

use std::fs;
use std::process::Command;

use crate::Result;

/// Names the file that holds the budgets.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.budget");

/// Bounds the difference from a budget, in percent: above fails, below is worth recording.
const TOLERANCE: f64 = 3.0;

const HEADER: &str = "\
# Instructions per message of the hot paths, as callgrind counts them, in two builds of one program.
# bench: `cargo bench`, with LTO and one codegen unit. release: `cargo build --release`, what users
# have, without LTO and with default codegen units. More than 3 % above either fails `.ci/run`.
# This file is changed on purpose only, by
#     cargo bench -p coprocess-bench --bench instructions -- --record
# in the change that makes the difference, which says why the difference is worth it.
";

/// Begins the line that says what the figures were recorded with.
const CONDITIONS: &str = "# Recorded with: ";

/// Holds the instructions per message of one path, in each build.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Names the path.
    pub path: String,
    /// Counts the build of `cargo bench`.
    pub bench: f64,
    /// Counts the build of `cargo build --release`.
    pub release: f64,
}

impl Figure {
    /// Returns the counts with the names of their builds.
    pub fn builds(&self) -> [(&'static str, f64); 2] {
        [("bench", self.bench), ("release", self.release)]
    }
}

/// Names what the figures depend on besides the program: another compiler makes other figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions(String);

impl Conditions {
    /// Asks for the current conditions. `counter` names the counting program and its version.
    ///
    /// # Errors
    ///
    /// There is no compiler to ask.
    pub fn look(counter: &str) -> Result<Conditions> {
        let rustc = said("rustc", "--version")
            .ok_or("cannot ask rustc for its version: is it in the PATH?")?;
        // C libraries other than glibc do not tell.
        let libc = said("getconf", "GNU_LIBC_VERSION")
            .unwrap_or_else(|| "an unknown C library".to_owned());
        Ok(Conditions(format!("{rustc}, {libc}, {counter}, {}", std::env::consts::ARCH)))
    }
}

fn said(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Holds what was recorded.
#[derive(Debug, PartialEq)]
pub struct Budget {
    conditions: Conditions,
    figures: Vec<Figure>,
}

/// Compares a run with the budget.
#[derive(Debug, Default)]
pub struct Findings {
    /// Lists sentences, each of which fails the run.
    pub failures: Vec<String>,
    /// Lists sentences that do not fail the run.
    pub notes: Vec<String>,
}

impl Findings {
    /// Returns `true` if the run fails.
    pub fn failed(&self) -> bool {
        !self.failures.is_empty()
    }
}

impl Budget {
    /// Makes these figures the budget.
    pub fn record(conditions: Conditions, figures: &[Figure]) -> Budget {
        Budget { conditions, figures: figures.to_vec() }
    }

    /// Returns what was recorded for a path.
    pub fn of(&self, path: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.path == path)
    }

    /// Keeps the paths that `selects` names.
    #[must_use]
    pub fn only(mut self, selects: impl Fn(&str) -> bool) -> Budget {
        self.figures.retain(|figure| selects(&figure.path));
        self
    }

    /// Reads [`FILE`].
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has a line that is neither a comment nor a figure.
    pub fn read() -> Result<Budget> {
        let text =
            fs::read_to_string(FILE).map_err(|error| format!("cannot read {FILE}: {error}"))?;
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
        let conditions =
            text.lines().find_map(|line| line.strip_prefix(CONDITIONS)).unwrap_or_default();
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let figures = lines.map(|line| {
            let figure = figure(line);
            figure.ok_or_else(|| {
                format!("{FILE}: {line:?} is not a path and its instructions in two builds").into()
            })
        });
        Ok(Budget {
            conditions: Conditions(conditions.to_owned()),
            figures: figures.collect::<Result<_>>()?,
        })
    }

    fn text(&self) -> String {
        let figures = self.figures.iter().map(|figure| {
            format!("{:<40} {:>10.3} {:>10.3}\n", figure.path, figure.bench, figure.release)
        });
        let columns = format!("{:<40} {:>10} {:>10}\n", "#", "bench", "release");
        format!(
            "{HEADER}{CONDITIONS}{}\n\n{columns}{}",
            self.conditions.0,
            figures.collect::<String>()
        )
    }

    /// Compares the figures of a run with the budget.
    pub fn judge(&self, figures: &[Figure], conditions: &Conditions) -> Findings {
        let mut findings = Findings::default();
        for figure in figures {
            let path = &figure.path;
            let Some(recorded) = self.of(path) else {
                findings.failures.push(format!("\"{path}\" is not in the budget: record it."));
                continue;
            };
            for ((build, now), (_, budget)) in figure.builds().into_iter().zip(recorded.builds()) {
                let difference = difference(now, budget);
                if difference > TOLERANCE {
                    findings.failures.push(format!(
                        "\"{path}\", {build}: {now:.1} instructions per message, \
                         {difference:.1} % more than the budget of {budget:.1}."
                    ));
                } else if difference < -TOLERANCE {
                    findings.notes.push(format!(
                        "\"{path}\", {build}: {:.1} % less than the budget. \
                         Record the figure, so that it stays.",
                        -difference
                    ));
                }
            }
        }
        for gone in self
            .figures
            .iter()
            .filter(|recorded| figures.iter().all(|figure| figure.path != recorded.path))
        {
            findings.failures.push(format!(
                "\"{}\" is in the budget, and nothing counts it: record anew.",
                gone.path
            ));
        }
        if self.conditions != *conditions {
            let (then, now) = (&self.conditions.0, &conditions.0);
            findings.notes.push(format!(
                "The budget was recorded with {then}. This is {now}: that alone makes a difference."
            ));
        }
        findings
    }
}

/// Reads a line of the file: a path and two figures.
fn figure(line: &str) -> Option<Figure> {
    let (rest, release) = line.rsplit_once(char::is_whitespace)?;
    let (path, bench) = rest.trim_end().rsplit_once(char::is_whitespace)?;
    Some(Figure {
        path: path.trim_end().to_owned(),
        bench: bench.parse().ok()?,
        release: release.parse().ok()?,
    })
}

/// Returns how much more than the budget, in percent.
pub fn difference(now: f64, budget: f64) -> f64 {
    (now / budget - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::{Budget, Conditions, Figure};

    fn figure(path: &str, bench: f64, release: f64) -> Figure {
        Figure { path: path.to_owned(), bench, release }
    }

    fn answer() -> Figure {
        figure("answer: consume", 99.125, 120.5)
    }

    fn conditions() -> Conditions {
        Conditions("rustc 1.91.0, glibc 2.36, valgrind-3.19.0, x86_64".to_owned())
    }

    fn budget() -> Budget {
        Budget::record(conditions(), &[figure("emit 32 B: encode", 1000.0, 2000.0), answer()])
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = budget().text();
        assert_eq!(Budget::parse(&text).unwrap(), budget(), "{text}");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error() {
        assert!(Budget::parse("emit: encode many").is_err());
        assert!(Budget::parse("emit: encode 17").is_err());
        assert!(Budget::parse("17 18").is_err());
    }

    #[test]
    fn only_more_than_the_tolerance_fails_in_either_build() {
        let judge = |bench, release| {
            budget().judge(&[figure("emit 32 B: encode", bench, release), answer()], &conditions())
        };
        let counts = |bench, release| {
            let findings = judge(bench, release);
            (findings.failures.len(), findings.notes.len())
        };
        assert_eq!(counts(1000.0, 2000.0), (0, 0));
        assert_eq!(counts(1029.0, 2058.0), (0, 0));
        assert_eq!(counts(1031.0, 2000.0), (1, 0));
        assert_eq!(counts(1000.0, 2062.0), (1, 0));
        assert_eq!(counts(1031.0, 2062.0), (2, 0));
        assert_eq!(counts(971.0, 1942.0), (0, 0));
        assert_eq!(counts(969.0, 1938.0), (0, 2));
        assert!(judge(1031.0, 2000.0).failed() && !judge(969.0, 1938.0).failed());
    }

    #[test]
    fn a_path_without_a_budget_and_a_budget_without_a_path_fail() {
        let findings = budget().judge(&[answer(), figure("new", 1.0, 1.0)], &conditions());
        assert_eq!(findings.failures.len(), 2, "{findings:?}");
    }

    #[test]
    fn another_compiler_is_worth_a_note() {
        let figures = [figure("emit 32 B: encode", 1000.0, 2000.0), answer()];
        let findings = budget().judge(&figures, &Conditions("rustc 1.99.0".to_owned()));
        assert_eq!((findings.failures.len(), findings.notes.len()), (0, 1), "{findings:?}");
    }
}
