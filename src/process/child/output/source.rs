//! Reads one captured stream of a worker.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::process::child::output::tail::Tail;
use crate::process::descriptors::Descriptor;
use crate::sync::lock;
use crate::sync::user_panic::catch_user_panic;

/// Sizes the buffer that output is read into, in bytes.
const CHUNK: usize = 16 * 1024;
/// Bounds a line, in bytes. A longer line is handed over in pieces of at most this size.
const LONGEST_LINE: usize = 64 * 1024;

type Callback = Arc<dyn Fn(&str) + Send + Sync>;

/// Reads one captured stream of a worker.
pub(crate) struct Source {
    stream: usize,
    tail: Arc<Mutex<Tail>>,
    pub(crate) pipe: Mutex<Pipe>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Holds what the lock of a stream protects.
pub(crate) struct Pipe {
    /// The parent's end. The reader polls this descriptor, and only the reader removes and closes
    /// it.
    pub(crate) end: Option<Descriptor>,
    /// `true` once everything was read.
    pub(crate) is_finished: bool,
    /// The callback for each line. `None` after the last line.
    lines: Option<Callback>,
    /// Bytes that were read, and not handed over yet.
    undelivered: VecDeque<u8>,
}

impl Source {
    /// Makes the stream of this number, zero for standard output and one for standard error.
    pub(crate) fn new(
        stream: usize,
        end: Descriptor,
        lines: Option<Callback>,
        tail: Arc<Mutex<Tail>>,
    ) -> Source {
        let pipe = Mutex::new(Pipe {
            end: Some(end),
            is_finished: false,
            lines,
            undelivered: VecDeque::new(),
        });
        Source { stream, tail, pipe }
    }

    /// Reads what is in the pipe, without waiting: at most about `most` bytes.
    pub(crate) fn read(&self, most: usize) {
        let mut pipe = lock(&self.pipe);
        let mut chunk = [0; CHUNK];
        let mut total = 0_usize;
        while total < most && !pipe.is_finished {
            let Some(end) = &pipe.end else { return };
            if !end.is_intact() {
                // The program has closed the descriptor, and another file may have its number.
                pipe.is_finished = true;
                return;
            }
            match nix::unistd::read(end, &mut chunk) {
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return,
                // No other error is to be expected of a pipe. After one, the pipe cannot be read.
                Ok(0) | Err(_) => pipe.is_finished = true,
                Ok(count) => {
                    let new = chunk.get(..count).unwrap_or_default();
                    lock(&self.tail).add(self.stream, new);
                    if pipe.lines.is_some() {
                        pipe.undelivered.extend(new);
                    }
                    total = total.saturating_add(count);
                }
            }
        }
    }

    /// Hands over all complete lines. Returns `true` if nothing will follow.
    pub(crate) fn deliver(&self) -> bool {
        loop {
            let mut pipe = lock(&self.pipe);
            let Some(callback) = pipe.lines.clone() else { return pipe.is_finished };
            let newline =
                pipe.undelivered.iter().take(LONGEST_LINE + 1).position(|byte| *byte == b'\n');
            let length = match newline {
                Some(length) => length,
                None if pipe.undelivered.len() > LONGEST_LINE => {
                    whole_characters(&pipe.undelivered)
                }
                None if !pipe.is_finished => return false,
                None if pipe.undelivered.is_empty() => {
                    pipe.lines = None;
                    drop(pipe);
                    // Dropping the callback runs code of the user's: it drops captured values.
                    catch_user_panic(|| drop(callback));
                    return true;
                }
                None => pipe.undelivered.len(),
            };
            let line: Vec<u8> = pipe.undelivered.drain(..length).collect();
            if newline.is_some() {
                pipe.undelivered.pop_front();
            }
            // Released: the callback is code of the user's, and the watcher must not wait for it.
            drop(pipe);
            catch_user_panic(|| callback(&String::from_utf8_lossy(&line)));
        }
    }
}

/// Returns how many of the first bytes make a piece that does not end within a character.
fn whole_characters(bytes: &VecDeque<u8>) -> usize {
    let is_start = |length: &usize| bytes.get(*length).is_none_or(|byte| (*byte & 0xc0) != 0x80);
    // Not further back than a character can reach: the bytes may be no text at all.
    (LONGEST_LINE.saturating_sub(3)..=LONGEST_LINE).rev().find(is_start).unwrap_or(LONGEST_LINE)
}
