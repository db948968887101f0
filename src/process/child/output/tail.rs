//! The last bytes of the streams of a worker.

use std::collections::VecDeque;

/// The last bytes of both streams, in the order in which they were read.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: [VecDeque<u8>; 2],
    pub(crate) most: [usize; 2],
    /// Of which stream, and how many, from the oldest on.
    runs: VecDeque<(usize, usize)>,
    /// Bytes were let go of.
    is_cut: bool,
}

impl Tail {
    pub(crate) fn add(&mut self, stream: usize, new: &[u8]) {
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

    pub(crate) fn text(&self) -> String {
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
