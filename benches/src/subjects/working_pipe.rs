//! A pair of pipes whose second process works for the time that a request names, then answers.

use std::io::{self, Read, Write};
use std::time::Duration;

use crate::Result;
use crate::peer::{Peer, input_and_output, read_or_end};
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

    /// Exchanges one request and its answer, eight bytes each, with `time` of work between them.
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

/// Runs in the second process: works and answers until its input ends.
pub(crate) fn serve(_: &[String]) -> Result<()> {
    let (mut requests, mut responses) = input_and_output()?;
    let mut request = [0; 8];
    while read_or_end(&mut requests, &mut request)? {
        work(Duration::from_nanos(u64::from_ne_bytes(request)));
        responses.write_all(&request)?;
    }
    Ok(())
}
