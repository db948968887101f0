//! What was captured of a worker.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::process::child::output::Output;
use crate::process::child::output::reader::Reader;
use crate::process::child::output::source::Source;
use crate::process::child::output::tail::Tail;
use crate::process::descriptors::{Descriptor, above_streams};
use crate::sync::lock;

/// What is kept for `last_output` of a stream whose lines go to a callback.
const TAIL_OF_LINES: usize = 16 * 1024;
/// At the end of a worker at most this much is taken out of a pipe: all that a pipe holds, unless a child of the worker's goes on writing to it.
const MOST_LEFT: usize = 1 << 20;

/// The ends that a worker gets in place of its standard streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// What was captured of a worker.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    sources: Vec<Arc<Source>>,
    tail: Arc<Mutex<Tail>>,
}

impl Captured {
    /// Makes what the streams need, and has it read.
    pub(crate) fn new(outputs: [&Output; 2]) -> io::Result<(Captured, Streams)> {
        let mut captured = Captured::default();
        let mut ends = [None, None];
        for (stream, (output, end)) in outputs.into_iter().zip(&mut ends).enumerate() {
            let (most, lines) = match output {
                Output::Inherit => continue,
                Output::Null => {
                    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
                    *end = Some(above_streams::moved(null.into())?);
                    continue;
                }
                Output::Tail(bytes) => (*bytes, None),
                Output::Lines(callback) => (TAIL_OF_LINES, Some(callback.clone())),
            };
            let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            let ours = above_streams::moved(ours)?;
            *end = Some(above_streams::moved(theirs)?);
            // The end of one's own alone: the worker is to wait in its write.
            fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            if let Some(place) = lock(&captured.tail).most.get_mut(stream) {
                *place = most;
            }
            let ours = Descriptor::new(ours)?;
            captured.sources.push(Arc::new(Source::new(stream, ours, lines, captured.tail.clone())));
        }
        if !captured.sources.is_empty() {
            Reader::watch(&captured.sources)?;
        }
        let [stdout, stderr] = ends;
        Ok((captured, Streams { stdout, stderr }))
    }

    /// Takes out of the pipes what the worker has left in them.
    pub(crate) fn settle(&self) {
        if self.sources.is_empty() {
            return;
        }
        for source in &self.sources {
            source.read(MOST_LEFT);
        }
        // Lines are handed over by the thread that reads.
        Reader::look_again();
    }

    pub(crate) fn text(&self) -> String {
        if self.sources.is_empty() { String::new() } else { lock(&self.tail).text() }
    }
}

/// The standard streams of a [`Command`](std::process::Command), or file actions, by number.
pub(crate) fn numbered(streams: &Streams) -> impl Iterator<Item = (BorrowedFd<'_>, libc::c_int)> {
    let stdout = streams.stdout.as_ref().map(|fd| (fd.as_fd(), libc::STDOUT_FILENO));
    let stderr = streams.stderr.as_ref().map(|fd| (fd.as_fd(), libc::STDERR_FILENO));
    debug_assert!(stdout.iter().chain(&stderr).all(|(fd, _)| fd.as_raw_fd() > libc::STDERR_FILENO));
    stdout.into_iter().chain(stderr)
}
