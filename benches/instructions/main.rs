//! `cargo bench --bench instructions`: instructions per message of the hot paths, against a recorded budget.
//!
//! Times vary with the machine and its mood; instructions, counted by callgrind, are the same in every run of the same program, to the
//! digit. So a change that costs something is seen at once, and without patience.
//!
//! What is counted is a worker of coprocess that runs under valgrind ([`callgrind`]), while its parent, which runs as usual, stays out of
//! the way: they take turns ([`turns`]), so nothing in the counted part waits, and no other thread of the process runs ([`paths`]). The
//! figures do depend on the compiler and on the C library: the budget says what it was recorded with ([`mod@budget`]).

mod callgrind;
mod measure;
mod paths;
mod report;
mod turns;

use std::process::ExitCode;

use clap::Parser;
use coprocess_bench::Result;
use coprocess_bench::budget::{self, Budget, Conditions};

use crate::paths::PATHS;

/// Counts the instructions per message of the hot paths and compares them with the budget.
#[derive(Debug, Parser)]
struct Command {
    /// Fail, rather than skip this, where valgrind is missing
    #[arg(long)]
    check: bool,

    /// Make the figures of this run the budget
    #[arg(long)]
    record: bool,

    /// Name the paths and count nothing
    #[arg(long)]
    list: bool,

    /// Accepted as by the other benches; there is nothing to shorten
    #[arg(long)]
    quick: bool,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
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
    if command.list {
        PATHS.iter().for_each(|path| println!("{}", path.name));
        return Ok(ExitCode::SUCCESS);
    }
    let counter = match callgrind::look() {
        Err(why) if command.check || command.record => return Err(format!("cannot count instructions: {why}").into()),
        Err(why) => {
            println!("Instructions were not counted: {why}");
            return Ok(ExitCode::SUCCESS);
        }
        Ok(counter) => counter,
    };
    let conditions = Conditions::look(&counter)?;
    let figures = PATHS.iter().map(measure::measure).collect::<Result<Vec<_>>>()?;
    if command.record {
        let recorded = Budget::record(conditions, &figures);
        // Beside the budget so far; one that cannot be read is replaced all the same.
        print!("{}", report::table(&figures, Budget::read().as_ref().unwrap_or(&recorded)));
        recorded.write()?;
        println!("\nRecorded: {}", budget::FILE);
        return Ok(ExitCode::SUCCESS);
    }
    let budget = Budget::read()?;
    print!("{}", report::table(&figures, &budget));
    let findings = budget.judge(&figures, &conditions);
    println!("\n{}", report::findings(&findings));
    Ok(if findings.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
