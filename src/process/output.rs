//! What a worker prints, where the program wants to have it: a pipe for each stream, read by one thread of the library for all workers.
//!
//! The thread starts with the first pipe and ends with the last. Whatever a worker has written before its end is taken out of its pipes by the process watcher
//! before anything is told of the end: the thread may be busy in a callback.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::process::Descriptor;
use crate::process::above_streams;
use crate::process::ears::{BELL, Ears};
use crate::sync::lock;
use crate::sync::own::Own;
use crate::sync::user_panic::contain;

/// What a piece of output is read into.
const CHUNK: usize = 16 * 1024;
/// Text without an end of line is handed over in pieces of at most this many bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// What is kept for `last_output` of a stream whose lines go to a callback.
const TAIL_OF_LINES: usize = 16 * 1024;
/// At the end of a worker at most this much is taken out of a pipe: all that a pipe holds, unless a child of the worker's goes on writing to it.
const MOST_LEFT: usize = 1 << 20;

type Callback = Arc<dyn Fn(&str) + Send + Sync>;

/// What becomes of a standard stream of a worker: for [`Builder::stdout`](crate::Builder::stdout) and [`stderr`](crate::Builder::stderr).
///
/// `Tail` and `Lines` are pipes, read by one thread of the library for all workers of the process. A worker that writes faster than they are read waits in its write.
/// What children of the worker print goes there, too, also after its end, until the last of them has closed the stream.
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
/// use coprocess::{Builder, Output};
///
/// # coprocess::init();
/// let co = Builder::new()
///     .stdout(Output::Lines(Arc::new(|line| println!("worker: {line}"))))
///     .stderr(Output::Tail(4096))
///     .fork(|co| {
///         co.listen("fail", |()| panic!("as it was told"));
///     })?;
/// # Ok::<(), coprocess::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Output {
    /// The parent's own stream; with [`spawn`](crate::Builder::spawn), that of the [`Command`](std::process::Command).
    #[default]
    Inherit,
    /// It is thrown away.
    Null,
    /// The last bytes, at most this many, are kept for [`last_output`](crate::Coprocess::last_output).
    Tail(usize),
    /// Each line is handed to a callback, on a thread of the library: without its newline, and with U+FFFD in place of what is not UTF-8. A line of more than
    /// 64 KiB comes in pieces; what follows the last newline comes at the end of the output.
    ///
    /// As long as a callback runs, nothing else is read of any worker of this process: hand over what takes long. A panic of it is contained. The last
    /// 16 KiB are kept for [`last_output`](crate::Coprocess::last_output), too.
    Lines(Arc<dyn Fn(&str) + Send + Sync>),
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Inherit => f.write_str("Inherit"),
            Output::Null => f.write_str("Null"),
            Output::Tail(bytes) => f.debug_tuple("Tail").field(bytes).finish(),
            Output::Lines(_) => f.write_str("Lines(..)"),
        }
    }
}

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
    kept: Arc<Mutex<Kept>>,
}

/// The last bytes of both streams, in the order in which they were read.
#[derive(Debug, Default)]
struct Kept {
    bytes: [VecDeque<u8>; 2],
    most: [usize; 2],
    /// Of which stream, and how many, from the oldest on.
    runs: VecDeque<(usize, usize)>,
    /// Bytes were let go of.
    is_cut: bool,
}

impl Kept {
    fn add(&mut self, stream: usize, new: &[u8]) {
        let (Some(kept), Some(&most)) = (self.bytes.get_mut(stream), self.most.get(stream)) else { return };
        let last = new.get(new.len().saturating_sub(most)..).unwrap_or_default();
        let excess = kept.len().saturating_add(last.len()).saturating_sub(most);
        self.is_cut |= excess > 0 || last.len() < new.len();
        if last.is_empty() {
            return;
        }
        kept.drain(..excess);
        kept.extend(last);
        match self.runs.back_mut() {
            Some((of, length)) if *of == stream => *length = length.saturating_add(last.len()),
            _ => self.runs.push_back((stream, last.len())),
        }
        self.shorten(stream, excess);
    }

    /// Takes the oldest bytes of a stream out of the account.
    fn shorten(&mut self, stream: usize, mut excess: usize) {
        while excess > 0 {
            let Some(place) = self.runs.iter().position(|(of, _)| *of == stream) else { return };
            let Some((_, length)) = self.runs.get_mut(place) else { return };
            let taken = excess.min(*length);
            *length = length.saturating_sub(taken);
            excess = excess.saturating_sub(taken);
            if *length > 0 {
                return;
            }
            self.runs.remove(place);
            // Its neighbours are of the other stream both.
            if let (Some((_, next)), true) = (self.runs.get(place).copied(), place > 0) {
                self.runs.remove(place);
                if let Some((_, before)) = place.checked_sub(1).and_then(|place| self.runs.get_mut(place)) {
                    *before = before.saturating_add(next);
                }
            }
        }
    }

    fn text(&self) -> String {
        let mut bytes = Vec::new();
        let mut streams = self.bytes.each_ref().map(|stream| stream.iter());
        for (stream, length) in &self.runs {
            if let Some(stream) = streams.get_mut(*stream) {
                bytes.extend(stream.by_ref().take(*length));
            }
        }
        // What is left of a character whose beginning was let go of.
        let broken = if self.is_cut { bytes.iter().take(3).take_while(|byte| (**byte & 0xc0) == 0x80).count() } else { 0 };
        String::from_utf8_lossy(bytes.get(broken..).unwrap_or_default()).into_owned()
    }
}

/// One stream of a worker.
struct Source {
    stream: usize,
    kept: Arc<Mutex<Kept>>,
    pipe: Mutex<Pipe>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("stream", &self.stream).finish_non_exhaustive()
    }
}

struct Pipe {
    /// In the set of descriptors of the thread that reads, which alone takes it out and closes it.
    end: Option<Descriptor>,
    /// Everything was read.
    is_finished: bool,
    /// To be called with each line; until the last.
    lines: Option<Callback>,
    /// Read, and not handed over yet.
    undelivered: VecDeque<u8>,
}

impl Source {
    /// Reads what is there, without waiting, but not more than about `most`.
    fn read(&self, most: usize) {
        let mut pipe = lock(&self.pipe);
        let mut chunk = [0; CHUNK];
        let mut total = 0_usize;
        while total < most && !pipe.is_finished {
            let Some(end) = &pipe.end else { return };
            if !end.is_intact() {
                // The program has closed it, and another file may have its number.
                pipe.is_finished = true;
                return;
            }
            match nix::unistd::read(end, &mut chunk) {
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return,
                // Of a pipe of one's own nothing else is to be expected; it cannot be read any more then.
                Ok(0) | Err(_) => pipe.is_finished = true,
                Ok(count) => {
                    let new = chunk.get(..count).unwrap_or_default();
                    lock(&self.kept).add(self.stream, new);
                    if pipe.lines.is_some() {
                        pipe.undelivered.extend(new);
                    }
                    total = total.saturating_add(count);
                }
            }
        }
    }

    /// Hands over all lines that are complete. Returns whether nothing will follow.
    fn deliver(&self) -> bool {
        loop {
            let mut pipe = lock(&self.pipe);
            let Some(callback) = pipe.lines.clone() else { return pipe.is_finished };
            let newline = pipe.undelivered.iter().take(LONGEST_LINE + 1).position(|byte| *byte == b'\n');
            let length = match newline {
                Some(length) => length,
                None if pipe.undelivered.len() > LONGEST_LINE => whole_characters(&pipe.undelivered),
                None if !pipe.is_finished => return false,
                None if pipe.undelivered.is_empty() => {
                    pipe.lines = None;
                    drop(pipe);
                    // What it has captured is the user's, too.
                    contain(|| drop(callback));
                    return true;
                }
                None => pipe.undelivered.len(),
            };
            let line: Vec<u8> = pipe.undelivered.drain(..length).collect();
            if newline.is_some() {
                pipe.undelivered.pop_front();
            }
            // The user's code; also, the watcher must not wait for it.
            drop(pipe);
            contain(|| callback(&String::from_utf8_lossy(&line)));
        }
    }
}

/// How many of the first bytes make a piece that does not end within a character.
fn whole_characters(bytes: &VecDeque<u8>) -> usize {
    let is_start = |length: &usize| bytes.get(*length).is_none_or(|byte| (*byte & 0xc0) != 0x80);
    // Not further back than a character can reach: it may be no text at all.
    (LONGEST_LINE.saturating_sub(3)..=LONGEST_LINE).rev().find(is_start).unwrap_or(LONGEST_LINE)
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
            if let Some(place) = lock(&captured.kept).most.get_mut(stream) {
                *place = most;
            }
            let ours = Descriptor::new(ours)?;
            let pipe = Mutex::new(Pipe { end: Some(ours), is_finished: false, lines, undelivered: VecDeque::new() });
            captured.sources.push(Arc::new(Source { stream, kept: captured.kept.clone(), pipe }));
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
        if self.sources.is_empty() { String::new() } else { lock(&self.kept).text() }
    }
}

/// The thread that reads.
struct Reader {
    process: u32,
    ears: Ears,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    next: u64,
    /// Those of which not everything was handed over yet.
    read: HashMap<u64, Arc<Source>>,
}

/// The reader of this process.
fn place() -> &'static Mutex<Option<Arc<Reader>>> {
    static PLACE: Own<Mutex<Option<Arc<Reader>>>> = Own::new();
    PLACE.get()
}

impl Reader {
    /// Has these read, by the thread that is there, or by a new one.
    fn watch(sources: &[Arc<Source>]) -> io::Result<()> {
        let mut current = lock(place());
        if let Some(inherited) = current.take_if(|reader| reader.process != std::process::id()) {
            // Of a clone's parent, as with the watcher.
            std::mem::forget(inherited);
        }
        // If the program has closed the descriptors of a reader, that one gives up by itself.
        current.take_if(|reader| !reader.ears.are_intact());
        let reader = match &*current {
            Some(reader) => reader.clone(),
            None => {
                let reader = Arc::new(Reader { process: std::process::id(), ears: Ears::new()?, sources: Mutex::default() });
                let thread = reader.clone();
                std::thread::Builder::new().name("coprocess-output".to_owned()).spawn(move || thread.run())?;
                *current = Some(reader.clone());
                reader
            }
        };
        let mut all = lock(&reader.sources);
        let mut added = Ok(());
        for source in sources {
            all.next = all.next.saturating_add(1);
            let key = all.next;
            let pipe = lock(&source.pipe);
            let end = pipe.end.as_ref().map(AsFd::as_fd);
            added = end.map_or(Ok(()), |end| reader.ears.add(end, EpollFlags::EPOLLIN, key));
            drop(pipe);
            if added.is_err() {
                break;
            }
            all.read.insert(key, source.clone());
        }
        drop((all, current));
        // If it failed the thread finds the ends of those that were added, or that it has nothing to do.
        reader.ears.ring();
        added
    }

    fn look_again() {
        if let Some(reader) = &*lock(place())
            && reader.process == std::process::id()
        {
            reader.ears.ring();
        }
    }

    fn run(&self) {
        loop {
            let mut events = [EpollEvent::empty(); 16];
            // Without its descriptors there is nothing left to read by.
            let Ok(count) = self.ears.listen(&mut events, None) else { return self.give_up() };
            let mut everything = false;
            for event in events.iter().take(count) {
                if event.data() == BELL {
                    everything = true;
                    self.ears.hush();
                } else {
                    self.serve(event.data());
                }
            }
            if everything {
                let keys: Vec<u64> = lock(&self.sources).read.keys().copied().collect();
                keys.into_iter().for_each(|key| self.serve(key));
            }
            // The order of the locks is that of `watch`.
            let mut current = lock(place());
            if lock(&self.sources).read.is_empty() {
                self.leave(&mut current);
                return;
            }
        }
    }

    /// Leaves its place, unless another reader has it already.
    fn leave(&self, current: &mut Option<Arc<Reader>>) {
        current.take_if(|current| ptr::eq(&raw const **current, self));
    }

    /// Reads a chunk of a stream, and hands it over.
    fn serve(&self, key: u64) {
        let Some(source) = lock(&self.sources).read.get(&key).cloned() else { return };
        source.read(1);
        if source.deliver() {
            if let Some(end) = lock(&source.pipe).end.take() {
                // A child of a plain fork(2) may hold a copy of it: closing alone would not take it out of the set.
                self.ears.remove(end.as_fd());
            }
            let removed = lock(&self.sources).read.remove(&key);
            drop(removed);
        }
    }

    /// Closes all pipes: a worker gets SIGPIPE rather than waiting for ever.
    fn give_up(&self) {
        let mut current = lock(place());
        let all = std::mem::take(&mut lock(&self.sources).read);
        self.leave(&mut current);
        drop(current);
        for source in all.into_values() {
            let mut pipe = lock(&source.pipe);
            (pipe.end, pipe.is_finished) = (None, true);
            drop(pipe);
            source.deliver();
        }
    }
}

/// The standard streams of a [`Command`](std::process::Command), or file actions, by number.
pub(crate) fn numbered(streams: &Streams) -> impl Iterator<Item = (BorrowedFd<'_>, libc::c_int)> {
    let stdout = streams.stdout.as_ref().map(|fd| (fd.as_fd(), libc::STDOUT_FILENO));
    let stderr = streams.stderr.as_ref().map(|fd| (fd.as_fd(), libc::STDERR_FILENO));
    debug_assert!(stdout.iter().chain(&stderr).all(|(fd, _)| fd.as_raw_fd() > libc::STDERR_FILENO));
    stdout.into_iter().chain(stderr)
}
