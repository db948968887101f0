//! Records what the peer has introduced: the types that its numbers stand for.

use std::fmt;

use rustc_hash::FxHashMap;

use crate::limits::MAX_INTRODUCED_NAME;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, lock};
use crate::types::beside::Beside;
use crate::types::kinds::is_valid;
use crate::types::sent_types::{MAX_INTRODUCED, MAX_NUMBERS, MAX_REFUSED};
use crate::wire::header::RefusalTurn;

/// Counts the numbers in the first part of the table. Each further part is twice as long.
const FIRST_PART: u32 = 64;

const PARTS: usize = 11;

/// Stands for no table of handlers: no table has this number.
const NO_TABLE: u64 = u64::MAX;

const _: () = assert!(FIRST_PART * ((1 << PARTS) - 1) >= MAX_NUMBERS);

/// Holds a name, and the kinds of the values that the peer sends with its number.
#[derive(Debug)]
pub(crate) struct PeerType {
    pub(crate) name: Box<str>,
    kinds: Box<[u8]>,
    /// Identifies the handler that has read such a value beside its kinds. Zero for none.
    fits: AtomicU64,
    /// Identifies the table in which that handler was looked up.
    table: AtomicU64,
    /// Locates that handler in the table.
    place: AtomicU32,
    /// Identifies the handler that refuses such values. Zero for none.
    refused_by: AtomicU64,
    /// Marks the kinds that were compared with a part of the value that is being read.
    compared: Mutex<Vec<bool>>,
}

/// Maps the peer's numbers to types. Only the leader reads it and adds to it.
#[derive(Default)]
pub(crate) struct PeerTypes {
    parts: [OnceLock<Box<[OnceLock<PeerType>]>>; PARTS],
    bytes: AtomicUsize,
    /// Is `true` once anything was refused.
    has_refused: AtomicBool,
    refusals: Mutex<Refusals>,
}

/// Numbers refusals and welcomes. Their turns tell their order, whichever is sent first.
#[derive(Default)]
struct Refusals {
    /// Counts the refusals and welcomes so far.
    turns: u32,
    /// Maps the hash of what has no number to its name and the handler that refuses it.
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
        // Number n is in the part whose first number is FIRST_PART * (2^k - 1). A number that is
        // too large is in a part that does not exist.
        let shifted = number.saturating_add(FIRST_PART);
        let part = (shifted / FIRST_PART).ilog2();
        (part as usize, shifted.wrapping_sub(FIRST_PART << part) as usize)
    }

    /// Returns the type that a number stands for.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&PeerType> {
        let (part, place) = PeerTypes::place(number);
        self.parts.get(part)?.get()?.get(place)?.get()
    }

    /// Records an introduction. Returns `false` if no honest end makes it.
    #[cold]
    pub(crate) fn introduce(&self, number: u32, name: &[u8], kinds: &[u8]) -> bool {
        let Ok(name) = std::str::from_utf8(name) else { return false };
        // Relaxed: only the leader runs this.
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

    /// Records that a handler refuses the values with a number. Returns the turn of the message
    /// that tells the peer, if the refusal is new.
    #[cold]
    pub(crate) fn refuse(&self, peer_type: &PeerType, handler: u64) -> Option<RefusalTurn> {
        let mut refusals = lock(&self.refusals);
        // Release: pairs with the Acquire in `refused`. The flag is set before the refusal that it
        // announces.
        self.has_refused.store(true, Ordering::Release);
        let before = peer_type.refused_by.swap(handler, Ordering::AcqRel);
        (before != handler).then(|| refusals.turn())
    }

    /// Records a refusal as [`refuse`](Self::refuse) does, of a name and kinds without a number.
    /// Beyond a bound, no refusal is new.
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

    /// Takes back the refusal of a handler. Returns the turn of the message that tells the peer, if
    /// there was such a refusal.
    pub(crate) fn welcome(&self, peer_type: &PeerType, handler: u64) -> Option<RefusalTurn> {
        let mut refusals = lock(&self.refusals);
        let stood = peer_type
            .refused_by
            .compare_exchange(handler, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        stood.then(|| refusals.turn())
    }

    /// Takes back the refusals of handlers that `handler` no longer returns for their names.
    /// Returns those refusals, each with the turn of the message that tells the peer.
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

    /// Calls `found` for each number that is refused, with its type and the handler that refuses
    /// it.
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
    /// Returns the kinds to read a value beside.
    pub(crate) fn beside(&self) -> Beside<'_> {
        Beside::comparing(&self.kinds, &self.compared)
    }

    /// Returns the place of the handler that has read such a value beside its kinds, if the handler
    /// was looked up in this table.
    #[inline]
    pub(crate) fn place(&self, table: u64) -> Option<u32> {
        // Relaxed, here and below: only the leader stores and loads these fields.
        if self.table.load(Ordering::Relaxed) == table {
            Some(self.place.load(Ordering::Relaxed))
        } else {
            None
        }
    }

    /// Returns `true` if a handler has read such a value beside its kinds. The handler was looked
    /// up at `place` of this table.
    pub(crate) fn fits(&self, handler: u64, table: u64, place: u32) -> bool {
        let fits = self.fits.load(Ordering::Relaxed) == handler;
        if fits {
            self.place.store(place, Ordering::Relaxed);
            self.table.store(table, Ordering::Relaxed);
        }
        fits
    }

    /// Records that a handler has read such a value beside its kinds.
    pub(crate) fn set_fits(&self, handler: u64) {
        self.table.store(NO_TABLE, Ordering::Relaxed);
        self.fits.store(handler, Ordering::Relaxed);
    }

    /// Returns `true` if a handler refuses such values.
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
