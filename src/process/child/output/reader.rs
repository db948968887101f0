//! Runs the reader: the thread that reads the captured streams of all workers.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::{Arc, Mutex};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::process::child::output::source::Source;
use crate::process::descriptors::poller::{NOTIFIED, Poller};
use crate::sync::lock;
use crate::sync::own::Own;

/// Holds what the reader thread shares with other threads.
pub(crate) struct Reader {
    /// The process that the thread runs in.
    process: u32,
    poller: Poller,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    /// The key of the last source.
    last_key: u64,
    /// The sources of which not everything was handed over yet.
    unfinished: HashMap<u64, Arc<Source>>,
}

/// Returns where the reader of this process is kept, if there is one.
fn reader_slot() -> &'static Mutex<Option<Arc<Reader>>> {
    static SLOT: Own<Mutex<Option<Arc<Reader>>>> = Own::new();
    SLOT.get()
}

impl Reader {
    /// Has sources read, by the present reader or by a new one.
    pub(crate) fn watch(sources: &[Arc<Source>]) -> io::Result<()> {
        let mut current = lock(reader_slot());
        if let Some(inherited) = current.take_if(|reader| reader.process != std::process::id()) {
            // The reader of the process that this one is a bare clone of: see the watcher.
            std::mem::forget(inherited);
        }
        // If the program has closed descriptors of a reader, that reader gives up by itself.
        current.take_if(|reader| !reader.poller.is_intact());
        let reader = match &*current {
            Some(reader) => reader.clone(),
            None => {
                let reader = Arc::new(Reader {
                    process: std::process::id(),
                    poller: Poller::new()?,
                    sources: Mutex::default(),
                });
                let thread = reader.clone();
                std::thread::Builder::new()
                    .name("coprocess-output".to_owned())
                    .spawn(move || thread.run())?;
                *current = Some(reader.clone());
                reader
            }
        };
        let mut all = lock(&reader.sources);
        let mut added = Ok(());
        for source in sources {
            all.last_key = all.last_key.saturating_add(1);
            let key = all.last_key;
            let pipe = lock(&source.pipe);
            let end = pipe.end.as_ref().map(AsFd::as_fd);
            added = end.map_or(Ok(()), |end| reader.poller.add(end, EpollFlags::EPOLLIN, key));
            drop(pipe);
            if added.is_err() {
                break;
            }
            all.unfinished.insert(key, source.clone());
        }
        drop((all, current));
        // Also after a failure: the reader then finds the ends of the added sources, or nothing to
        // do.
        reader.poller.notify();
        added
    }

    /// Makes the reader look at all sources.
    pub(crate) fn notify() {
        if let Some(reader) = &*lock(reader_slot())
            && reader.process == std::process::id()
        {
            reader.poller.notify();
        }
    }

    /// Reads until no source is left, or the poller is lost.
    fn run(&self) {
        loop {
            let mut events = [EpollEvent::empty(); 16];
            // The program has closed the poller: nothing can be read any more.
            let Ok(count) = self.poller.wait(&mut events, None) else { return self.give_up() };
            let mut everything = false;
            for event in events.iter().take(count) {
                if event.data() == NOTIFIED {
                    everything = true;
                    self.poller.drain_notifications();
                } else {
                    self.serve(event.data());
                }
            }
            if everything {
                let keys: Vec<u64> = lock(&self.sources).unfinished.keys().copied().collect();
                keys.into_iter().for_each(|key| self.serve(key));
            }
            // The order of the locks is that of `watch`.
            let mut current = lock(reader_slot());
            if lock(&self.sources).unfinished.is_empty() {
                self.leave(&mut current);
                return;
            }
        }
    }

    /// Empties the slot, unless another reader has taken it already.
    fn leave(&self, current: &mut Option<Arc<Reader>>) {
        current.take_if(|current| ptr::eq(&raw const **current, self));
    }

    /// Reads a chunk of a source, and hands over its lines.
    fn serve(&self, key: u64) {
        let Some(source) = lock(&self.sources).unfinished.get(&key).cloned() else { return };
        source.read(1);
        if source.deliver() {
            if let Some(end) = lock(&source.pipe).end.take() {
                // Removed explicitly: a child of a plain fork(2) may hold a copy, and then closing
                // alone would leave the descriptor in the epoll.
                self.poller.remove(end.as_fd());
            }
            let removed = lock(&self.sources).unfinished.remove(&key);
            drop(removed);
        }
    }

    /// Closes all pipes, so that a worker that writes gets SIGPIPE, rather than wait for ever.
    fn give_up(&self) {
        let mut current = lock(reader_slot());
        let all = std::mem::take(&mut lock(&self.sources).unfinished);
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
