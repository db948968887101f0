//! Runs the second process of a contender: this executable again.
//!
//! Orders go through the standard input of the second process, and answers through its standard
//! output. So no contender is measured through its own control channel.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use coprocess_bench::Result;
use coprocess_bench::peer::{Peer, input_and_output, read_or_end};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::contender::Side;

/// Bounds the time until the second process is ready, or answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bounds the time until the second process ends, which includes removing what it shared.
const FAREWELL: Duration = Duration::from_secs(2);

/// Controls the second process from the first.
pub(crate) struct Second {
    name: &'static str,
    peer: Peer,
    orders: Option<PipeWriter>,
    answers: PipeReader,
}

impl Second {
    /// Starts `--peer NAME ARGS..`, without waiting until it is ready.
    pub(crate) fn start(name: &'static str, args: &[&str]) -> Result<Second> {
        let (theirs, orders) = io::pipe()?;
        let (answers, back) = io::pipe()?;
        let peer = Peer::start(name, args, theirs, back)?;
        Ok(Second { name, peer, orders: Some(orders), answers })
    }

    /// Blocks until the second process has set up its side.
    pub(crate) fn ready(mut self) -> Result<Second> {
        self.answer()?;
        Ok(self)
    }

    /// Blocks until there is an answer or the end of the answers, within this time. Returns `false`
    /// if there is neither.
    fn told(&self, patience: Duration) -> Result<bool> {
        let mut fds = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut fds, PollTimeout::try_from(patience)?)? > 0)
    }
}

impl Side for Second {
    fn process(&self) -> Option<u32> {
        Some(self.peer.id())
    }

    fn order(&mut self, count: u64) -> Result<()> {
        let orders = self.orders.as_mut().ok_or("the second process has been dismissed")?;
        orders
            .write_all(&count.to_ne_bytes())
            .map_err(|error| format!("the process {:?} is gone: {error}", self.name).into())
    }

    fn answer(&mut self) -> Result<u64> {
        if !self.told(PATIENCE)? {
            return Err(format!("the process {:?} does not answer", self.name).into());
        }
        let mut answer = [0; 8];
        self.answers
            .read_exact(&mut answer)
            .map_err(|error| format!("the process {:?} ended early: {error}", self.name))?;
        Ok(u64::from_ne_bytes(answer))
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // The end of its input tells the process to end. The end of its output tells that it has
        // ended. A process that is in the middle of an operation is killed.
        self.orders = None;
        let _ = self.told(FAREWELL);
    }
}

/// Reports that the second process has set up its side, then does `work` for each order, until
/// there are no more orders.
pub(crate) fn obey(mut work: impl FnMut(u64) -> Result<u64>) -> Result<()> {
    let (mut orders, mut answers) = input_and_output()?;
    let mut count = [0; 8];
    answers.write_all(&[0; 8])?;
    while read_or_end(&mut orders, &mut count)? {
        answers.write_all(&work(u64::from_ne_bytes(count))?.to_ne_bytes())?;
    }
    Ok(())
}

/// Reports that this process is ready, if it takes no orders.
pub(crate) fn ready() -> Result<()> {
    let (_, mut answers) = input_and_output()?;
    Ok(answers.write_all(&[0; 8])?)
}

/// Returns the argument of a second process at `place`.
pub(crate) fn argument<'a>(args: &'a [String], place: usize, what: &str) -> Result<&'a str> {
    args.get(place)
        .map(String::as_str)
        .ok_or_else(|| format!("this process was given no {what}").into())
}
