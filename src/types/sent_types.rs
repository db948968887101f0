//! Records what this end sends, by name and type: the number that stands for both, and when the
//! next value is looked at.
//!
//! Each entry of the table is a sent type: a name with the types of one place in the program. The
//! table only grows, so a lookup takes no lock. Each sent type has the numbers of the kinds that
//! its values had.

use std::fmt;
use std::hash::Hasher;
use std::marker::PhantomData;
use std::num::NonZeroU32;

use rustc_hash::{FxHashMap, FxHasher};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sync::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, OnceLock, Ordering, lock,
};
use crate::types::beside::Beside;
use crate::types::mismatch::unnumbered;
use crate::types::read::decode_checked;
use crate::types::record::record;
use crate::wire::deserializer::DecodeError;
use crate::wire::header::{Number, RefusalTurn, Refused};
use crate::wire::message::partial_word;

/// Counts the slots of the first table.
const FIRST: usize = 128;

/// Shifts a hash so that its highest bits are a slot of the first table.
const FIRST_SHIFT: u32 = u64::BITS - FIRST.ilog2();

/// Counts the slots of the further tables. A sent type that finds no slot in one table goes into
/// the next.
const SIZES: [usize; 4] = [512, 4096, 32 * 1024, 64 * 1024];

/// Bounds the slots of a table that are tried.
const PROBES: usize = 16;

/// Bounds the numbers that are introduced. Beyond this bound, each message contains its name and
/// kinds.
pub(crate) const MAX_NUMBERS: u32 = 64 * 1024;

/// Bounds the bytes of the names and kinds that are introduced, with the effect of [`MAX_NUMBERS`].
pub(crate) const MAX_INTRODUCED: usize = 8 << 20;

/// Bounds the refusals that are kept of names and kinds without a number.
pub(crate) const MAX_REFUSED: usize = 4096;

/// Bounds the kinds with numbers of one sent type.
const MAX_VARIANTS: usize = 64;

/// Identifies the types of one place in the program: those of arguments `A` and of a result `R`.
pub(crate) struct Types<A: ?Sized, R>(PhantomData<fn(&A) -> R>);

impl<A: Serialize + ?Sized, R: DeserializeOwned> Types<A, R> {
    /// Returns a number that stands for the types while the program runs.
    ///
    /// The number is the address of code. If the code for other types is equal, the compiler or
    /// linker may give both one address. Equal code records equal kinds and reads equal results, so
    /// that is harmless.
    #[inline]
    pub(crate) fn number() -> usize {
        Self::code as fn() -> [usize; 2] as usize
    }

    /// Provides an address that stands for all code that depends on the types. It is never called.
    ///
    /// Not inlined: copies of it would have addresses, and so numbers, of their own.
    #[inline(never)]
    fn code() -> [usize; 2] {
        let record = record::<A> as fn(&A, &mut Vec<u8>) -> bool;
        let decode = decode_checked::<R> as fn(&[u8], &Beside<'_>) -> Result<R, DecodeError>;
        [record as usize, decode as usize]
    }
}

/// Identifies the type of an event's value, as [`Types`] does for a call. No call shares its
/// number, since events and methods have separate handlers.
pub(crate) struct TypeOf<T: ?Sized>(PhantomData<fn(&T)>);

impl<T: Serialize + ?Sized> TypeOf<T> {
    #[inline]
    pub(crate) fn number() -> usize {
        Self::code as fn() -> [usize; 2] as usize
    }

    /// Provides an address, as [`Types::code`] does. The code differs from that of any [`Types`].
    #[inline(never)]
    fn code() -> [usize; 2] {
        [record::<T> as fn(&T, &mut Vec<u8>) -> bool as usize, 0]
    }
}

/// Holds a sent type (a name with the types of one place in the program), or is an empty slot for
/// one.
///
/// A sent type has a cache line of its own, which holds all that most messages read.
#[repr(align(64))]
#[derive(Default)]
pub(crate) struct SentType {
    /// Holds [`Key::word`]. Zero marks an empty slot. The thread that adds a sent type sets this
    /// field last.
    word: AtomicU64,
    tail: AtomicU64,
    types: AtomicUsize,
    /// Holds the [`Number`] of the name and of the kinds of the value that was looked at last. Zero
    /// if the next value is to be looked at.
    number: AtomicU32,
    /// Counts the uses until a value is looked at again.
    left: AtomicU32,
    details: OnceLock<Box<Details>>,
}

/// Holds the fields that are read less often.
struct Details {
    name: Box<str>,
    /// Counts all uses up to the last look at a value.
    uses: AtomicU32,
    /// Holds the value that `left` was set to at that look.
    left_then: AtomicU32,
    /// Is `true` once results have arrived, and were of the type that is wanted.
    is_answered: AtomicBool,
    variants: Mutex<Vec<Variant>>,
}

/// Describes kinds that have a number.
struct Variant {
    kinds: Box<[u8]>,
    number: u32,
    /// Locates the place where the peer wants another type, while it refuses these kinds.
    refused: Option<u32>,
    /// Holds the turn of the last refusal or welcome of these kinds.
    turn: Option<RefusalTurn>,
}

/// Locates a sent type: the number of its table, counted from one, above its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentTypeId(NonZeroU32);

impl SentTypeId {
    const TABLE_SHIFT: u32 = 24;

    fn new(table: usize, slot: usize) -> Option<SentTypeId> {
        NonZeroU32::new((table as u32).wrapping_add(1) << SentTypeId::TABLE_SHIFT | slot as u32)
            .map(SentTypeId)
    }

    fn table(self) -> usize {
        (self.0.get() >> SentTypeId::TABLE_SHIFT).wrapping_sub(1) as usize
    }

    fn slot(self) -> usize {
        (self.0.get() & ((1 << SentTypeId::TABLE_SHIFT) - 1)) as usize
    }
}

/// Tells what is known of the kinds of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Number(u32),
    /// The kinds are new.
    New,
    /// The kinds are new, and there are too many already.
    TooMany,
    /// The peer refuses the kinds, and wants another type at this place.
    Refused(u32),
}

pub(crate) struct SentTypes {
    first: Box<[SentType; FIRST]>,
    others: [OnceLock<Box<[SentType]>>; SIZES.len()],
    /// Protects the right to add a sent type.
    adding: Mutex<()>,
    numbers: Mutex<Numbers>,
    /// Maps the hash of what has no number to its last refusal or welcome. The place tells where
    /// types differ, and the turn tells how late the message is.
    refused: Mutex<FxHashMap<u64, (Option<u32>, RefusalTurn)>>,
}

impl Default for SentTypes {
    fn default() -> SentTypes {
        SentTypes {
            first: Box::new(std::array::from_fn(|_| SentType::default())),
            others: [const { OnceLock::new() }; SIZES.len()],
            adding: Mutex::new(()),
            numbers: Mutex::default(),
            refused: Mutex::default(),
        }
    }
}

/// Holds the numbers that are in use.
#[derive(Default)]
struct Numbers {
    /// Lists the sent type that each number belongs to. A number that could not be introduced goes
    /// to another sent type.
    sent_types: Vec<SentTypeId>,
    unused: Vec<u32>,
    bytes: usize,
}

impl fmt::Debug for SentTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentTypes").finish_non_exhaustive()
    }
}

/// Identifies a sent type in a lookup.
#[derive(Clone, Copy)]
struct Key<'n> {
    name: &'n str,
    /// Holds the first seven bytes of the name, and a byte that tells its length, or that it is
    /// long. Never zero.
    word: u64,
    /// Holds the last eight bytes of a name that has more than seven.
    tail: u64,
    types: usize,
    hash: u64,
}

/// Bounds the names that their start and end determine, in bytes.
const SHORT: usize = 15;

impl<'n> Key<'n> {
    #[inline]
    fn new(name: &'n str, types: usize) -> Key<'n> {
        let bytes = name.as_bytes();
        let (word, tail, length) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => (
                u64::from_le_bytes(*first) & (u64::MAX >> 8),
                u64::from_le_bytes(*last),
                bytes.len().min(SHORT.saturating_add(1)),
            ),
            _ => (partial_word(bytes), 0, bytes.len()),
        };
        let word = word | (length as u64).wrapping_add(1) << 56;
        // Fibonacci hashing: the highest bits of a product depend on all bits of its factor.
        let hash = (word ^ tail.rotate_left(24)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Key { name, word, tail, types, hash }
    }

    /// Returns the slot of the first table that is tried first.
    #[inline]
    fn first_slot(&self) -> usize {
        // The lowest bits carry little: most code is aligned to 16 bytes.
        ((self.hash >> FIRST_SHIFT) as usize ^ self.types >> 4) & (FIRST - 1)
    }

    /// Returns a hash of the whole key, for the further tables: names may differ only in their
    /// middle.
    fn far_hash(&self) -> u64 {
        let mut hasher = FxHasher::default();
        hasher.write(self.name.as_bytes());
        hasher.write_usize(self.types);
        hasher.finish()
    }

    /// Returns all slots that may hold a sent type, in a table of this size, a power of two.
    fn slots(&self, far: u64, table: usize, size: usize) -> impl Iterator<Item = usize> + use<> {
        let first = match table {
            0 => self.first_slot(),
            // A sent type that found no slot in one table is spread anew in the next.
            _ => far.rotate_right((table as u32).wrapping_mul(13)) as usize,
        };
        (0..PROBES).map(move |probe| first.wrapping_add(probe) & size.wrapping_sub(1))
    }

    #[inline]
    fn is_of(&self, sent_type: &SentType) -> bool {
        // Acquire: pairs with the Release in `add`. The other fields are written before, once.
        sent_type.word.load(Ordering::Acquire) == self.word
            && sent_type.types.load(Ordering::Relaxed) == self.types
            && (self.name.len() < 8 || self.is_of_longer(sent_type))
    }

    #[inline]
    fn is_of_longer(&self, sent_type: &SentType) -> bool {
        sent_type.tail.load(Ordering::Relaxed) == self.tail
            && (self.name.len() <= SHORT || sent_type.name() == self.name)
    }
}

impl SentTypes {
    /// Returns the number to send for a name and types, unless the value is to be looked at.
    #[inline]
    pub(crate) fn number(&self, name: &str, types: usize) -> Option<Number> {
        let sent_type = self.find(Key::new(name, types))?;
        // Relaxed: a count. If two threads run this at once, one value more or less is looked at.
        let (left, is_over) = sent_type.left.load(Ordering::Relaxed).overflowing_sub(1);
        if is_over {
            return None;
        }
        sent_type.left.store(left, Ordering::Relaxed);
        // Acquire: pairs with the Release in `note_look`. The number was introduced before.
        Number::from_raw(sent_type.number.load(Ordering::Acquire))
    }

    #[inline]
    fn find(&self, key: Key<'_>) -> Option<&SentType> {
        let sent_type = self.first.get(key.first_slot())?;
        if key.is_of(sent_type) { Some(sent_type) } else { self.find_farther(key) }
    }

    #[cold]
    fn find_farther(&self, key: Key<'_>) -> Option<&SentType> {
        // Most sent types are near, and found without a hash of the whole name.
        for slot in key.slots(0, 0, FIRST) {
            match self.first.get(slot)? {
                sent_type if key.is_of(sent_type) => return Some(sent_type),
                sent_type if sent_type.word.load(Ordering::Acquire) == 0 => return None,
                _ => {}
            }
        }
        self.look_up(key).ok().map(|(_, sent_type)| sent_type)
    }

    /// Returns a sent type, or the slot to add it to. Returns no slot if there are too many sent
    /// types.
    fn look_up(
        &self,
        key: Key<'_>,
    ) -> Result<(SentTypeId, &SentType), Option<(SentTypeId, &SentType)>> {
        let far = key.far_hash();
        for (table, sent_types) in (0..).map_while(|table| Some((table, self.table(table)?))) {
            for slot in key.slots(far, table, sent_types.len()) {
                let (Some(sent_type), Some(id)) =
                    (sent_types.get(slot), SentTypeId::new(table, slot))
                else {
                    break;
                };
                if key.is_of(sent_type) {
                    return Ok((id, sent_type));
                }
                if sent_type.word.load(Ordering::Acquire) == 0 {
                    return Err(Some((id, sent_type)));
                }
            }
        }
        Err(None)
    }

    /// Returns the sent type of a name and types, and adds it if there is none. Returns `None` if
    /// there are too many.
    pub(crate) fn get_or_add(&self, name: &str, types: usize) -> Option<(SentTypeId, &SentType)> {
        let key = Key::new(name, types);
        if let Ok(found) = self.look_up(key) {
            return Some(found);
        }
        let _adding = lock(&self.adding);
        for (table, size) in self.others.iter().map(Some).zip(SIZES).chain([(None, 0)]) {
            match self.look_up(key) {
                Ok(found) => return Some(found),
                Err(Some((id, sent_type))) => {
                    sent_type.add(key);
                    return Some((id, sent_type));
                }
                // In all tables, the slots for this key are taken: make another table.
                Err(None) => {
                    table?.get_or_init(|| (0..size).map(|_| SentType::default()).collect());
                }
            }
        }
        None
    }

    fn table(&self, table: usize) -> Option<&[SentType]> {
        match table.checked_sub(1) {
            None => Some(&*self.first),
            Some(other) => self.others.get(other)?.get().map(|sent_types| &**sent_types),
        }
    }

    pub(crate) fn sent_type(&self, id: SentTypeId) -> Option<&SentType> {
        self.table(id.table())?.get(id.slot())
    }

    /// Takes a number for a name and kinds of so many bytes in all. Returns `None` if there are too
    /// many.
    pub(crate) fn take_number(&self, sent_type: SentTypeId, bytes: usize) -> Option<u32> {
        let mut numbers = lock(&self.numbers);
        let all = numbers.bytes.saturating_add(bytes);
        if all > MAX_INTRODUCED {
            return None;
        }
        let number = match numbers.unused.pop() {
            Some(number) => number,
            None if numbers.sent_types.len() >= MAX_NUMBERS as usize => return None,
            None => {
                let number = numbers.sent_types.len() as u32;
                numbers.sent_types.push(sent_type);
                number
            }
        };
        *numbers.sent_types.get_mut(number as usize)? = sent_type;
        numbers.bytes = all;
        Some(number)
    }

    /// Returns a number that the peer does not know for another use.
    pub(crate) fn give_back(&self, number: u32, bytes: usize) {
        let mut numbers = lock(&self.numbers);
        numbers.unused.push(number);
        numbers.bytes = numbers.bytes.saturating_sub(bytes);
    }

    /// Marks each sent type of this name, so that its next value is looked at.
    #[cold]
    pub(crate) fn look_again(&self, name: &str) {
        for sent_type in (0..).map_while(|table| self.table(table)).flatten() {
            if sent_type.name() == name {
                sent_type.look_again();
            }
        }
    }

    /// Returns the name that a number stands for.
    pub(crate) fn name(&self, number: u32) -> String {
        let id = lock(&self.numbers).sent_types.get(number as usize).copied();
        id.and_then(|id| self.sent_type(id))
            .map_or_else(String::new, |sent_type| sent_type.name().to_owned())
    }

    /// Returns where the peer wants another type than kinds without a number, if it refuses them.
    pub(crate) fn refused_unnumbered(&self, name: &str, kinds: &[u8]) -> Option<u32> {
        lock(&self.refused).get(&unnumbered(name.as_bytes(), kinds)).and_then(|(place, _)| *place)
    }

    /// Records a refusal of values, with the place where types differ, or a welcome, without a
    /// place. Returns `false` if there is no such number.
    pub(crate) fn refuse(&self, refused: Refused, turn: RefusalTurn, place: Option<u32>) -> bool {
        let number = match refused {
            Refused::Number(number) => number,
            Refused::Unnumbered(hash) => {
                let mut refused = lock(&self.refused);
                // A welcome is kept, too: a refusal that is received after it may have been sent
                // before it.
                if refused
                    .get(&hash)
                    .map_or(refused.len() < MAX_REFUSED, |(_, before)| turn.is_after(*before))
                {
                    refused.insert(hash, (place, turn));
                }
                return true;
            }
        };
        let id = lock(&self.numbers).sent_types.get(number as usize).copied();
        let Some(sent_type) = id.and_then(|id| self.sent_type(id)) else { return false };
        let Some(mut variants) = sent_type.variants() else { return false };
        let Some(variant) = variants.iter_mut().find(|variant| variant.number == number) else {
            return false;
        };
        if variant.turn.is_some_and(|before| !turn.is_after(before)) {
            // The message was read before, ahead of its turn in the ring.
            return true;
        }
        (variant.refused, variant.turn) = (place, Some(turn));
        // Makes sure that the next value is looked at. Another thread may have just read how many
        // uses are left, and store one less. Then the missing number has the effect. Under the
        // lock, as in `note_look`.
        sent_type.number.store(0, Ordering::Relaxed);
        sent_type.left.store(0, Ordering::Relaxed);
        true
    }
}

impl SentType {
    /// Turns an empty slot into a sent type. Only one thread at a time may call this.
    fn add(&self, key: Key<'_>) {
        self.details.get_or_init(|| {
            Box::new(Details {
                name: key.name.into(),
                uses: AtomicU32::new(0),
                left_then: AtomicU32::new(0),
                is_answered: AtomicBool::new(false),
                variants: Mutex::default(),
            })
        });
        self.tail.store(key.tail, Ordering::Relaxed);
        self.types.store(key.types, Ordering::Relaxed);
        // Release: pairs with the Acquire in `Key::is_of`.
        self.word.store(key.word, Ordering::Release);
    }

    pub(crate) fn name(&self) -> &str {
        self.details.get().map_or("", |details| &details.name)
    }

    fn variants(&self) -> Option<MutexGuard<'_, Vec<Variant>>> {
        self.details.get().map(|details| lock(&details.variants))
    }

    /// Returns what is known of these kinds.
    pub(crate) fn known(&self, kinds: &[u8]) -> Known {
        let Some(variants) = self.variants() else { return Known::TooMany };
        match variants.iter().find(|variant| *variant.kinds == *kinds) {
            Some(Variant { refused: Some(place), .. }) => Known::Refused(*place),
            Some(variant) => Known::Number(variant.number),
            None if variants.len() >= MAX_VARIANTS => Known::TooMany,
            None => Known::New,
        }
    }

    /// Records that the peer knows this number for these kinds.
    pub(crate) fn add_number(&self, kinds: &[u8], number: u32) {
        if let Some(mut variants) = self.variants() {
            variants.push(Variant { kinds: kinds.into(), number, refused: None, turn: None });
        }
    }

    /// Records that a value was looked at, and is sent with this number. If `always`, each value is
    /// looked at.
    pub(crate) fn note_look(&self, number: u32, always: bool) {
        // Relaxed, all but the number: if two threads run this at once, one value more or less is
        // looked at.
        let Some(details) = self.details.get() else { return };
        let before = details
            .left_then
            .load(Ordering::Relaxed)
            .saturating_sub(self.left.load(Ordering::Relaxed));
        let uses = details.uses.load(Ordering::Relaxed).saturating_add(before).saturating_add(1);
        let next = uses.saturating_add(1).checked_next_power_of_two().unwrap_or(u32::MAX);
        let variants = lock(&details.variants);
        let is_refused = variants.iter().any(|variant| variant.refused.is_some());
        let left =
            if always || is_refused { 0 } else { next.saturating_sub(uses).saturating_sub(1) };
        details.uses.store(uses, Ordering::Relaxed);
        details.left_then.store(left, Ordering::Relaxed);
        // There is no number if the next value is looked at anyway: see `SentTypes::refuse`.
        let number = if left == 0 { 0 } else { Number::new(number, false).to_raw() };
        // Release: the number was introduced; pairs with the Acquire in `SentTypes::number`.
        self.number.store(number, Ordering::Release);
        self.left.store(left, Ordering::Relaxed);
    }

    /// Returns `true` if results have arrived, and are of the wanted type.
    pub(crate) fn is_answered(&self) -> bool {
        self.details.get().is_some_and(|details| details.is_answered.load(Ordering::Relaxed))
    }

    /// Records whether results are of the wanted type. While they are not, each call asks for
    /// kinds.
    pub(crate) fn set_answered(&self, is_answered: bool) {
        // Relaxed: only later calls depend on it, by this thread or by one that this thread
        // informs.
        if let Some(details) = self.details.get() {
            details.is_answered.store(is_answered, Ordering::Relaxed);
        }
        if !is_answered {
            self.look_again();
        }
    }

    /// Makes sure that the next value is looked at.
    fn look_again(&self) {
        // As in `SentTypes::refuse`.
        let _variants = self.variants();
        self.number.store(0, Ordering::Relaxed);
        self.left.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_with_its_types_only() {
        let sent_types = SentTypes::default();
        let names: Vec<String> = (0..10_000).map(|i| format!("{:>1$}", i, i % 30)).collect();
        let types = [
            Types::<u32, u64>::number(),
            Types::<u32, i64>::number(),
            TypeOf::<u32>::number(),
            Types::<str, ()>::number(),
        ];
        for types in types {
            for name in &names {
                assert!(sent_types.find(Key::new(name, types)).is_none(), "{name}");
                let (id, sent_type) = sent_types.get_or_add(name, types).expect("space");
                sent_type.note_look(id.slot() as u32, false);
                assert!(std::ptr::eq(
                    sent_types.find(Key::new(name, types)).expect("there"),
                    sent_type
                ));
                assert!(std::ptr::eq(sent_types.sent_type(id).expect("there"), sent_type));
                assert!(
                    sent_type.types.load(Ordering::Relaxed) == types && sent_type.name() == name
                );
            }
        }
        assert!(sent_types.find(Key::new("ab\0", 7)).is_none());
        sent_types.get_or_add("ab", 7).expect("space");
        assert!(sent_types.find(Key::new("ab\0", 7)).is_none());
    }

    #[test]
    fn names_that_differ_in_one_letter_fit() {
        for length in 1..=40_usize {
            for changed in 0..length {
                let sent_types = SentTypes::default();
                for letter in '0'..='z' {
                    let name: String =
                        (0..length).map(|at| if at == changed { letter } else { 'x' }).collect();
                    let (id, _) = sent_types.get_or_add(&name, 1).expect("space");
                    assert!(id.table() <= 1, "{name}");
                }
            }
        }
    }

    #[test]
    fn values_are_looked_at_at_the_first_second_fourth_and_so_on() {
        let sent_types = SentTypes::default();
        let mut looks = Vec::new();
        for used in 1..=1000 {
            if sent_types.number("name", 1).is_none() {
                looks.push(used);
                let (_, sent_type) = sent_types.get_or_add("name", 1).expect("space");
                sent_type.note_look(7, false);
            }
        }
        assert_eq!(looks, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        let (_, sent_type) = sent_types.get_or_add("name", 1).expect("space");
        sent_type.note_look(7, true);
        assert_eq!(sent_types.number("name", 1), None);
    }

    fn turn(before: u32) -> RefusalTurn {
        RefusalTurn::new(before)
    }

    #[test]
    fn numbers_end() {
        let sent_types = SentTypes::default();
        let (id, sent_type) = sent_types.get_or_add("name", 1).expect("space");
        for number in 0..MAX_NUMBERS {
            assert_eq!(sent_types.take_number(id, 1), Some(number));
        }
        assert_eq!(sent_types.take_number(id, 1), None);
        sent_types.give_back(5, 1);
        assert_eq!(sent_types.take_number(id, MAX_INTRODUCED), None);
        assert_eq!(sent_types.take_number(id, 1), Some(5));
        assert!(!sent_types.refuse(Refused::Number(5), turn(1), Some(1)), "it was not introduced");
        sent_type.add_number(b"b", 5);
        assert!(
            sent_types.refuse(Refused::Number(5), turn(2), Some(1))
                && !sent_types.refuse(Refused::Number(MAX_NUMBERS), turn(3), Some(1))
        );
        assert_eq!(sent_type.known(b"b"), Known::Refused(1));
        assert!(sent_types.refuse(Refused::Number(5), turn(4), None));
        assert!(
            sent_types.refuse(Refused::Number(5), turn(2), Some(1)),
            "a turn that was read before"
        );
        assert_eq!((sent_type.known(b"b"), sent_type.known(b"c")), (Known::Number(5), Known::New));
        let hash = unnumbered(b"name", b"b");
        assert_eq!(sent_types.refused_unnumbered("name", b"b"), None);
        assert!(sent_types.refuse(Refused::Unnumbered(hash), turn(5), Some(7)));
        assert_eq!(
            (
                sent_types.refused_unnumbered("name", b"b"),
                sent_types.refused_unnumbered("nam", b"eb")
            ),
            (Some(7), None)
        );
        assert!(sent_types.refuse(Refused::Unnumbered(hash), turn(6), None));
        assert!(sent_types.refuse(Refused::Unnumbered(hash), turn(5), Some(7)));
        assert_eq!(sent_types.refused_unnumbered("name", b"b"), None);
        (0..MAX_VARIANTS as u8).for_each(|kind| sent_type.add_number(&[kind, 1], 6));
        assert_eq!(sent_type.known(b"c"), Known::TooMany);
    }
}
