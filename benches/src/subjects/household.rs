//! A process that only has pairs, or the same number of child processes without pairs: shows what
//! an idle pair takes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use coprocess::Coprocess;

use crate::Result;
use crate::peer::{arguments, read_or_end};
use crate::subjects::close::close;
use crate::subjects::first_sign;

pub(crate) const PEER: &str = "household";

/// Counts the messages of each kind and direction that a pair exchanges before it is measured, so
/// that all memory that a pair touches is touched.
const MESSAGES: u64 = 5_000;

/// How the processes are related.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Parent and workers of coprocess. Both ends have handlers.
    Pairs,
    /// Parent and children of the same program, without coprocess.
    Strangers,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Pairs => "pairs",
            Kind::Strangers => "strangers",
        }
    }
}

/// A process and its children, all asleep.
pub(crate) struct Household {
    head: Child,
    /// Ends the head when it is closed, which ends the children.
    input: Option<ChildStdin>,
    children: Vec<u32>,
}

impl Household {
    /// Starts the head of the household, which starts `children` processes. Returns when they have
    /// exchanged their messages.
    pub(crate) fn start(executable: &Path, kind: Kind, children: usize) -> Result<Household> {
        let mut head = Command::new(executable)
            .args(arguments(PEER))
            .args([kind.name(), &children.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = head.stdin.take();
        let output = head.stdout.take();
        // From here on, dropping the household ends the head, whatever fails.
        let mut household = Household { head, input, children: Vec::new() };
        household.children = output.map_or(Ok(Vec::new()), read_children)?;
        if household.children.len() != children {
            return Err(format!(
                "{} of {children} processes were started",
                household.children.len()
            )
            .into());
        }
        Ok(household)
    }

    /// Returns the ids of the head and its children.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::once(self.head.id()).chain(self.children.iter().copied())
    }
}

/// Reads the line in which the head names its children.
fn read_children(output: ChildStdout) -> Result<Vec<u32>> {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(line.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?)
}

impl Drop for Household {
    fn drop(&mut self) {
        drop(self.input.take());
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.head.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Failing means that the head has ended already.
                let _ = self.head.kill();
                let _ = self.head.wait();
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs in the second process, the head of a household.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [kind, children] = args else {
        return Err("household: takes a kind and a number of children".into());
    };
    let children = children.parse()?;
    if kind == Kind::Pairs.name() {
        let pairs = (0..children).map(|_| start_pair()).collect::<Result<Vec<_>>>()?;
        wait_as_head_of(pairs.iter().map(Coprocess::peer_id))?;
        for pair in &pairs {
            close(pair)?;
        }
    } else {
        let mut strangers =
            (0..children).map(|_| start_stranger()).collect::<io::Result<Vec<_>>>()?;
        wait_as_head_of(strangers.iter().map(Child::id))?;
        for stranger in &mut strangers {
            drop(stranger.stdin.take());
            stranger.wait()?;
        }
    }
    Ok(())
}

/// Prints the ids of the children, then sleeps until the input ends.
fn wait_as_head_of(children: impl Iterator<Item = u32>) -> Result<()> {
    let children: Vec<String> = children.map(|child| child.to_string()).collect();
    println!("{}", children.join(" "));
    io::stdout().flush()?;
    read_or_end(&mut io::stdin(), &mut [0])?;
    Ok(())
}

/// Starts a process of this program that says that it runs, then sleeps.
fn start_stranger() -> io::Result<Child> {
    let mut child = Command::new("/proc/self/exe")
        .args(arguments(first_sign::PEER))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(output) = &mut child.stdout {
        output.read_exact(&mut [0])?;
    }
    Ok(child)
}

/// Starts a pair with handlers at both ends, and exchanges calls and events in both directions.
fn start_pair() -> Result<Coprocess> {
    let co = coprocess::fork(worker)?;
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    co.listen("tock", move |_: u64| counter.store(counter.load(Relaxed) + 1, Relaxed));
    for turn in 0..MESSAGES {
        co.emit("tick", turn)?;
        if co.call::<u64>("echo", turn)? != turn {
            return Err("calls are mixed up".into());
        }
    }
    // Events arrive before the answer to a later call.
    match heard.load(Relaxed) {
        MESSAGES => Ok(co),
        heard => Err(format!("{MESSAGES} events were sent, {heard} were heard").into()),
    }
}

/// Runs in the worker of a pair.
fn worker(co: Coprocess) {
    let this = co.downgrade();
    co.serve("echo", |value: u64| value).listen("tick", move |turn: u64| {
        if let Some(co) = this.upgrade() {
            // An error means that the pair is over, which the head learns by itself.
            let _ = co.emit("tock", turn);
        }
    });
}
