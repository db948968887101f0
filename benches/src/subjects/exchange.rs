//! Two processes that exchange bytes through file descriptors: what pipes and sockets have in common.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::Instant;

use crate::measure::Subject;
use crate::peer::Peer;
use crate::{Result, units};

pub(crate) const PEER: &str = "exchange";

/// What the peer is to do next, followed by how often and with how many bytes.
const ECHO: u64 = 0;
const SWALLOW: u64 = 1;
const COMMAND: usize = 24;

/// What bytes alone do not do.
const NOTE: &str = "no codec, no name, one at a time";

/// Both ends of something that carries bytes each way; the far one is in a second process.
#[derive(Debug)]
pub struct Exchange {
    kind: &'static str,
    requests: File,
    responses: File,
    peer: Peer,
}

impl Exchange {
    /// Starts the second process, which sleeps until there is something to do.
    pub(crate) fn start(
        kind: &'static str,
        requests: OwnedFd,
        responses: OwnedFd,
        input: impl Into<Stdio>,
        output: impl Into<Stdio>,
    ) -> Result<Exchange> {
        let peer = Peer::start(PEER, &[], input, output)?;
        Ok(Exchange { kind, requests: requests.into(), responses: responses.into(), peer })
    }

    /// The second process.
    pub fn peer_id(&self) -> u32 {
        self.peer.id()
    }

    /// `size` bytes (at least 8) there and back; its name is the mechanism and the size: "pipe, 8 B".
    pub fn round_trip(&self, size: usize) -> Subject<'_> {
        let mut bytes = vec![0xa5; size.max(8)];
        let mut answer = bytes.clone();
        let name = format!("{}, {}", self.kind, units::bytes(size));
        let subject = Subject::new(name, NOTE, move |count, timing| {
            self.command(ECHO, count + 1, bytes.len())?;
            let mut exchange = |turn: u64| {
                bytes[..8].copy_from_slice(&turn.to_ne_bytes());
                (&self.requests).write_all(&bytes)?;
                (&self.responses).read_exact(&mut answer)?;
                if answer[..8] != bytes[..8] {
                    return Err("messages are mixed up".into());
                }
                Ok(())
            };
            exchange(0)?; // waits until the peer is awake
            Ok(timing.laps(count, exchange)?.into())
        });
        subject.payload(self.kind, size)
    }

    /// `size` bytes (at least 8) one way, one `write` for each record, and one answer at the end; "pipe, 32 B writes".
    pub fn stream(&self, size: usize) -> Subject<'_> {
        let mut record = vec![0xa5; size.max(8)];
        let name = format!("{}, {} writes", self.kind, units::bytes(size));
        let subject = Subject::new(name, "no codec, no name, one sum at the end", move |count, timing| {
            let start = Instant::now();
            self.command(SWALLOW, count, record.len())?;
            timing.laps(count, |turn| {
                record[..8].copy_from_slice(&turn.to_ne_bytes());
                (&self.requests).write_all(&record)?;
                Ok(())
            })?;
            let mut sum = [0; 8];
            (&self.responses).read_exact(&mut sum)?;
            let elapsed = start.elapsed();
            if u64::from_ne_bytes(sum) != (0..count).sum::<u64>() {
                return Err("records are lost".into());
            }
            Ok(elapsed.into())
        });
        subject.payload(self.kind, size)
    }

    fn command(&self, what: u64, count: u64, size: usize) -> io::Result<()> {
        let mut command = [0; COMMAND];
        for (place, word) in command.chunks_exact_mut(8).zip([what, count, size as u64]) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        (&self.requests).write_all(&command)
    }
}

/// The second process: obeys commands until its input ends.
pub(crate) fn serve(_: &[String]) -> Result<()> {
    // As files: the standard library buffers and locks standard input and output.
    let mut requests = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut responses = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut command = [0; COMMAND];
    loop {
        match requests.read_exact(&mut command) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let word = |place: usize| command[8 * place..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
        let (what, count, size) = (word(0), word(1), usize::try_from(word(2))?);
        if what == ECHO {
            let mut bytes = vec![0; size];
            for _ in 0..count {
                requests.read_exact(&mut bytes)?;
                responses.write_all(&bytes)?;
            }
        } else {
            let sum = swallow(&mut requests, count, size)?;
            responses.write_all(&sum.to_ne_bytes())?;
        }
    }
}

/// Reads `count` records, as many at a time as there are, and adds up their first words.
fn swallow(requests: &mut File, count: u64, size: usize) -> io::Result<u64> {
    let mut buffer = vec![0; size.max(64 * 1024)];
    let mut left = usize::try_from(count).map_err(io::Error::other)? * size;
    let mut filled = 0;
    let mut sum = 0;
    while left > 0 {
        let room = buffer.len().min(filled + left);
        let got = requests.read(&mut buffer[filled..room])?;
        if got == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        left -= got;
        filled += got;
        let whole = filled - filled % size;
        for record in buffer[..whole].chunks_exact(size) {
            sum += record.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
    Ok(sum)
}
