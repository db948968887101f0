//! Two processes that exchange bytes through file descriptors, for pipes and sockets alike.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Instant;

use crate::measure::Subject;
use crate::peer::{Peer, input_and_output, read_or_end};
use crate::{Result, units};

pub(crate) const PEER: &str = "exchange";

/// Commands the peer to send records back. A command is followed by the number of records and their
/// size.
const ECHO: u64 = 0;
/// Commands the peer to add up the first words of records, and to send the sum.
const SWALLOW: u64 = 1;
/// Counts the bytes of a command.
const COMMAND: usize = 24;

/// Says what bytes alone do not do.
const NOTE: &str = "no codec, no name, one at a time";

/// The near ends of something that carries bytes each way, and the second process at the far ends.
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

    /// Returns the id of the second process.
    pub fn peer_id(&self) -> u32 {
        self.peer.id()
    }

    /// Sends `size` bytes (at least 8) there and back. The mechanism and the size name the subject:
    /// "pipe, 8 B".
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

    /// Sends `size` bytes (at least 8) one way, one `write` for each record, and waits for one
    /// answer at the end: "pipe, 32 B writes".
    pub fn stream(&self, size: usize) -> Subject<'_> {
        let mut record = vec![0xa5; size.max(8)];
        let name = format!("{}, {} writes", self.kind, units::bytes(size));
        let subject =
            Subject::new(name, "no codec, no name, one sum at the end", move |count, timing| {
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

/// Runs in the second process: obeys commands until its input ends.
pub(crate) fn serve(_: &[String]) -> Result<()> {
    let (mut requests, mut responses) = input_and_output()?;
    let mut command = [0; COMMAND];
    while read_or_end(&mut requests, &mut command)? {
        let word = |place: usize| {
            command[8 * place..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
        };
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
    Ok(())
}

/// Reads `count` records, as many at a time as have arrived, and adds up their first words.
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
