//! `cargo bench --bench instructions`: instructions per message of the hot paths, against recorded
//! budgets.
//!
//! Times vary with the machine and its load. Instructions, counted by callgrind, are the same to
//! the digit in every run of the same program, so a change that costs something shows at once.
//!
//! The counted process is a worker of coprocess that runs under valgrind ([`callgrind`]). Its
//! parent runs as usual and takes turns with the worker ([`turns`]). So nothing in the counted part
//! waits, and no other thread of the worker runs ([`paths`]).
//!
//! Two builds of this program are counted ([`builds`]): this one, and the one that users have. The
//! figures depend on the compiler and on the C library: the budget says what it was recorded with
//! ([`mod@budget`]).

mod builds;
mod callgrind;
mod measure;
mod paths;
mod report;
mod turns;

use std::path::PathBuf;
use std::process::{self, ExitCode, Stdio};

use clap::Parser;
use coprocess_bench::Result;
use coprocess_bench::budget::{self, Budget, Conditions, Figure};

use crate::builds::Build;
use crate::paths::{PATHS, Path};

/// Counts the instructions per message of the hot paths and compares them with the budgets.
///
/// Two builds of one program are counted, and each has a column and a budget of its own. `bench` is
/// this program as `cargo bench` builds it, with LTO across crates and one codegen unit: what the
/// code can be. `release` is the same program as `cargo build --release` builds a program that
/// depends on coprocess, without LTO and with the default codegen units: what users have. Cargo
/// builds it when this runs, with the same features, into the usual target/release.
#[derive(Debug, Parser)]
struct Command {
    /// Count only the paths whose names contain one of these (see --list)
    #[arg(value_name = "PATH")]
    paths: Vec<String>,

    /// Fail, rather than skip this, where valgrind is missing
    #[arg(long)]
    check: bool,

    /// Make the figures of this run the budgets
    #[arg(long, conflicts_with = "paths")]
    record: bool,

    /// Name the paths and count nothing
    #[arg(long)]
    list: bool,

    /// Accepted as by the other benches; there is nothing to shorten
    #[arg(long)]
    quick: bool,

    /// Count this build only: a line for each path on standard output, profiles in DIR
    #[arg(long, value_name = "DIR", hide = true)]
    count: Option<PathBuf>,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Command {
    fn selects(&self, path: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|text| path.contains(text))
    }
}

fn main() -> ExitCode {
    // Before `init`, which makes this process the worker: the worker is to run under valgrind.
    if let Err(error) = callgrind::enter_if_asked() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    coprocess::init();
    match run(&Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    let paths: Vec<_> = PATHS.iter().filter(|path| command.selects(path.name)).collect();
    if command.list {
        paths.iter().for_each(|path| println!("{}", path.name));
        return Ok(ExitCode::SUCCESS);
    }
    if paths.is_empty() {
        println!("No path is called like that: see --list.");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(profiles) = &command.count {
        for path in paths {
            println!("{}", measure::measure(path, profiles)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let counter = match callgrind::look() {
        Err(why) if command.check || command.record => {
            return Err(format!("cannot count instructions: {why}").into());
        }
        Err(why) => {
            println!("Instructions were not counted: {why}");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(counter) => counter,
    };
    let conditions = Conditions::look(&counter)?;
    let (bench, release) = (count(Build::Bench, &paths)?, count(Build::Release, &paths)?);
    let figures = paths.iter().zip(bench).zip(release);
    let figures: Vec<_> = figures
        .map(|((path, bench), release)| Figure { path: path.name.to_owned(), bench, release })
        .collect();
    if command.record {
        let recorded = Budget::record(conditions, &figures);
        // Beside the budget so far. A budget that cannot be read is replaced all the same.
        print!("{}", report::table(&figures, Budget::read().as_ref().unwrap_or(&recorded)));
        recorded.write()?;
        println!("\nRecorded: {}", budget::FILE);
        return Ok(ExitCode::SUCCESS);
    }
    let budget = Budget::read()?.only(|path| command.selects(path));
    print!("{}", report::table(&figures, &budget));
    let findings = budget.judge(&figures, &conditions);
    println!("\n{}", report::findings(&findings));
    Ok(if findings.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs a build of this program with `--count`, and returns its figures in the order of `paths`.
fn count(build: Build, paths: &[&Path]) -> Result<Vec<f64>> {
    let mut counting = process::Command::new(build.executable()?);
    counting
        .arg("--count")
        .arg(callgrind::profiles(build)?)
        .args(paths.iter().map(|path| path.name));
    counting.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = counting.output()?;
    if !output.status.success() {
        return Err(
            format!("counting the build {:?} ended with {}", build.name(), output.status).into()
        );
    }
    let figures = String::from_utf8(output.stdout)?
        .lines()
        .map(str::parse)
        .collect::<std::result::Result<Vec<f64>, _>>()?;
    if figures.len() != paths.len() {
        return Err(format!(
            "the build {:?} counted {} of {} paths",
            build.name(),
            figures.len(),
            paths.len()
        )
        .into());
    }
    Ok(figures)
}
