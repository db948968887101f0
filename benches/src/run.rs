//! The `main` of a bench.

use std::fs;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::command::Command;
use crate::host::Host;
use crate::peer::{self, Serve};
use crate::{Outcome, Regime, Result, chart, markdown, record, report, subjects};

/// The `main` of a bench: becomes a worker or a peer where this process is one, reads the command line, measures the regimes and reports.
pub fn main(regimes: &[Regime]) -> ExitCode {
    run_with(regimes, &[])
}

/// Like [`main`], with second processes of the bench's own.
pub fn run_with(regimes: &[Regime], extra_peers: &[(&str, Serve)]) -> ExitCode {
    coprocess::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let known = [subjects::PEERS, extra_peers].concat();
    let outcome = peer::serve(&arguments, &known).unwrap_or_else(|| measure(&Command::read(), regimes));
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
        println!("No regime of this bench is called like that.");
        return Ok(());
    }
    let document = command.document();
    if let Some((file, _)) = &document {
        markdown::check(file)?;
    }
    let plan = command.plan();
    let host = Host::look()?;
    let description = host.describe(&plan);
    let out = command.out();
    fs::create_dir_all(&out)?;
    let out = out.canonicalize()?;
    print!("{}", report::header(&description));
    let mut outcomes: Vec<(&Regime, Outcome)> = Vec::new();
    for regime in regimes {
        // A regime before this one may have pinned this thread, and whoever is started inherits that.
        host.release(0)?;
        let limit = Limit::new(regime.name, plan.limit);
        let outcome = (regime.run)(&plan, &host).map_err(|error| format!("{}: {error}", regime.name))?;
        drop(limit);
        print!("{}", report::regime(regime, &outcome));
        record::write(&out.join(format!("{}.json", regime.name)), &description, regime, &outcome)?;
        chart::write(&out, regime, &outcome)?;
        outcomes.push((regime, outcome));
    }
    print!("\n{}\nRaw figures and charts: {}\n", report::LEGEND, out.display());
    if let Some((file, charts)) = document {
        fs::create_dir_all(&charts)?;
        let link = |name| format!("charts/{name}");
        let draw = |(regime, outcome): &(&Regime, Outcome)| Ok(chart::write(&charts, regime, outcome)?.into_iter().map(link).collect());
        let links = outcomes.iter().map(draw).collect::<Result<Vec<_>>>()?;
        markdown::replace(&file, &markdown::figures(&description, &outcomes, &links))?;
        println!("Filled in: {}", file.display());
    }
    Ok(())
}

/// Ends this process if it still exists after some time: a bench that hangs must not hang whoever started it.
struct Limit(#[allow(dead_code, reason = "the end of the channel is what it is for")] mpsc::Sender<()>);

impl Limit {
    fn new(name: &'static str, limit: Duration) -> Limit {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("\n{name}: not finished after {limit:?}, giving up");
                std::process::exit(1);
            }
        });
        Limit(sender)
    }
}
