//! The `main` of a report.

mod command;

use std::fs;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::Parser;

use crate::machine::Host;
use crate::measure::{Outcome, Regime};
use crate::peer::{self, Serve};
use crate::report::{self, chart, json};
use crate::{Result, subjects};

use command::Command;

/// Becomes a worker or a peer if this process was started as one. Otherwise reads the command line,
/// measures the regimes and reports.
pub fn main(regimes: &[Regime]) -> ExitCode {
    run_with(regimes, &[])
}

/// Does the same as [`main`], with second processes of the bench's own.
pub fn run_with(regimes: &[Regime], extra_peers: &[(&str, Serve)]) -> ExitCode {
    coprocess::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let known = [subjects::PEERS, extra_peers].concat();
    let outcome =
        peer::serve(&arguments, &known).unwrap_or_else(|| measure(&Command::parse(), regimes));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(command: &Command, regimes: &[Regime]) -> Result<()> {
    let regimes: Vec<_> = regimes.iter().filter(|regime| command.selects(regime.name)).collect();
    if command.list {
        for regime in regimes {
            println!("{:<10} {}", regime.name, regime.about);
        }
        return Ok(());
    }
    if regimes.is_empty() {
        println!("No part of this report is called like that: see --list.");
        return Ok(());
    }
    let plan = command.plan();
    let host = Host::look()?;
    let description = [host.describe().as_slice(), plan.describe().as_slice()].concat();
    let out = command.out();
    fs::create_dir_all(&out)?;
    let out = out.canonicalize()?;
    print!("{}", report::header(&description));
    let mut outcomes: Vec<(&Regime, Outcome)> = Vec::new();
    for regime in regimes {
        // A regime before this one may have pinned this thread, and a new process inherits that.
        host.release(0)?;
        let watchdog = Watchdog::new(regime.name, plan.limit);
        let outcome =
            (regime.run)(&plan, &host).map_err(|error| format!("{}: {error}", regime.name))?;
        drop(watchdog);
        print!("{}{}", report::tables(regime, &outcome), report::verdicts(&outcome.verdicts));
        json::write(&out.join(format!("{}.json", regime.name)), &description, regime, &outcome)?;
        chart::write(&out, regime, &outcome)?;
        outcomes.push((regime, outcome));
    }
    print!("\n{}\nRaw figures and charts: {}\n", report::LEGEND, out.display());
    if let Some((file, charts)) = command.document() {
        fs::create_dir_all(&charts)?;
        let link = |name| format!("charts/{name}");
        let draw = |(regime, outcome): &(&Regime, Outcome)| {
            Ok(chart::write(&charts, regime, outcome)?.into_iter().map(link).collect())
        };
        let links = outcomes.iter().map(draw).collect::<Result<Vec<_>>>()?;
        fs::write(&file, report::document(&description, &outcomes, &links))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        println!("Written: {}", file.display());
    }
    Ok(())
}

/// Ends this process unless it is dropped in time: a bench that hangs must not hang the program
/// that started it.
struct Watchdog(
    #[allow(dead_code, reason = "the end of the channel is what it is for")] mpsc::Sender<()>,
);

impl Watchdog {
    fn new(name: &'static str, limit: Duration) -> Watchdog {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("\n{name}: not finished after {limit:?}, giving up");
                std::process::exit(1);
            }
        });
        Watchdog(sender)
    }
}
