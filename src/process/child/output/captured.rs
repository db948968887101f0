//! Keeps the captured streams of a worker.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::process::child::output::destination::Output;
use crate::process::child::output::reader::Reader;
use crate::process::child::output::source::Source;
use crate::process::child::output::tail::Tail;
use crate::process::descriptors::Descriptor;
use crate::process::descriptors::renumber::move_above_streams;
use crate::sync::lock;

/// Bounds the bytes that are kept for `last_output` of a stream whose lines go to a callback.
const TAIL_OF_LINES: usize = 16 * 1024;
/// Bounds the bytes that are taken out of a pipe at the end of a worker. That is all that a pipe
/// holds; the bound is for a child of the worker that goes on writing.
const MOST_DRAINED: usize = 1 << 20;

/// Holds the descriptors that a worker gets in place of its standard streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// Holds the captured streams of a worker, as its parent keeps them.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    sources: Vec<Arc<Source>>,
    tail: Arc<Mutex<Tail>>,
}

impl Captured {
    /// Makes the pipes that `outputs` need, and has the reader read them. Returns their other ends,
    /// for the worker.
    pub(crate) fn new(outputs: [&Output; 2]) -> io::Result<(Captured, Streams)> {
        let mut captured = Captured::default();
        let mut ends = [None, None];
        for (stream, (output, end)) in outputs.into_iter().zip(&mut ends).enumerate() {
            let (most, lines) = match output {
                Output::Inherit => continue,
                Output::Null => {
                    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
                    *end = Some(move_above_streams(null.into())?);
                    continue;
                }
                Output::Tail(bytes) => (*bytes, None),
                Output::Lines(callback) => (TAIL_OF_LINES, Some(callback.clone())),
            };
            let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            let ours = move_above_streams(ours)?;
            *end = Some(move_above_streams(theirs)?);
            // The parent's end alone is nonblocking: the worker has to wait in its write.
            fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            lock(&captured.tail).set_capacity(stream, most);
            let ours = Descriptor::new(ours)?;
            captured.sources.push(Arc::new(Source::new(
                stream,
                ours,
                lines,
                captured.tail.clone(),
            )));
        }
        if !captured.sources.is_empty() {
            Reader::watch(&captured.sources)?;
        }
        let [stdout, stderr] = ends;
        Ok((captured, Streams { stdout, stderr }))
    }

    /// Takes out of the pipes what the worker has left in them.
    pub(crate) fn drain(&self) {
        if self.sources.is_empty() {
            return;
        }
        for source in &self.sources {
            source.read(MOST_DRAINED);
        }
        // The reader hands the lines over.
        Reader::notify();
    }

    /// Returns the last bytes of the streams, as text.
    pub(crate) fn text(&self) -> String {
        if self.sources.is_empty() { String::new() } else { lock(&self.tail).text() }
    }
}

/// Pairs each descriptor with the number of the standard stream that it replaces.
pub(crate) fn numbered(streams: &Streams) -> impl Iterator<Item = (BorrowedFd<'_>, libc::c_int)> {
    let stdout = streams.stdout.as_ref().map(|fd| (fd.as_fd(), libc::STDOUT_FILENO));
    let stderr = streams.stderr.as_ref().map(|fd| (fd.as_fd(), libc::STDERR_FILENO));
    debug_assert!(stdout.iter().chain(&stderr).all(|(fd, _)| fd.as_raw_fd() > libc::STDERR_FILENO));
    stdout.into_iter().chain(stderr)
}
