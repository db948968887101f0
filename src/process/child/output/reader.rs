//! The thread that reads.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::{Arc, Mutex};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::process::Own;
use crate::process::child::output::source::Source;
use crate::process::descriptors::poller::{BELL, Ears};
use crate::sync::lock;

/// The thread that reads.
pub(crate) struct Reader {
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
    pub(crate) fn watch(sources: &[Arc<Source>]) -> io::Result<()> {
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

    pub(crate) fn look_again() {
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
