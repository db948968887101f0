//! Keeps the last bytes that a worker has printed.

use std::collections::VecDeque;

/// Holds the last bytes of both streams, in the order in which the library has read them.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: [VecDeque<u8>; 2],
    /// How many bytes are kept of each stream.
    capacity: [usize; 2],
    /// Runs of bytes, from the oldest on: the stream, and how many bytes.
    runs: VecDeque<(usize, usize)>,
    /// `true` once a byte was discarded.
    is_cut: bool,
}

impl Tail {
    /// Sets how many bytes are kept of a stream.
    pub(crate) fn set_capacity(&mut self, stream: usize, bytes: usize) {
        if let Some(capacity) = self.capacity.get_mut(stream) {
            *capacity = bytes;
        }
    }

    /// Appends bytes of a stream, and discards the oldest ones of that stream.
    pub(crate) fn add(&mut self, stream: usize, new: &[u8]) {
        let (Some(kept), Some(&capacity)) = (self.bytes.get_mut(stream), self.capacity.get(stream))
        else {
            return;
        };
        let last = new.get(new.len().saturating_sub(capacity)..).unwrap_or_default();
        let excess = kept.len().saturating_add(last.len()).saturating_sub(capacity);
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

    /// Removes the oldest bytes of a stream from the runs.
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
            // Both neighbours are runs of the other stream: they become one.
            if let (Some((_, next)), true) = (self.runs.get(place).copied(), place > 0) {
                self.runs.remove(place);
                if let Some((_, before)) =
                    place.checked_sub(1).and_then(|place| self.runs.get_mut(place))
                {
                    *before = before.saturating_add(next);
                }
            }
        }
    }

    /// Returns the bytes of both streams as text, with U+FFFD in place of what is not UTF-8.
    pub(crate) fn text(&self) -> String {
        let mut bytes = Vec::new();
        let mut streams = self.bytes.each_ref().map(|stream| stream.iter());
        for (stream, length) in &self.runs {
            if let Some(stream) = streams.get_mut(*stream) {
                bytes.extend(stream.by_ref().take(*length));
            }
        }
        // Skips the rest of a character whose first bytes were discarded.
        let broken = if self.is_cut {
            bytes.iter().take(3).take_while(|byte| (**byte & 0xc0) == 0x80).count()
        } else {
            0
        };
        String::from_utf8_lossy(bytes.get(broken..).unwrap_or_default()).into_owned()
    }
}
