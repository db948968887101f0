//! A pair of pipes: what a program without shared memory would use, at its barest (no codec, no names).

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::Instant;

use crate::report::Role;
use crate::{Result, Sample, Subject, host};

/// What the peer is to do next, followed by how often.
const ECHO: u64 = 0;
const SWALLOW: u64 = 1;

/// Bytes of one record that is written one way, as large as the event it is compared with.
const RECORD: usize = 32;

pub(crate) struct Pipe {
    requests: io::PipeWriter,
    responses: io::PipeReader,
    child: Child,
}

impl Pipe {
    /// Starts the second process, which sleeps until there is something to do.
    pub(crate) fn start() -> Result<Pipe> {
        let (theirs, requests) = io::pipe()?;
        let (responses, back) = io::pipe()?;
        let child = Command::new("/proc/self/exe").args(["--peer", "pipe"]).stdin(theirs).stdout(back).spawn()?;
        Ok(Pipe { requests, responses, child })
    }

    pub(crate) fn peer_id(&self) -> u32 {
        self.child.id()
    }

    /// Eight bytes there and back; with `move_to`, while the peer is on the first CPU instead of the second.
    pub(crate) fn round_trip(&self, name: &str, move_to: Option<(usize, usize)>) -> Subject<'_> {
        let run = move |count: u64| {
            if let Some((near, _)) = move_to {
                host::pin(self.peer_id(), near)?;
            }
            self.command(ECHO, count + 1)?;
            self.exchange(0)?; // waits until the peer is awake
            let start = Instant::now();
            for turn in 0..count {
                self.exchange(turn)?;
            }
            let elapsed = start.elapsed();
            if let Some((_, far)) = move_to {
                host::pin(self.peer_id(), far)?;
            }
            Ok(Sample { elapsed, waits: None })
        };
        Subject { name: name.to_owned(), role: Role::PipeRoundTrip, run: Box::new(run) }
    }

    /// One `write` for each record, one answer at the end.
    pub(crate) fn stream(&self) -> Subject<'_> {
        let run = move |count: u64| {
            let start = Instant::now();
            self.command(SWALLOW, count)?;
            let mut record = [0; RECORD];
            for turn in 0..count {
                record[..8].copy_from_slice(&turn.to_ne_bytes());
                (&self.requests).write_all(&record)?;
            }
            let mut sum = [0; 8];
            (&self.responses).read_exact(&mut sum)?;
            let elapsed = start.elapsed();
            if u64::from_ne_bytes(sum) != (0..count).sum() {
                return Err("the pipe lost records".into());
            }
            Ok(Sample { elapsed, waits: None })
        };
        Subject { name: format!("pipe, {RECORD}-byte writes one way, per write"), role: Role::PipeStream, run: Box::new(run) }
    }

    fn command(&self, what: u64, count: u64) -> io::Result<()> {
        let mut command = [0; 16];
        command[..8].copy_from_slice(&what.to_ne_bytes());
        command[8..].copy_from_slice(&count.to_ne_bytes());
        (&self.requests).write_all(&command)
    }

    fn exchange(&self, value: u64) -> Result<()> {
        (&self.requests).write_all(&value.to_ne_bytes())?;
        let mut answer = [0; 8];
        (&self.responses).read_exact(&mut answer)?;
        if u64::from_ne_bytes(answer) != value {
            return Err("the pipe mixes up its messages".into());
        }
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The second process: obeys commands until its input ends.
pub(crate) fn serve() -> Result<()> {
    // As files: the standard library buffers and locks standard input and output.
    let mut requests = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut responses = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut command = [0; 16];
    loop {
        match requests.read_exact(&mut command) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let [what, count] = bytes_to_words(command);
        if what == ECHO {
            let mut value = [0; 8];
            for _ in 0..count {
                requests.read_exact(&mut value)?;
                responses.write_all(&value)?;
            }
        } else {
            let sum = swallow(&mut requests, count)?;
            responses.write_all(&sum.to_ne_bytes())?;
        }
    }
}

/// Reads `count` records, as many at a time as there are, and adds up their first words.
fn swallow(requests: &mut File, count: u64) -> io::Result<u64> {
    let mut buffer = [0; 64 * 1024];
    let mut left = usize::try_from(count).map_err(io::Error::other)? * RECORD;
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
        let whole = filled - filled % RECORD;
        for record in buffer[..whole].chunks_exact(RECORD) {
            sum += record.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
    Ok(sum)
}

fn bytes_to_words(bytes: [u8; 16]) -> [u64; 2] {
    let whole = u128::from_le_bytes(bytes);
    [whole as u64, (whole >> 64) as u64].map(u64::from_le)
}
