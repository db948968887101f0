//! Merges the kinds of two values of one type into all that either of them shows.

use crate::types::kinds;
use crate::types::kinds::{Cursor, MAX_NESTING};

/// Merges the kinds of two values, which follow each other to the end of the buffer. The first
/// starts at `first`, the second at `second`.
///
/// Returns `false` if the values are not of one type. Then the kinds become unknown.
pub(crate) fn merge(buffer: &mut Vec<u8>, first: usize, second: usize) -> bool {
    let (one, other) = buffer.split_at(second);
    if one.get(first..) == Some(other) {
        buffer.truncate(second);
        return true;
    }
    let merged = buffer.len();
    let mut merging = Merging { buffer, first, second };
    if merging.value(MAX_NESTING).is_none() {
        buffer.truncate(first);
        buffer.push(kinds::UNKNOWN);
        return false;
    }
    buffer.drain(first..merged);
    true
}

/// Holds the positions in two values. The merged kinds are appended to the buffer of both.
struct Merging<'b> {
    buffer: &'b mut Vec<u8>,
    first: usize,
    second: usize,
}

impl Merging<'_> {
    fn cursors(&self) -> (Cursor<'_>, Cursor<'_>) {
        (Cursor::new(self.buffer, self.first), Cursor::new(self.buffer, self.second))
    }

    /// Copies the bytes between two places to the end of the buffer.
    fn copy(&mut self, from: usize, to: usize) {
        self.buffer.extend_from_within(from..to);
    }

    /// Merges one value. Returns `None` if the two are of different types.
    fn value(&mut self, left: u32) -> Option<()> {
        let left = left.checked_sub(1)?;
        let (mut first, mut second) = self.cursors();
        let kind = match (first.byte()?, second.byte()?) {
            (kinds::UNKNOWN, _) => {
                let from = self.second;
                second.skip_from(from)?;
                (self.first, self.second) = (first.at(), second.at());
                self.copy(from, self.second);
                return Some(());
            }
            (_, kinds::UNKNOWN) => {
                let from = self.first;
                first.skip_from(from)?;
                (self.first, self.second) = (first.at(), second.at());
                self.copy(from, self.first);
                return Some(());
            }
            (one, other) if one == other => one,
            _ => return None,
        };
        match kind {
            kinds::OPTION | kinds::SEQUENCE => {
                self.step(1);
                self.value(left)
            }
            kinds::MAP => {
                self.step(1);
                self.value(left)?;
                self.value(left)
            }
            kinds::TUPLE => {
                let length = first.number()?;
                self.same(first.at())?;
                (0..length).try_for_each(|_| self.value(left))
            }
            kinds::STRUCT => {
                first.name()?;
                let length = first.number()?;
                self.same(first.at())?;
                (0..length).try_for_each(|_| {
                    let (mut field, _) = self.cursors();
                    field.name()?;
                    let end = field.at();
                    self.same(end)?;
                    self.value(left)
                })
            }
            kinds::NEWTYPE => {
                first.name()?;
                self.same(first.at())?;
                self.value(left)
            }
            kinds::ENUM => {
                first.name()?;
                self.same(first.at())?;
                self.variants(left)
            }
            // A value that holds no other values.
            _ => {
                first.skip_from(self.first)?;
                self.same(first.at())
            }
        }
    }

    /// Copies so many bytes, which are equal in both.
    fn step(&mut self, bytes: usize) {
        let from = self.first;
        self.first = self.first.saturating_add(bytes);
        self.second = self.second.saturating_add(bytes);
        self.copy(from, self.first);
    }

    /// Copies the bytes of the first up to this place, if the second has equal bytes.
    fn same(&mut self, to: usize) -> Option<()> {
        let bytes = to.checked_sub(self.first)?;
        let end = self.second.saturating_add(bytes);
        if self.buffer.get(self.first..to)? != self.buffer.get(self.second..end)? {
            return None;
        }
        self.step(bytes);
        Some(())
    }

    /// Merges the variants of an enum: those of both values, ordered by index.
    fn variants(&mut self, left: u32) -> Option<()> {
        let (mut first, mut second) = self.cursors();
        let (mut one, mut other) = (first.number()?, second.number()?);
        (self.first, self.second) = (first.at(), second.at());
        // The number of variants is known only at the end.
        let count_at = self.buffer.len();
        let mut count = 0_u32;
        while one > 0 || other > 0 {
            let (mut first, mut second) = self.cursors();
            let index = |there: u32, cursor: &mut Cursor<'_>| {
                if there > 0 { cursor.number() } else { Some(u32::MAX) }
            };
            let (of_first, of_second) = (index(one, &mut first)?, index(other, &mut second)?);
            count = count.saturating_add(1);
            if one > 0 && (other == 0 || of_first < of_second) {
                first.name()?;
                first.skip()?;
                let (from, to) = (self.first, first.at());
                self.first = to;
                self.copy(from, to);
                one = one.saturating_sub(1);
            } else if other > 0 && (one == 0 || of_second < of_first) {
                second.name()?;
                second.skip()?;
                let (from, to) = (self.second, second.at());
                self.second = to;
                self.copy(from, to);
                other = other.saturating_sub(1);
            } else {
                first.name()?;
                let end = first.at();
                self.same(end)?;
                self.value(left)?;
                one = one.saturating_sub(1);
                other = other.saturating_sub(1);
            }
        }
        let length = self.buffer.len();
        kinds::put_number(self.buffer, count);
        let bytes = self.buffer.len().saturating_sub(length);
        // Moves the count in front of the variants.
        self.buffer.get_mut(count_at..)?.rotate_right(bytes);
        Some(())
    }
}
