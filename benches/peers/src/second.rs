//! The second process of a contender: this executable again.
//!
//! Orders go through its standard input, answers through its standard output, so that none is measured through its own control channel.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use coprocess_bench::Result;
use coprocess_bench::peer::Peer;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::contender::Side;

/// How long the second process may take until it is ready, or to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to end, which includes taking away what it shared.
const FAREWELL: Duration = Duration::from_secs(2);

/// The first process's view of the second.
pub(crate) struct Second {
    name: &'static str,
    peer: Peer,
    orders: Option<PipeWriter>,
    answers: PipeReader,
}

impl Second {
    /// Starts `--peer NAME ARGS..`, which need not be ready yet.
    pub(crate) fn start(name: &'static str, args: &[&str]) -> Result<Second> {
        let (theirs, orders) = io::pipe()?;
        let (answers, back) = io::pipe()?;
        let peer = Peer::start(name, args, theirs, back)?;
        Ok(Second { name, peer, orders: Some(orders), answers })
    }

    /// Waits until it has set up its side.
    pub(crate) fn ready(mut self) -> Result<Second> {
        self.answer()?;
        Ok(self)
    }

    /// Whether there is something to read, or nothing will ever be, within this time.
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
        orders.write_all(&count.to_ne_bytes()).map_err(|error| format!("the process {:?} is gone: {error}", self.name).into())
    }

    fn answer(&mut self) -> Result<u64> {
        if !self.told(PATIENCE)? {
            return Err(format!("the process {:?} does not answer", self.name).into());
        }
        let mut answer = [0; 8];
        self.answers.read_exact(&mut answer).map_err(|error| format!("the process {:?} ended early: {error}", self.name))?;
        Ok(u64::from_ne_bytes(answer))
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // The end of its input tells it to leave, and its end is that of its output. One that is in the middle of something will be killed.
        self.orders = None;
        let _ = self.told(FAREWELL);
    }
}

/// The second process's view of itself, once it has set up its side: says so, and does with `work` what it is told to, until there are no
/// more orders.
pub(crate) fn obey(mut work: impl FnMut(u64) -> Result<u64>) -> Result<()> {
    // As files: the standard library buffers and locks standard input and output.
    let mut orders = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut answers = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut answer = 0;
    loop {
        answers.write_all(&u64::to_ne_bytes(answer))?;
        let mut count = [0; 8];
        match orders.read_exact(&mut count) {
            Ok(()) => answer = work(u64::from_ne_bytes(count))?,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Says that this process is ready: for one that takes no orders.
pub(crate) fn ready() -> Result<()> {
    let mut answers = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    answers.write_all(&[0; 8])?;
    Ok(())
}

/// The argument of a second process at `place`.
pub(crate) fn argument<'a>(args: &'a [String], place: usize, what: &str) -> Result<&'a str> {
    args.get(place).map(String::as_str).ok_or_else(|| format!("this process was given no {what}").into())
}
