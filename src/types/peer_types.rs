//! What the other end has introduced: what its numbers stand for.

use std::fmt;

use rustc_hash::FxHashMap;

use crate::limits::MAX_INTRODUCED_NAME;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, lock};
use crate::types::beside::Beside;
use crate::types::kinds::is_valid;
use crate::types::sent_types::{MAX_INTRODUCED, MAX_NUMBERS, MAX_REFUSED};
use crate::wire::header::RefusalTurn;

/// Numbers of the first part of the table; the next one is twice as long.
const FIRST_PART: u32 = 64;

const PARTS: usize = 11;

/// The number of no table of handlers.
const NO_TABLE: u64 = u64::MAX;

const _: () = assert!(FIRST_PART * ((1 << PARTS) - 1) >= MAX_NUMBERS);

/// A name, and the kinds of the values that are sent with its number.
#[derive(Debug)]
pub(crate) struct PeerType {
    pub(crate) name: Box<str>,
    kinds: Box<[u8]>,
    /// The handler that has read such a value beside its kinds; zero for none.
    fits: AtomicU64,
    /// In which table that handler was looked up, and its place there.
    table: AtomicU64,
    place: AtomicU32,
    /// The handler that does not take such values; zero for none.
    refused_by: AtomicU64,
    /// Which of the kinds were compared with something of the value that is being read.
    compared: Mutex<Vec<bool>>,
}

/// Read by the thread that leads, and added to by it.
#[derive(Default)]
pub(crate) struct PeerTypes {
    parts: [OnceLock<Box<[OnceLock<PeerType>]>>; PARTS],
    bytes: AtomicUsize,
    /// Whether anything was ever refused.
    has_refused: AtomicBool,
    refusals: Mutex<Refusals>,
}

/// Refusals and welcomes are in the order of their turns, whichever is sent first.
#[derive(Default)]
struct Refusals {
    /// How many there were.
    turns: u32,
    /// What has no number, and by which handler it is refused.
    unnumbered: FxHashMap<u64, (Box<str>, u64)>,
}

impl Refusals {
    fn turn(&mut self) -> RefusalTurn {
        self.turns = self.turns.wrapping_add(1);
        RefusalTurn::new(self.turns)
    }
}

impl fmt::Debug for PeerTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTypes").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl PeerTypes {
    #[inline]
    fn place(number: u32) -> (usize, usize) {
        // Number n is in the part whose first number is FIRST_PART * (2^k - 1).
        // A number that is too large is in a part that does not exist.
        let shifted = number.saturating_add(FIRST_PART);
        let part = (shifted / FIRST_PART).ilog2();
        (part as usize, shifted.wrapping_sub(FIRST_PART << part) as usize)
    }

    /// Returns what a number stands for.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&PeerType> {
        let (part, place) = PeerTypes::place(number);
        self.parts.get(part)?.get()?.get(place)?.get()
    }

    /// Takes note of an introduction. Returns `false` if no honest end makes it.
    #[cold]
    pub(crate) fn introduce(&self, number: u32, name: &[u8], kinds: &[u8]) -> bool {
        let Ok(name) = std::str::from_utf8(name) else { return false };
        // Relaxed: one thread leads.
        let bytes = self
            .bytes
            .load(Ordering::Relaxed)
            .saturating_add(name.len())
            .saturating_add(kinds.len());
        if number >= MAX_NUMBERS
            || name.len() > MAX_INTRODUCED_NAME
            || bytes > MAX_INTRODUCED
            || !is_valid(kinds)
        {
            return false;
        }
        let (part, place) = PeerTypes::place(number);
        let Some(cells) = self.parts.get(part) else { return false };
        let cells =
            cells.get_or_init(|| (0..FIRST_PART << part).map(|_| OnceLock::new()).collect());
        self.bytes.store(bytes, Ordering::Relaxed);
        let peer_type = PeerType {
            name: name.into(),
            kinds: kinds.into(),
            fits: AtomicU64::new(0),
            table: AtomicU64::new(NO_TABLE),
            place: AtomicU32::new(0),
            refused_by: AtomicU64::new(0),
            compared: Mutex::default(),
        };
        cells.get(place).is_some_and(|cell| cell.set(peer_type).is_ok())
    }

    /// Says of a number that a handler does not take its values. Returns the turn to say so, if that is new.
    #[cold]
    pub(crate) fn refuse(&self, peer_type: &PeerType, handler: u64) -> Option<RefusalTurn> {
        let mut refusals = lock(&self.refusals);
        // Before what it tells of; pairs with the Acquire in `refused`.
        self.has_refused.store(true, Ordering::Release);
        let before = peer_type.refused_by.swap(handler, Ordering::AcqRel);
        (before != handler).then(|| refusals.turn())
    }

    /// As [`refuse`](Self::refuse), for a name and kinds without a number. Beyond a bound nothing
    /// is new.
    #[cold]
    pub(crate) fn refuse_unnumbered(
        &self,
        hash: u64,
        name: &str,
        handler: u64,
    ) -> Option<RefusalTurn> {
        let mut refusals = lock(&self.refusals);
        self.has_refused.store(true, Ordering::Release);
        let count = refusals.unnumbered.len();
        let is_new = match refusals.unnumbered.get_mut(&hash) {
            Some((_, by)) => std::mem::replace(by, handler) != handler,
            None => {
                count < MAX_REFUSED
                    && refusals.unnumbered.insert(hash, (name.into(), handler)).is_none()
            }
        };
        is_new.then(|| refusals.turn())
    }

    /// Takes the refusal of a handler back. Returns the turn to say so, if it stood.
    pub(crate) fn welcome(&self, peer_type: &PeerType, handler: u64) -> Option<RefusalTurn> {
        let mut refusals = lock(&self.refusals);
        let stood = peer_type
            .refused_by
            .compare_exchange(handler, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        stood.then(|| refusals.turn())
    }

    /// Takes back what other handlers have refused than those that there are now, and returns it.
    pub(crate) fn welcome_unnumbered(
        &self,
        handler: impl Fn(&str) -> u64,
    ) -> Vec<(u64, RefusalTurn)> {
        if !self.has_refused.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut refusals = lock(&self.refusals);
        let hashes: Vec<u64> = refusals
            .unnumbered
            .extract_if(|_, (name, by)| handler(name) != *by)
            .map(|(hash, _)| hash)
            .collect();
        hashes.into_iter().map(|hash| (hash, refusals.turn())).collect()
    }

    /// Calls `found` for each number that is refused, with its name and the handler that does so.
    pub(crate) fn refused(&self, mut found: impl FnMut(u32, &PeerType, u64)) {
        if !self.has_refused.load(Ordering::Acquire) {
            return;
        }
        let mut first = 0_u32;
        for (part, cells) in (0..).zip(&self.parts) {
            for (number, peer_type) in (first..).zip(cells.get().into_iter().flatten()) {
                if let Some(peer_type) = peer_type.get()
                    && let handler @ 1.. = peer_type.refused_by.load(Ordering::Acquire)
                {
                    found(number, peer_type, handler);
                }
            }
            first = first.saturating_add(FIRST_PART << part);
        }
    }
}

impl PeerType {
    /// What a value is read beside.
    pub(crate) fn beside(&self) -> Beside<'_> {
        Beside::comparing(&self.kinds, &self.compared)
    }

    /// Returns the place of the handler that has read such a value beside its kinds, if it was
    /// looked up in this table.
    #[inline]
    pub(crate) fn place(&self, table: u64) -> Option<u32> {
        // Relaxed, here and below: the thread that leads says so, and asks.
        if self.table.load(Ordering::Relaxed) == table {
            Some(self.place.load(Ordering::Relaxed))
        } else {
            None
        }
    }

    /// Whether a handler, which was looked up in this table, has read such a value beside its
    /// kinds.
    pub(crate) fn fits(&self, handler: u64, table: u64, place: u32) -> bool {
        let fits = self.fits.load(Ordering::Relaxed) == handler;
        if fits {
            self.place.store(place, Ordering::Relaxed);
            self.table.store(table, Ordering::Relaxed);
        }
        fits
    }

    /// A handler has read such a value beside its kinds.
    pub(crate) fn set_fits(&self, handler: u64) {
        self.table.store(NO_TABLE, Ordering::Relaxed);
        self.fits.store(handler, Ordering::Relaxed);
    }

    /// Whether a handler does not take such values.
    pub(crate) fn is_refused_by(&self, handler: u64) -> bool {
        self.refused_by.load(Ordering::Acquire) == handler
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_what_was_introduced() {
        let peer_types = PeerTypes::default();
        for number in (0..MAX_NUMBERS).step_by(7) {
            let name = number.to_string();
            assert!(peer_types.get(number).is_none());
            assert!(peer_types.introduce(number, name.as_bytes(), b"b"));
            assert!(!peer_types.introduce(number, name.as_bytes(), b"b"), "once");
        }
        for number in (0..MAX_NUMBERS).step_by(7) {
            assert_eq!(*peer_types.get(number).expect("there").name, *number.to_string());
        }
        for number in [1, MAX_NUMBERS, u32::MAX, u32::MAX - 63, u32::MAX - 64] {
            assert!(peer_types.get(number).is_none());
        }
        assert!(!peer_types.introduce(MAX_NUMBERS, b"name", b"b"));
        assert!(!peer_types.introduce(1, b"\xff", b"b"));
        assert!(!peer_types.introduce(1, b"name", b"bb"));
        assert!(!peer_types.introduce(1, &vec![b'n'; MAX_INTRODUCED_NAME + 1], b"b"));
        let name = vec![b'n'; MAX_INTRODUCED_NAME];
        let left = (1..MAX_NUMBERS)
            .filter(|number| number % 7 > 0 && peer_types.introduce(*number, &name, b"b"))
            .count();
        assert!(left < MAX_INTRODUCED / MAX_INTRODUCED_NAME, "{left}");
    }

    #[test]
    fn a_refusal_stands_until_it_is_taken_back() {
        let peer_types = PeerTypes::default();
        for number in [3, 64, 5000] {
            assert!(peer_types.introduce(number, b"name", b"b"));
        }
        let refused = || {
            let mut all = Vec::new();
            peer_types.refused(|number, _, handler| all.push((number, handler)));
            all
        };
        let peer_type = |number| peer_types.get(number).expect("there");
        assert_eq!(refused(), []);
        let first = peer_types.refuse(peer_type(64), 7).expect("new");
        assert_eq!(peer_types.refuse(peer_type(64), 7), None);
        assert!(peer_types.refuse(peer_type(5000), 8).is_some_and(|turn| turn.is_after(first)));
        assert_eq!(refused(), [(64, 7), (5000, 8)]);
        assert!(peer_type(64).is_refused_by(7) && !peer_type(64).is_refused_by(8));
        assert_eq!(peer_types.welcome(peer_type(64), 8), None);
        assert!(peer_types.welcome(peer_type(64), 7).is_some_and(|turn| turn.is_after(first)));
        assert_eq!(peer_types.welcome(peer_type(64), 7), None);
        assert_eq!(refused(), [(5000, 8)]);
    }
}
