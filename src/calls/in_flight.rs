//! The calls in flight: which answer belongs to which waiter.
//!
//! A table of entries. A call claims one under a serial number that the entry never has again, so a late answer to a call that was
//! forgotten finds another serial, or none. Entries are reused; the table grows to the largest number of calls that were ever in flight at
//! once, and no lock is taken by a call that waits for its own answer.

use std::task::Waker;

use crate::error::{Error, Step};
use crate::sync::parker::Parker;
use crate::sync::{Arc, AtomicU32, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, lock};
use crate::wire::header::{CallId, Failure};

/// What has come for a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The message that holds the answer, and where in it the encoded result lies.
    Answer { words: Vec<u64>, from: usize, to: usize },
    /// No such method.
    NotFound,
    /// The other end has too many calls to answer.
    Overloaded,
    /// What the other end's handler said.
    Remote(String),
    /// What was sent and what is wanted, as the other end tells it.
    Mistyped(String),
    /// The call failed on this side.
    Failed(Error),
}

impl From<Failure<'_>> for Outcome {
    fn from(failure: Failure<'_>) -> Outcome {
        match failure {
            Failure::NotFound => Outcome::NotFound,
            Failure::Overloaded => Outcome::Overloaded,
            Failure::Remote(message) => Outcome::Remote(message.to_owned()),
            Failure::Mistyped(types) => Outcome::Mistyped(types.to_owned()),
        }
    }
}

/// Runs when the answer is there.
pub(crate) type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// Who is to be told.
pub(crate) enum Notify {
    Thread(Arc<Parker>),
    Task(Waker),
    Callback(Callback),
}

/// What became known of a call when it was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgotten {
    /// It was not in flight.
    Unknown,
    /// Nothing had come for it.
    Unanswered,
    /// Its outcome was there.
    Answered,
}

/// What is left to do after a call was completed, once no lock is held.
pub(crate) enum Completion {
    /// Nothing: a thread was told, or nobody had asked.
    Done,
    /// Wake this task, and say [so](InFlight::woken).
    Wake(Waker),
    /// Run this.
    Run(Callback, Outcome),
    /// The call is not in flight: it was forgotten, or never made.
    Unknown,
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Completion::Done => "Done",
            Completion::Wake(_) => "Wake",
            Completion::Run(..) => "Run",
            Completion::Unknown => "Unknown",
        })
    }
}

#[derive(Default)]
enum SlotState {
    /// Nobody has asked for notice yet, and nothing has come.
    #[default]
    Quiet,
    Waiting(Notify),
    Done(Outcome),
}

/// The entry belongs to a call.
const BUSY: u64 = 1;

/// The outcome is there.
const READY: u64 = 2;
/// A thread, task or callback has asked for notice.
const NOTICED: u64 = 4;
const FLAGS: u64 = BUSY | READY | NOTICED;
const SERIAL_SHIFT: u32 = 3;
const MAX_SERIAL: u64 = u64::MAX >> SERIAL_SHIFT;

#[derive(Default)]
struct Entry {
    /// The serial of the latest call, and the flags. At a billion calls a second the serials of one entry last for seventy years.
    status: AtomicU64,
    state: Mutex<SlotState>,
}

/// The status of an entry that belongs to the call with this serial. A serial from the wire may be anything: then it is one that no entry has.
#[inline]
fn busy(serial: u64) -> u64 {
    if serial <= MAX_SERIAL { serial << SERIAL_SHIFT | BUSY } else { READY }
}

/// The status of an entry that is free after the call with this serial.
#[inline]
fn free(serial: u64) -> u64 {
    serial << SERIAL_SHIFT
}

/// Between two samples of the table: a prime, so that every entry has its turn, and large, so that neighbours are not sampled in a row.
const STRIDE: u32 = 1_000_003;

/// Few under the model checker, which makes all entries anew for each execution.
const FIRST_CHUNK: u32 = if cfg!(loom) { 1 } else { 64 };
const CHUNKS: usize = 17;

/// The most calls that can be in flight on one end.
pub(crate) const MAX_IN_FLIGHT: u32 = FIRST_CHUNK * ((1 << CHUNKS) - 1);

/// The table.
pub(crate) struct InFlight {
    /// Chunk k has FIRST_CHUNK << k entries. None is ever moved or freed before the table.
    chunks: [OnceLock<Box<[Entry]>>; CHUNKS],
    capacity: AtomicU32,
    /// The largest capacity, from 1 to [`MAX_IN_FLIGHT`]: how many calls may be in flight at once.
    limit: u32,
    /// The entry freed last: a series of calls uses one entry, which stays in the cache.
    hint: AtomicU32,
    /// Tasks that are to be woken when their answers come, until they are.
    tasks: AtomicUsize,
}

/// The right to claim entries of a table. There is one, so nobody else claims meanwhile, and no exchange is needed.
#[derive(Debug)]
pub(crate) struct Claimer {
    cursor: u32,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InFlight").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl InFlight {
    /// A table for at most `limit` calls at once; for one, if that is zero.
    pub(crate) fn new(limit: u32) -> (InFlight, Claimer) {
        let limit = limit.clamp(1, MAX_IN_FLIGHT);
        let chunks = [const { OnceLock::new() }; CHUNKS];
        let in_flight = InFlight {
            chunks,
            capacity: AtomicU32::new(0),
            limit,
            hint: AtomicU32::new(0),
            tasks: AtomicUsize::new(0),
        };
        in_flight.grow(0);
        (in_flight, Claimer { cursor: 0 })
    }

    #[inline]
    fn entry(&self, index: u32) -> Option<&Entry> {
        // Entry i is in the chunk whose first index is FIRST_CHUNK * (2^k - 1).
        let shifted = index.checked_add(FIRST_CHUNK)?;
        let chunk = (shifted / FIRST_CHUNK).ilog2();
        let offset = shifted.wrapping_sub(FIRST_CHUNK << chunk);
        self.chunks.get(chunk as usize)?.get()?.get(offset as usize)
    }

    /// Adds a chunk, unless another thread already did.
    fn grow(&self, seen: u32) -> bool {
        if seen >= self.limit {
            return false;
        }
        let chunk = (seen / FIRST_CHUNK).saturating_add(1).ilog2();
        let length = FIRST_CHUNK << chunk;
        let Some(place) = self.chunks.get(chunk as usize) else { return false };
        place.get_or_init(|| (0..length).map(|_| Entry::default()).collect());
        // Release: pairs with the Acquire in `claim`; the entries themselves are published by the OnceLock.
        self.capacity.fetch_max(seen.saturating_add(length).min(self.limit), Ordering::Release);
        true
    }

    /// Claims an entry for a new call.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyCalls`] if as many calls as may be are in flight.
    #[inline]
    pub(crate) fn claim(&self, claimer: &mut Claimer) -> Step<CallId> {
        // Relaxed: a hint.
        match self.try_claim(self.hint.load(Ordering::Relaxed)) {
            Some(id) => Ok(id),
            None => self.claim_slowly(claimer),
        }
    }

    #[inline]
    fn try_claim(&self, entry: u32) -> Option<CallId> {
        let status = &self.entry(entry)?.status;
        // Acquire: pairs with the Release that freed it.
        let before = status.load(Ordering::Acquire);
        if before & FLAGS != 0 {
            return None;
        }
        let serial = (before >> SERIAL_SHIFT).wrapping_add(1);
        // Relaxed: only the claimer changes the status of a free entry. Others hear of the call through the ring, or through what sends it.
        status.store(busy(serial), Ordering::Relaxed);
        Some(CallId { entry, serial })
    }

    #[cold]
    fn claim_slowly(&self, claimer: &mut Claimer) -> Step<CallId> {
        loop {
            let capacity = self.capacity.load(Ordering::Acquire);
            // Samples from all over the table: if 64 in a row are taken, the table is far more than half full.
            for _ in 0..capacity.min(64) {
                claimer.cursor = claimer.cursor.wrapping_add(STRIDE);
                if let Some(id) = self.try_claim(claimer.cursor.checked_rem(capacity).unwrap_or(0))
                {
                    return Ok(id);
                }
            }
            if !self.grow(capacity) {
                // As large as it may be: searched all round, from where the last search has ended.
                let start = claimer.cursor.checked_rem(capacity).unwrap_or(0);
                let found =
                    (start..capacity).chain(0..start).find_map(|entry| self.try_claim(entry));
                let id = found.ok_or(Error::TooManyCalls { limit: self.limit as usize })?;
                claimer.cursor = id.entry;
                return Ok(id);
            }
        }
    }

    /// The entry of a call that is in flight.
    fn find(&self, id: CallId) -> Option<&Entry> {
        let entry = self.entry(id.entry)?;
        // Acquire: pairs with the Release in `complete`.
        (entry.status.load(Ordering::Acquire) & !(READY | NOTICED) == busy(id.serial))
            .then_some(entry)
    }

    /// Whether the outcome of `id` is there.
    #[inline]
    pub(crate) fn is_ready(&self, id: CallId) -> bool {
        self.entry(id.entry)
            .is_some_and(|e| e.status.load(Ordering::Acquire) & !NOTICED == busy(id.serial) | READY)
    }

    /// Frees the entry of a call whose answer its own waiter has received itself. If no notice was asked
    /// for, that takes no lock: nothing was ever stored in the entry, unless a hostile peer has sent two
    /// answers.
    #[inline]
    pub(crate) fn release(&self, id: CallId) {
        if let Some(entry) = self.entry(id.entry) {
            // Relaxed: compared only.
            if entry.status.load(Ordering::Relaxed) == busy(id.serial) {
                // If another thread stores a second answer right now, it is left behind in the free entry, where it means nothing.
                self.free(id, entry);
            } else {
                self.forget(id);
            }
        }
    }

    #[inline]
    fn free(&self, id: CallId, entry: &Entry) {
        // Release: pairs with the Acquire in `try_claim`.
        entry.status.store(free(id.serial), Ordering::Release);
        self.hint.store(id.entry, Ordering::Relaxed);
    }

    /// Takes the outcome, if it is there, and frees the entry.
    pub(crate) fn take(&self, id: CallId) -> Option<Outcome> {
        if !self.is_ready(id) {
            return None;
        }
        let entry = self.entry(id.entry)?;
        let mut state = lock(&entry.state);
        let SlotState::Done(outcome) = std::mem::take(&mut *state) else { return None };
        self.free(id, entry);
        Some(outcome)
    }

    /// Forgets a call: its answer will be dropped.
    pub(crate) fn forget(&self, id: CallId) -> Forgotten {
        let Some(entry) = self.find(id) else { return Forgotten::Unknown };
        let mut state = lock(&entry.state);
        // Again, under the lock: a callback may have been completed meanwhile, and the entry reused.
        let status = entry.status.load(Ordering::Acquire);
        if status & !(READY | NOTICED) != busy(id.serial) {
            return Forgotten::Unknown;
        }
        // What is dropped may run user code, which must not find the lock held.
        let dropped = self.replace(&mut state, SlotState::Quiet);
        self.free(id, entry);
        drop(state);
        drop(dropped);
        if status & READY == 0 { Forgotten::Unanswered } else { Forgotten::Answered }
    }

    /// Asks for notice. Hands it back if the outcome is there already.
    pub(crate) fn notify(&self, id: CallId, notify: Notify) -> std::result::Result<(), Notify> {
        let Some(entry) = self.find(id) else { return Err(notify) };
        let mut state = lock(&entry.state);
        // The status tells, not the state, which may be left over: see `release`. Relaxed: under the lock it
        // changes only to be freed, by the waiter that asks here.
        if entry.status.load(Ordering::Relaxed) & !NOTICED != busy(id.serial) {
            return Err(notify);
        }
        entry.status.fetch_or(NOTICED, Ordering::Relaxed);
        let replaced = self.replace(&mut state, SlotState::Waiting(notify));
        drop(state);
        drop(replaced);
        Ok(())
    }

    /// Completes a call and tells who waits.
    pub(crate) fn complete(&self, id: CallId, outcome: Outcome) -> Completion {
        let Some(entry) = self.find(id) else { return Completion::Unknown };
        let mut state = lock(&entry.state);
        // Again, under the lock: it may have been forgotten, and the entry reused, meanwhile. A second answer is unknown, too.
        let before = entry.status.load(Ordering::Acquire);
        if before & !NOTICED != busy(id.serial) {
            return Completion::Unknown;
        }
        match std::mem::take(&mut *state) {
            SlotState::Waiting(Notify::Callback(callback)) => {
                self.free(id, entry);
                Completion::Run(callback, outcome)
            }
            waiting => {
                *state = SlotState::Done(outcome);
                // Release: pairs with the Acquire in `is_ready`. An exchange: see `release`.
                if entry
                    .status
                    .compare_exchange(before, before | READY, Ordering::Release, Ordering::Relaxed)
                    .is_err()
                {
                    return Completion::Unknown;
                }
                drop(state);
                match waiting {
                    SlotState::Waiting(Notify::Task(waker)) => Completion::Wake(waker),
                    SlotState::Waiting(Notify::Thread(parker)) => {
                        parker.notify();
                        Completion::Done
                    }
                    _ => Completion::Done,
                }
            }
        }
    }

    /// Changes who waits for a call, and keeps count.
    fn replace(&self, state: &mut SlotState, by: SlotState) -> SlotState {
        let is_task = |state: &SlotState| matches!(state, SlotState::Waiting(Notify::Task(_)));
        // Relaxed: who relies on it looks again after a fence; see `DriverSlot::call_up`.
        if is_task(&by) {
            self.tasks.fetch_add(1, Ordering::Relaxed);
        }
        let before = std::mem::replace(state, by);
        if is_task(&before) {
            self.woken();
        }
        before
    }

    /// A task does not wait any more. To be called once a [`Completion::Wake`] was seen to: until then, somebody has to.
    pub(crate) fn woken(&self) {
        // Relaxed: a number. Whoever stands by because of it has nothing to do with what this task does next.
        self.tasks.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a task waits to be woken by an answer.
    pub(crate) fn wakes_tasks(&self) -> bool {
        // Relaxed: see `replace`.
        self.tasks.load(Ordering::Relaxed) > 0
    }

    /// Whether the call is still in flight, answered or not.
    pub(crate) fn is_known(&self, id: CallId) -> bool {
        self.find(id).is_some()
    }

    /// Whether the call is in flight and nothing has come for it yet.
    pub(crate) fn is_unanswered(&self, id: CallId) -> bool {
        self.is_known(id) && !self.is_ready(id)
    }

    /// Tells everybody who asked for notice that there will be no more answers: threads and tasks look by themselves, callbacks get `outcome`.
    pub(crate) fn abandon(&self, conclude: impl Fn(Completion), outcome: impl Fn() -> Outcome) {
        for entry in self.chunks.iter().filter_map(OnceLock::get).flatten() {
            if entry.status.load(Ordering::Acquire) & BUSY == 0 {
                continue;
            }
            let mut state = lock(&entry.state);
            let completion = match std::mem::take(&mut *state) {
                SlotState::Waiting(Notify::Callback(callback)) => {
                    entry.status.fetch_and(!FLAGS, Ordering::Release);
                    Completion::Run(callback, outcome())
                }
                SlotState::Waiting(Notify::Thread(parker)) => {
                    parker.notify();
                    Completion::Done
                }
                SlotState::Waiting(Notify::Task(waker)) => Completion::Wake(waker),
                other => {
                    *state = other;
                    Completion::Done
                }
            };
            drop(state);
            conclude(completion);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_whatever_the_index() {
        let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
        let ids: Vec<CallId> =
            (0..100_000).map(|_| in_flight.claim(&mut claimer).expect("room")).collect();
        let mut seen: Vec<u32> = ids.iter().map(|id| id.entry).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), ids.len(), "no entry is handed out twice");
        for id in &ids {
            assert!(matches!(in_flight.complete(*id, Outcome::NotFound), Completion::Done));
            assert!(
                matches!(in_flight.complete(*id, Outcome::NotFound), Completion::Unknown),
                "a second answer is unknown"
            );
            assert!(matches!(in_flight.take(*id), Some(Outcome::NotFound)));
        }
        let capacity = in_flight.capacity.load(Ordering::Relaxed);
        for _ in 0..1_000_000 {
            let id = in_flight.claim(&mut claimer).expect("room");
            in_flight.release(id);
        }
        assert_eq!(
            in_flight.capacity.load(Ordering::Relaxed),
            capacity,
            "a series of calls does not let the table grow"
        );
    }

    #[test]
    fn a_forgotten_call_has_no_answer_and_its_entry_is_reused_under_a_new_serial() {
        let (in_flight, mut claimer) = InFlight::new(MAX_IN_FLIGHT);
        let old = in_flight.claim(&mut claimer).expect("room");
        in_flight.forget(old);
        let new = in_flight.claim(&mut claimer).expect("room");
        assert_eq!(new.entry, old.entry);
        assert!(matches!(in_flight.complete(old, Outcome::NotFound), Completion::Unknown));
        assert!(!in_flight.is_ready(new));
    }

    #[test]
    fn exactly_as_many_calls_as_may_be_are_in_flight() {
        for limit in [1, 2, 63, 64, 65, 191, 192, 193, 1000, 20_000] {
            let (in_flight, mut claimer) = InFlight::new(limit);
            let ids: Vec<CallId> =
                (0..limit).map(|_| in_flight.claim(&mut claimer).expect("room")).collect();
            for id in ids.iter().step_by(1 + limit as usize / 9) {
                let refused = in_flight.claim(&mut claimer).map_err(|error| *error);
                assert!(
                    matches!(refused, Err(Error::TooManyCalls { limit: told }) if told == limit as usize),
                    "{refused:?}"
                );
                // Without the hint, which tells where it is.
                assert_eq!(in_flight.forget(*id), Forgotten::Unanswered);
                in_flight.hint.store(id.entry.wrapping_add(1) % limit, Ordering::Relaxed);
                assert_eq!(in_flight.claim(&mut claimer).expect("room").entry, id.entry);
            }
        }
        let (in_flight, mut claimer) = InFlight::new(0);
        assert!(in_flight.claim(&mut claimer).is_ok() && in_flight.claim(&mut claimer).is_err());
    }

    #[test]
    fn answers_to_calls_that_were_never_made_are_unknown() {
        let (in_flight, _) = InFlight::new(MAX_IN_FLIGHT);
        for id in [
            CallId { entry: 0, serial: 0 },
            CallId { entry: 63, serial: 0 },
            CallId { entry: u32::MAX, serial: 7 },
            CallId { entry: 0, serial: MAX_SERIAL },
            CallId { entry: 0, serial: MAX_SERIAL + 1 },
            CallId { entry: 0, serial: u64::MAX },
        ] {
            assert!(
                matches!(in_flight.complete(id, Outcome::NotFound), Completion::Unknown),
                "{id:?}"
            );
        }
    }
}
