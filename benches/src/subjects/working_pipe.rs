//! A pair of pipes whose second process works for the time that a request names, then answers.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::Result;
use crate::peer::Peer;
use crate::subjects::work::work;

pub(crate) const PEER: &str = "working-pipe";

pub(crate) struct WorkingPipe {
    requests: io::PipeWriter,
    responses: io::PipeReader,
    peer: Peer,
}

impl WorkingPipe {
    /// Starts the second process, which sleeps until there is something to do.
    pub(crate) fn start() -> Result<WorkingPipe> {
        let (theirs, requests) = io::pipe()?;
        let (responses, back) = io::pipe()?;
        let peer = Peer::start(PEER, &[], theirs, back)?;
        Ok(WorkingPipe { requests, responses, peer })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.peer.id()
    }

    /// One request and its answer, eight bytes each, with `time` of work between them.
    pub(crate) fn exchange(&self, time: Duration) -> Result<()> {
        let request = (time.as_nanos() as u64).to_ne_bytes();
        (&self.requests).write_all(&request)?;
        let mut answer = [0; 8];
        (&self.responses).read_exact(&mut answer)?;
        if answer != request {
            return Err("the pipe mixes up its messages".into());
        }
        Ok(())
    }
}

/// The second process: works and answers until its input ends.
pub(crate) fn serve(_: &[String]) -> Result<()> {
    // As files: the standard library buffers and locks standard input and output.
    let mut requests = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut responses = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut request = [0; 8];
    loop {
        match requests.read_exact(&mut request) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        work(Duration::from_nanos(u64::from_ne_bytes(request)));
        responses.write_all(&request)?;
    }
}
